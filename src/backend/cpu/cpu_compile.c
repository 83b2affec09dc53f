/* From a plan to a program: what can be known before the first step is settled here, and all memory is taken. */
#include "backend/backends.h"
#include "backend/cpu/cpu_program.h"
#include "base/cpu_share.h"
#include "backend/cpu/tactic.h"
#include "backend/sampler.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
  CACHE_LINE = 64,
  QUERY_ROWS = 48, /* queries (tokens × heads of a KV head) that attention takes together, about */
};

static size_t size_max(size_t a, size_t b) { return a > b ? a : b; }

/* --- what follows from the plan ----------------------------------------------------------------------------------- */

/* Tokens of a query block: the same for every attention, so that a step cuts its rows once. */
static int query_tokens_of(const struct plan *plan) {
  int tokens = QUERY_ROWS;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind != OP_ATTEND) continue;
    int shared = op->args.attend.n_head / op->args.attend.n_kv_head;
    int fits = QUERY_ROWS / shared > 1 ? QUERY_ROWS / shared : 1;
    if (fits < tokens) tokens = fits;
  }
  return tokens;
}

static size_t scratch_bytes_of(const struct plan *plan, int query_tokens) {
  size_t floats = 0, bytes = 0;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind == OP_EMBED) floats = size_max(floats, (size_t)plan_values(plan)[op->out].cols);
    if (op->kind == OP_SELECT && (op->args.select.mean || op->args.select.pool))
      floats = size_max(floats, (size_t)plan_values(plan)[op->out].cols);
    if (op->kind == OP_LINEAR) floats = size_max(floats, call_linear_scratch(plan, op));
    if (op->kind == OP_LINEAR) floats = size_max(floats, call_experts_scratch(plan, op));
    if (op->kind == OP_ROUTE) floats = size_max(floats, call_route_scratch(&op->args.route));
    if (op->kind == OP_ATTEND) floats = size_max(floats, call_attend_scratch(&op->args.attend, query_tokens));
    if (op->kind == OP_SAMPLE) bytes = sampler_scratch_bytes(plan->vocab);
  }
  bytes = size_max(bytes, floats * sizeof(float));
  return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

static bool rope_same(const struct rope_table *rope, const struct attend_args *args) {
  return rope->frequency == args->rope_freq && rope->dim == args->rope_dim && rope->scale == args->rope_scale &&
         rope->axes == attend_has_axes(args) &&
         (!rope->axes || memcmp(rope->count, args->rope_axis, sizeof rope->count) == 0);
}

/* The index of an attention's angles among those found so far (n_rope of them), adding them when they are new. */
static int rope_find(struct rope_table *rope, int *n_rope, const struct attend_args *args) {
  if (args->rope_style == ROPE_NONE) return -1;
  for (int i = 0; i < *n_rope; i++)
    if (rope_same(&rope[i], args)) return i;
  struct rope_table *new = &rope[*n_rope];
  *new = (struct rope_table){.frequency = args->rope_freq,
                             .dim = args->rope_dim,
                             .scale = args->rope_scale,
                             .axes = attend_has_axes(args),
                             .count = {args->rope_dim / 2}};
  if (new->axes) memcpy(new->count, args->rope_axis, sizeof new->count);
  return (*n_rope)++;
}

/* The cache of an attention without a group: one for each shape of heads. */
static struct kv_cache *own_find(struct program *program, const struct attend_args *args) {
  const struct kv_group shape = {.n_layer = 1, .n_head = args->n_kv_head, .dim_k = args->dim_k, .dim_v = args->dim_v};
  for (int i = 0; i < program->n_own; i++) {
    const struct kv_layout *l = &program->own[i].layout;
    if (l->n_head == shape.n_head && l->dim_k == shape.dim_k && l->dim_v == shape.dim_v) return &program->own[i];
  }
  struct limits limits = program->limits;
  limits.block_size = KEY_TILE;
  bool quads = program->device && program->device->kernels->attend.quads;
  program->own[program->n_own].layout = kv_layout_of(&shape, &limits, quads);
  return &program->own[program->n_own++];
}

