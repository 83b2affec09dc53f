/* The reference backend's table, and compiling: sizes follow from the plan and the limits. */
#include "backend/backends.h"
#include "backend/reference/reference_program.h"
#include "backend/sampler.h"

#include <stdlib.h>

struct device {
  const struct backend *packer; /* whose packed weights its programs read */
};

static struct device *reference_open(const struct device_options *options, struct error *error) {
  struct device *device = calloc(1, sizeof *device);
  if (!device)
    error_set(error, ERROR_MEMORY, "Out of memory for the reference device.");
  else
    device->packer = options->packer ? options->packer : &backend_reference;
  return device;
}

static void reference_close(struct device *device) { free(device); }

static const char *reference_describe(const struct device *device) {
  (void)device;
  return "reference: scalar double, 1 thread";
}

static bool reference_supports(const struct plan *plan, int op, struct error *error) {
  (void)plan, (void)op, (void)error;
  return true;
}

static void reference_fallbacks(const struct device *device, const struct plan *plan, const struct limits *limits,
                                struct buffer *out) {
  (void)device, (void)plan, (void)limits, (void)out; /* it has one path */
}

/* --- sizes ------------------------------------------------------------------------------------------------------ */

static size_t kv_block_bytes(const struct plan *plan, int group, const struct limits *limits) {
  const struct kv_group *g = plan_groups(plan) + group;
  return (size_t)g->n_layer * (size_t)g->n_head * (size_t)limits->block_size * (size_t)kv_group_numbers(g) *
         sizeof(float);
}

static size_t rows_at_most(const struct plan *plan, int value, const struct limits *limits) {
  return (size_t)(plan_values(plan)[value].rows == ROWS_OUTPUTS ? limits->outputs : limits->tokens);
}

static size_t size_max(size_t a, size_t b) { return a > b ? a : b; }

/* Numbers of one output's result. */
static size_t result_cols(const struct plan *plan) {
  return size_max((size_t)plan->vocab, (size_t)plan_values(plan)[plan_result(plan)].cols);
}

/* Doubles that linears and heads need, the most of any op, and floats of a weight's row. */
struct needs {
  size_t input, product, chosen, line, row, shrunk, change, own, pool;
};

static void attend_need(const struct attend_args *a, const struct limits *limits, struct needs *n) {
  size_t numbers = (size_t)a->n_kv_head * (size_t)(a->dim_k + a->dim_v);
  n->line = size_max(n->line, (size_t)a->dim_k);
  if (a->group < 0) n->own = size_max(n->own, (size_t)limits->tokens * numbers);
}

/* Of one row. */
static size_t results_of(const struct plan *plan, const struct op *op, const struct weight *w) {
  if (op->in[2] >= 0) return (size_t)plan_values(plan)[op->in[2]].cols / 2;
  return (size_t)weight_experts(w);
}

static struct needs needs_of(const struct plan *plan, const struct limits *limits) {
  struct needs n = {.shrunk = limits->adapters ? PLAN_PARTS * (size_t)limits->adapter_rank : 0,
                    .pool = (size_t)limits->pool * (size_t)plan->hidden};
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (limits->adapters && op->weight[0] >= 0) {
      const struct weight *w = plan_weights(plan) + op->weight[0];
      n.change = size_max(n.change, (size_t)(op->kind == OP_EMBED ? w->cols : w->rows));
    }
    if (op->kind == OP_ATTEND) attend_need(&op->args.attend, limits, &n);
    if (op->kind == OP_EMBED) {
      n.row = size_max(n.row, (size_t)plan_values(plan)[op->out].cols);
      n.line = size_max(n.line, n.row);
    }
    if (op->kind == OP_SELECT && (op->args.select.mean || op->args.select.pool))
      n.line = size_max(n.line, (size_t)plan_values(plan)[op->out].cols);
    if (op->kind != OP_LINEAR) continue;
    const struct weight *w = plan_weights(plan) + op->weight[0];
    size_t rows = rows_at_most(plan, op->in[0], limits);
    size_t results = results_of(plan, op, w);
    n.input = size_max(n.input, rows * results * (size_t)w->cols);
    n.product = size_max(n.product, rows * results * (size_t)w->rows);
    n.chosen = size_max(n.chosen, rows * results);
    n.line = size_max(n.line, (size_t)w->cols);
    n.row = size_max(n.row, (size_t)w->cols);
  }
  return n;
}

static bool reference_measure(const struct plan *plan, const struct limits *limits, struct footprint *footprint,
                              struct error *error) {
  (void)error;
  *footprint = (struct footprint){0};
  for (int i = 0; i < plan->n_weight; i++)
    footprint->weights += backend_packed_bytes(&backend_reference, plan_weights(plan) + i);
  struct needs needs = needs_of(plan, limits);
  size_t numbers =
      needs.input + needs.product + needs.line + needs.row + needs.shrunk + needs.change + (size_t)limits->length;
  for (int i = 0; i < plan->n_value; i++) numbers += rows_at_most(plan, i, limits) * (size_t)plan_values(plan)[i].cols;
  size_t output_bytes =
      result_cols(plan) * sizeof(float) + sizeof(int32_t) + sizeof(float) + TOP_LOGPROBS * sizeof(struct token_logprob);
  footprint->workspace = numbers * sizeof(double) + (needs.own + needs.pool) * sizeof(float) +
                         needs.chosen * sizeof(int32_t) + (size_t)limits->outputs * output_bytes +
                         sampler_scratch_bytes(plan->vocab);
  for (int g = 0; g < plan->n_group; g++) footprint->kv_block[g] = kv_block_bytes(plan, g, limits);
  return true;
}

