/* The null backend: runs any plan at no cost and answers with tokens that depend on the seat and the index alone, so
 * that benches and tests of the runtime see only the runtime. It reads engines packed for the CPU, without touching
 * their weights. Log-probabilities are 0; there are no logits. */
#include "backend/backends.h"
#include "backend/cpu/cpu_layout.h"

#include <stdlib.h>

struct device {
  char unused;
};

struct program {
  const struct plan *plan;
  const struct batch *batch; /* of the step between submit and collect */
  int32_t *token;            /* [limits.outputs] */
  float *logprob;
  struct token_logprob *top; /* [limits.outputs][TOP_LOGPROBS] */
};

static struct device *null_open(const struct device_options *options, struct error *error) {
  (void)options;
  struct device *device = calloc(1, sizeof *device);
  if (!device) error_set(error, ERROR_MEMORY, "Out of memory for the null device.");
  return device;
}

static void null_close(struct device *device) { free(device); }

static const char *null_describe(const struct device *device) {
  (void)device;
  return "null: no arithmetic";
}

static bool null_supports(const struct plan *plan, int op, struct error *error) {
  (void)plan, (void)op, (void)error;
  return true;
}

static void null_fallbacks(const struct device *device, const struct plan *plan, const struct limits *limits,
                           struct buffer *out) {
  (void)device, (void)plan, (void)limits, (void)out;
}

static size_t null_strip_bytes(const struct weight *weight) { return cpu_layout_of(weight).tile_bytes; }

static bool null_measure(const struct plan *plan, const struct limits *limits, struct footprint *footprint,
                         struct error *error) {
  (void)error;
  *footprint = (struct footprint){0};
  for (int i = 0; i < plan->n_weight; i++)
    footprint->weights += backend_packed_bytes(&backend_null, plan_weights(plan) + i);
  for (int g = 0; g < plan->n_group; g++) { /* as if tokens were kept: the block budget works as with a real one */
    const struct kv_group *group = plan_groups(plan) + g;
    uint64_t token = (uint64_t)group->n_layer * (uint64_t)group->n_head * (uint64_t)kv_group_numbers(group);
    uint64_t bytes = limits->kv_dtype == KV_F32 ? 4 : limits->kv_dtype <= KV_BF16 ? 2 : 1;
    footprint->kv_block[g] = token * (uint64_t)limits->block_size * bytes;
  }
  return true;
}

static void null_release(struct program *program) {
  if (!program) return;
  free(program->token);
  free(program->logprob);
  free(program->top);
  free(program);
}

static struct program *null_compile(struct device *device, const struct plan *plan, const struct limits *limits,
                                    struct error *error) {
  (void)device;
  struct program *program = calloc(1, sizeof *program);
  if (program) {
    program->plan = plan;
    program->token = calloc((size_t)limits->outputs + 1, sizeof *program->token);
    program->logprob = calloc((size_t)limits->outputs + 1, sizeof *program->logprob);
    program->top = calloc((size_t)limits->outputs * TOP_LOGPROBS + 1, sizeof *program->top);
    if (program->token && program->logprob && program->top) return program;
  }
  null_release(program);
  error_set(error, ERROR_MEMORY, "Out of memory for a program of %d outputs.", limits->outputs);
  return NULL;
}

static bool null_load(struct program *program, int weight, struct slice packed, struct error *error) {
  (void)program, (void)weight, (void)packed, (void)error;
  return true;
}

static bool null_adapter_load(struct program *program, int slot, const struct adapter *adapter, struct error *error) {
  (void)program, (void)slot, (void)adapter, (void)error;
  return true;
}

static bool null_pool_fill(struct program *program, int32_t first, int32_t count, const struct pool_source *source,
                           struct error *error) {
  (void)program, (void)first, (void)count, (void)source, (void)error;
  return true;
}

static bool null_submit(struct program *program, const struct batch *batch, struct error *error) {
  (void)error;
  program->batch = batch;
  return true;
}

/* The last step of splitmix64: any change of the input changes all of the output. */
static uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

static bool null_finish(struct program *program, const struct masks *masks, struct error *error) {
  (void)masks, (void)error;
  const struct batch *batch = program->batch;
  const struct row *row = batch->row;
  for (int i = 0; batch->sampling && i < batch->n_out; i++) {
    while (batch->out[i] >= row->first + row->count) row++;
    uint64_t hash = mix((uint64_t)row->seat << 40 ^ (batch->sampling[i].index + 1));
    program->token[i] = (int32_t)(hash % (uint64_t)program->plan->vocab);
  }
  return true;
}

static bool null_collect(struct program *program, struct result *result, struct error *error) {
  (void)error;
  *result = (struct result){
      .n_out = program->batch->n_out, .token = program->token, .logprob = program->logprob, .top = program->top};
  return true;
}

const struct backend backend_null = {
    .name = "null",
    .target = TARGET_CPU,
    .pack_rows = TILE_ROWS,
    .open = null_open,
    .close = null_close,
    .describe = null_describe,
    .supports = null_supports,
    .fallbacks = null_fallbacks,
    .strip_bytes = null_strip_bytes,
    .pack = cpu_pack_tile,
    .measure = null_measure,
    .compile = null_compile,
    .load = null_load,
    .release = null_release,
    .adapter_load = null_adapter_load,
    .expert_adapters = true,
    .pool_fill = null_pool_fill,
    .submit = null_submit,
    .finish = null_finish,
    .collect = null_collect,
};