static void attend_prepare(struct program *program, struct call *call, const struct attend_args *args) {
  call->rope = rope_find(program->rope, &program->n_rope, args);
  call->cache = args->group < 0 ? own_find(program, args) : &program->cache[args->group];
}

static void call_prepare(struct program *program, int index) {
  const struct op *op = plan_ops(program->plan) + index;
  struct call *call = &program->calls[index];
  *call = (struct call){.op = op, .index = index, .site = program->n_site, .rope = -1};
  program->n_site += adapter_sites(program->plan, op);
  if (op->kind == OP_ATTEND) attend_prepare(program, call, &op->args.attend);
  if ((op->kind == OP_EMBED || op->kind == OP_LINEAR) && op->weight[0] >= 0)
    call->layout = cpu_layout_of(plan_weights(program->plan) + op->weight[0]);
  if (op->kind == OP_LINEAR) {
    call->unit_tiles = op->args.linear.gated ? 2 : 1;
    call->n_unit = (call->layout.rows + TILE_ROWS - 1) / TILE_ROWS / call->unit_tiles;
  }
}

static bool op_of_head(const struct plan *plan, const struct op *op) {
  return op->kind == OP_SAMPLE || plan_values(plan)[op->out].rows == ROWS_OUTPUTS;
}

/* The body ends where the first op over outputs is; all that follow must be over outputs too. */
static bool body_find(const struct plan *plan, int *n_body, struct error *error) {
  int n = 0;
  while (n < plan->n_op && !op_of_head(plan, plan_ops(plan) + n)) n++;
  for (int i = n; i < plan->n_op; i++)
    if (!op_of_head(plan, plan_ops(plan) + i))
      return error_set(error, ERROR_UNSUPPORTED,
                       "Op %d of the plan (%s, layer %d) is over tokens but comes after ops over outputs.", i,
                       op_kind_name(plan_ops(plan)[i].kind), plan_ops(plan)[i].layer);
  if (n == plan->n_op) return error_set(error, ERROR_UNSUPPORTED, "The plan has no op over outputs: it has no result.");
  *n_body = n;
  return true;
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* The tables whose sizes follow from the plan alone. */
static bool tables_alloc(struct program *program, struct error *error) {
  const struct plan *plan = program->plan;
  program->n_call = plan->n_op;
  program->calls = calloc((size_t)plan->n_op + 1, sizeof *program->calls);
  program->weight = calloc((size_t)plan->n_weight + 1, sizeof *program->weight);
  program->value = calloc((size_t)plan->n_value + 1, sizeof *program->value);
  program->order = calloc((size_t)plan->n_value + 1, sizeof *program->order);
  program->rope = calloc((size_t)plan->n_op + 1, sizeof *program->rope);
  program->own = calloc((size_t)plan->n_op + 1, sizeof *program->own);
  program->slot = calloc((size_t)program->limits.adapters + 1, sizeof *program->slot);
  if (program->calls && program->weight && program->value && program->order && program->rope && program->own &&
      program->slot)
    return true;
  return error_set(error, ERROR_MEMORY, "There is no memory for the tables of a plan of %d ops.", plan->n_op);
}

static void tables_free(struct program *program) {
  free(program->calls);
  free(program->weight);
  free(program->value);
  free(program->order);
  free(program->rope);
  free(program->own);
  adapter_slots_release(program);
}

static bool limits_check(const struct limits *limits, struct error *error) {
  if (limits->seats < 1 || limits->tokens < 1 || limits->outputs < 1 || limits->length < 1 || limits->opt_batch < 1)
    return error_set(error, ERROR_INVALID,
                     "Limits of %d seats, %d tokens, %d outputs, length %d, optimum batch %d; each must be at least 1.",
                     limits->seats, limits->tokens, limits->outputs, limits->length, limits->opt_batch);
  if (limits->block_size < 1 || (limits->block_size & (limits->block_size - 1)))
    return error_set(error, ERROR_INVALID, "KV blocks of %d tokens were asked for, expected a power of two.",
                     limits->block_size);
  if (limits->kv_dtype > KV_INT8)
    return error_set(error, ERROR_INVALID,
                     "KV type %d was asked for, expected 0 (fp32), 1 (fp16), 2 (bf16), 3 (fp8) or 4 (int8).",
                     limits->kv_dtype);
  if (limits->kv_dtype >= KV_BF16 && limits->block_size < KV_PAIRED_COLS)
    return error_set(error, ERROR_INVALID, "%s KV needs blocks of at least %d tokens, not %d: use fp16.",
                     kv_dtype_name(limits->kv_dtype), KV_PAIRED_COLS, limits->block_size);
  return adapter_limits_check(limits->adapters, limits->adapter_rank, error);
}

/* Everything of a program that takes no memory of a step's size; to measure without a device. */
static bool program_describe(struct program *program, struct device *device, const struct plan *plan,
                             const struct limits *limits, struct error *error) {
  *program = (struct program){.device = device, .plan = plan, .limits = *limits};
  if (!limits_check(limits, error) || !pool_limits_check(plan, limits, error) ||
      !body_find(plan, &program->n_body, error) || !tables_alloc(program, error))
    return false;
  for (int i = 0; i < plan->n_op; i++) call_prepare(program, i);
  program->query_tokens = query_tokens_of(plan);
  program->scratch_bytes = scratch_bytes_of(plan, program->query_tokens);
  return true;
}

bool cpu_measure(const struct plan *plan, const struct limits *limits, struct footprint *footprint,
                 struct error *error) {
  struct program program;
  *footprint = (struct footprint){0};
  bool ok = program_describe(&program, NULL, plan, limits, error);
  if (ok) {
    footprint->workspace = workspace_count(&program, cpu_share_count());
    for (int i = 0; i < plan->n_weight; i++)
      footprint->weights += backend_packed_bytes(&backend_cpu, plan_weights(plan) + i);
    for (int i = 0; i < plan->n_group; i++)
      footprint->kv_block[i] = kv_layout_of(plan_groups(plan) + i, limits, false).block_bytes;
  }
  tables_free(&program);
  return ok;
}

static bool caches_open(struct program *program, struct error *error) {
  bool quads = program->device->kernels->attend.quads;
  for (int i = 0; i < program->plan->n_group; i++) {
    struct kv_layout layout = kv_layout_of(plan_groups(program->plan) + i, &program->limits, quads);
    if (!kv_cache_open(&program->cache[i], &layout, program->limits.n_block[i], error)) return false;
  }
  return true;
}

struct program *cpu_compile(struct device *device, const struct plan *plan, const struct limits *limits,
                            struct error *error) {
  struct program *program = malloc(sizeof *program);
  if (!program) {
    error_set(error, ERROR_MEMORY, "There is no memory for a program.");
    return NULL;
  }
  bool ok = program_describe(program, device, plan, limits, error);
  ok = ok && workspace_alloc(program, error) && caches_open(program, error);
  if (!ok) {
    cpu_release(program);
    return NULL;
  }
  tactics_choose(program);
  return program;
}

bool cpu_load(struct program *program, int weight, struct slice packed, struct error *error) {
  const struct weight *w = plan_weights(program->plan) + weight;
  size_t expected = backend_packed_bytes(&backend_cpu, w);
  if (packed.size != expected)
    return error_set(error, ERROR_FORMAT, "Weight %s has %zu packed bytes, expected %zu: build the engine again.",
                     plan_name(program->plan, w->name), packed.size, expected);
  if ((uintptr_t)packed.data % CACHE_LINE)
    return error_set(error, ERROR_FORMAT, "Weight %s is not aligned to %d bytes in memory.",
                     plan_name(program->plan, w->name), CACHE_LINE);
  program->weight[weight] = packed.data;
  return true;
}

void cpu_release(struct program *program) {
  if (!program) return;
  for (int i = 0; i < PLAN_GROUPS; i++) kv_cache_close(&program->cache[i]);
  if (program->workspace) munmap(program->workspace, program->workspace_bytes);
  tables_free(program);
  free(program);
}
