/* Any bytes as a plan block. What plan_check accepts is compiled and run for two steps, a prompt and its continuation
 * (an encoder's: an image and one of a patch, or two texts), by the reference and by the CPU backend where it supports
 * every op: no field of a checked plan may lead out of bounds. Weights are separate allocations of exactly their packed
 * size. */
#include "backend/backends.h"

#include <stdlib.h>

enum {
  BLOCK_MAX = 64 << 10,
  MEMORY_MAX = 8 << 20, /* plans that need more are legal, and slow under a sanitizer */
  TOKENS = 4,
  STEPS = 2,
  KV_BLOCK = 4,
  KV_BLOCKS = 4,
  PATCH_MOST = PLAN_CHANNELS * PLAN_PATCH * PLAN_PATCH,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The steps' own data: one row of TOKENS, then one of 1. */
static const int32_t tokens[TOKENS] = {0}, outs[STEPS][2] = {{1, TOKENS - 1}, {0}};
static const uint32_t blocks[KV_BLOCKS] = {2, 0, 3, 1};
static const struct sampling sampling[2] = {{.temperature = 1, .top_p = 0.5f, .top_k = 3}, {.temperature = 0}};

static struct limits limits_of(const struct plan *plan, uint8_t kv_dtype) {
  struct limits limits = {.seats = 1,
                          .tokens = TOKENS,
                          .outputs = TOKENS,
                          .length = KV_BLOCK * KV_BLOCKS,
                          .opt_batch = 1,
                          .block_size = KV_BLOCK,
                          .kv_dtype = kv_dtype};
  for (int i = 0; i < plan->n_group; i++) limits.n_block[i] = KV_BLOCKS;
  return limits;
}

/* The bytes that a program takes with its weights, or SIZE_MAX when the backend refuses the plan. */
static uint64_t bytes_of(const struct backend *backend, const struct plan *plan, const struct limits *limits) {
  struct footprint footprint;
  struct error error;
  for (int i = 0; i < plan->n_op; i++)
    if (!backend->supports(plan, i, &error)) return UINT64_MAX;
  if (!backend->measure(plan, limits, &footprint, &error)) return UINT64_MAX;
  uint64_t bytes = footprint.weights + footprint.workspace;
  for (int i = 0; i < plan->n_group; i++) bytes += footprint.kv_block[i] * limits->n_block[i];
  return bytes;
}

/* Patches at the last positions, whose numbers are small. */
static struct batch images_of(const struct plan *plan, struct row *row, int step) {
  static float patches[TOKENS * PATCH_MOST];
  static int32_t position[TOKENS][3], span[TOKENS][2];
  *row = (struct row){.count = step ? 1 : TOKENS};
  for (int i = 0; i < TOKENS; i++) position[i][0] = plan->max_position - 1 - i > 0 ? plan->max_position - 1 - i : 0;
  for (int i = 0; i < row->count; i++) span[i][1] = row->count - 1;
  for (int i = 0; i < TOKENS * PATCH_MOST; i++) patches[i] = (float)(i % 7) / 7;
  int merged = plan_merged(plan), n_out = row->count / merged;
  static int32_t out[TOKENS];
  for (int i = 0; i < n_out; i++) out[i] = i * merged;
  return (struct batch){.n_row = 1,
                        .n_token = row->count,
                        .n_out = n_out,
                        .row = row,
                        .position = (const int32_t(*)[3])position,
                        .span = plan_has_spans(plan) ? (const int32_t(*)[2])span : NULL,
                        .patches = patches,
                        .out = out,
                        .want_logits = true};
}

/* One text, whole. */
static struct batch text_of(const struct plan *plan, struct row *row, int step) {
  static const int32_t first[1] = {0};
  int most = plan->max_position < TOKENS ? plan->max_position : TOKENS;
  *row = (struct row){.count = step ? 1 : most};
  return (struct batch){
      .n_row = 1, .n_token = row->count, .n_out = 1, .row = row, .token = tokens, .out = first, .want_logits = true};
}

static struct batch batch_of(const struct plan *plan, struct row *row, int step) {
  static const int32_t position[TOKENS][3];
  if (plan->role == PLAN_VISION) return images_of(plan, row, step);
  if (plan->role == PLAN_ENCODER) return text_of(plan, row, step);
  *row = (struct row){.count = step ? 1 : TOKENS, .length = step ? TOKENS : 0};
  for (int i = 0; i < plan->n_group; i++) {
    row->n_block[i] = KV_BLOCKS;
    row->block[i] = blocks;
  }
  return (struct batch){.n_row = 1,
                        .n_token = row->count,
                        .n_out = step ? 1 : 2,
                        .row = row,
                        .token = tokens,
                        .position = plan_has_axes(plan) ? position : NULL,
                        .out = outs[step],
                        .sampling = sampling};
}

/* A token is one of the vocabulary, or −1: logits of such weights need not be finite. */
static void steps_run(const struct backend *backend, struct program *program, const struct plan *plan) {
  for (int step = 0; step < STEPS; step++) {
    struct row row;
    struct batch batch = batch_of(plan, &row, step);
    struct result result;
    struct error error;
    if (!backend->submit(program, &batch, &error) || !backend->finish(program, NULL, &error) ||
        !backend->collect(program, &result, &error))
      return;
    for (int i = 0; plan->role == PLAN_DECODER && i < result.n_out; i++)
      if (result.token[i] < -1 || result.token[i] >= plan->vocab) abort();
  }
}

static void *weight_make(const struct backend *backend, const struct weight *weight, size_t *size) {
  void *bytes;
  *size = backend_packed_bytes(backend, weight);
  if (posix_memalign(&bytes, 64, *size) != 0) abort();
  for (size_t i = 0; i < *size; i++) ((uint8_t *)bytes)[i] = (uint8_t)(i % 4 == 3 ? 0x3c : i * 7);
  return bytes;
}

static void program_run(const struct backend *backend, struct device *device, const struct plan *plan,
                        const struct limits *limits) {
  if (bytes_of(backend, plan, limits) > MEMORY_MAX) return;
  struct error error;
  struct program *program = backend->compile(device, plan, limits, &error);
  if (!program) return;
  void **weights = calloc((size_t)plan->n_weight + 1, sizeof *weights);
  for (int i = 0; i < plan->n_weight; i++) {
    size_t size;
    weights[i] = weight_make(backend, plan_weights(plan) + i, &size);
    if (!backend->load(program, i, slice_make(weights[i], size), &error)) abort();
  }
  steps_run(backend, program, plan);
  backend->release(program);
  for (int i = 0; i < plan->n_weight; i++) free(weights[i]);
  free(weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct device *reference, *cpu;
  struct device_options options = {.n_thread = 1, .isa = "scalar"}; /* the kernels that are instrumented */
  struct error error;
  if (!reference) reference = backend_reference.open(&options, &error);
  if (!cpu) cpu = backend_cpu.open(&options, &error);
  if (!reference || !cpu) abort();
  if (size == 0 || size > BLOCK_MAX) return 0;
  void *block = malloc(size);
  memcpy(block, data, size);
  const struct plan *plan = block;
  if (size >= sizeof *plan) ((struct plan *)block)->bytes = size; /* else few mutations of the size get anywhere */
  if (plan_check(slice_make(block, size), &error)) {
    struct limits limits = limits_of(plan, data[size - 1] & 1 ? KV_F16 : KV_F32);
    program_run(&backend_reference, reference, plan, &limits);
    program_run(&backend_cpu, cpu, plan, &limits);
  }
  free(block);
  return 0;
}