/* --- compiling -------------------------------------------------------------------------------------------------- */

static void reference_release(struct program *program) {
  if (!program) return;
  for (int i = 0; program->value && i < program->plan->n_value; i++) free(program->value[i]);
  for (int g = 0; g < PLAN_GROUPS; g++) free(program->kv[g]);
  for (int i = 0; program->slot && i < program->limits.adapters; i++) reference_slot_release(&program->slot[i]);
  free(program->own);
  free(program->pool);
  free(program->slot);
  free(program->shrunk);
  free(program->change);
  free(program->packed);
  free(program->value);
  free(program->input);
  free(program->product);
  free(program->line);
  free(program->chosen);
  free(program->unpacked);
  free(program->scores);
  free(program->logits);
  free(program->sampler);
  free(program->token);
  free(program->logprob);
  free(program->top);
  free(program);
}

/* count zeroed elements of size, at least one; clears *ok when there is no memory. */
static void *take(size_t count, size_t size, bool *ok) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) *ok = false;
  return memory;
}

static bool program_allocate(struct program *p, const struct plan *plan, const struct limits *limits) {
  struct needs needs = needs_of(plan, limits);
  size_t outputs = (size_t)limits->outputs;
  bool ok = true;
  p->packed = take((size_t)plan->n_weight, sizeof *p->packed, &ok);
  p->value = take((size_t)plan->n_value, sizeof *p->value, &ok);
  p->input = take(needs.input, sizeof(double), &ok);
  p->product = take(needs.product, sizeof(double), &ok);
  p->line = take(needs.line, sizeof(double), &ok);
  p->chosen = take(needs.chosen, sizeof *p->chosen, &ok);
  p->own = take(needs.own, sizeof(float), &ok);
  p->pool = take(needs.pool, sizeof(float), &ok);
  p->slot = take((size_t)limits->adapters, sizeof *p->slot, &ok);
  p->shrunk = take(needs.shrunk, sizeof(double), &ok);
  p->change = take(needs.change, sizeof(double), &ok);
  p->unpacked = take(needs.row, sizeof(float), &ok);
  p->scores = take((size_t)limits->length, sizeof(double), &ok);
  p->logits = take(outputs * result_cols(plan), sizeof(float), &ok);
  p->sampler = take(sampler_scratch_bytes(plan->vocab), 1, &ok);
  p->token = take(outputs, sizeof *p->token, &ok);
  p->logprob = take(outputs, sizeof *p->logprob, &ok);
  p->top = take(outputs * TOP_LOGPROBS, sizeof *p->top, &ok);
  for (int i = 0; p->value && i < plan->n_value; i++)
    p->value[i] = take(rows_at_most(plan, i, limits) * (size_t)plan_values(plan)[i].cols, sizeof(double), &ok);
  for (int g = 0; g < plan->n_group; g++) p->kv[g] = take(limits->n_block[g], kv_block_bytes(plan, g, limits), &ok);
  return ok;
}

static struct program *reference_compile(struct device *device, const struct plan *plan, const struct limits *limits,
                                         struct error *error) {
  if (!pool_limits_check(plan, limits, error)) return NULL;
  struct program *program = calloc(1, sizeof *program);
  if (program) *program = (struct program){.plan = plan, .packer = device->packer, .limits = *limits};
  if (program && program_allocate(program, plan, limits)) return program;
  reference_release(program);
  error_set(error, ERROR_MEMORY, "Out of memory for a program of %d tokens, %d outputs and length %d.", limits->tokens,
            limits->outputs, limits->length);
  return NULL;
}

static bool reference_load(struct program *program, int weight, struct slice packed, struct error *error) {
  const struct weight *w = plan_weights(program->plan) + weight;
  size_t expected = backend_packed_bytes(program->packer, w);
  if (packed.size != expected)
    return error_set(error, ERROR_FORMAT, "Weight %s has %zu packed bytes, expected %zu: build the engine again.",
                     plan_name(program->plan, w->name), packed.size, expected);
  program->packed[weight] = packed;
  return true;
}

const struct backend backend_reference = {
    .name = "reference",
    .target = TARGET_REFERENCE,
    .pack_rows = REFERENCE_PACK_ROWS,
    .open = reference_open,
    .close = reference_close,
    .describe = reference_describe,
    .supports = reference_supports,
    .fallbacks = reference_fallbacks,
    .strip_bytes = reference_strip_bytes,
    .pack = reference_pack,
    .unpack_row = reference_unpack_row,
    .measure = reference_measure,
    .compile = reference_compile,
    .load = reference_load,
    .release = reference_release,
    .adapter_load = reference_adapter_load,
    .expert_adapters = true,
    .pool_fill = reference_pool_fill,
    .submit = reference_submit,
    .finish = reference_finish,
    .collect = reference_collect,
};
