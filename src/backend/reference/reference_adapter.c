/* Adapters of the reference, by the formulas of plan/adapter.h in double. */
#include "backend/reference/reference_program.h"

#include <math.h>
#include <stdlib.h>

/* --- slots -------------------------------------------------------------------------------------------------------- */

/* Numbers that the arrays of an adapter's op have. */
struct extent {
  size_t a, b, rows;
};

static struct extent extent_of(const struct plan *plan, const struct adapter_op *adapted) {
  const struct op *op = plan_ops(plan) + adapted->op;
  const struct weight *w = plan_weights(plan) + op->weight[0];
  size_t rank = (size_t)adapted->rank, rows = (size_t)w->rows, cols = (size_t)w->cols;
  if (op->kind == OP_EMBED) return (struct extent){rows * rank, cols * rank, cols};
  return (struct extent){(size_t)w->n_part * rank * cols, rows * rank, rows};
}

static const float *floats_copy(struct arena *arena, const float *from, size_t count, bool *ok) {
  if (!from) return NULL;
  float *to = arena_array(arena, count, sizeof *to);
  if (to)
    memcpy(to, from, count * sizeof *to);
  else
    *ok = false;
  return to;
}

static struct factor factor_copy(struct arena *arena, struct factor from, size_t count, bool *ok) {
  void *to = arena_array(arena, count, factor_bytes(from.type));
  if (to)
    memcpy(to, from.numbers, count * factor_bytes(from.type));
  else
    *ok = false;
  return (struct factor){to, from.type};
}

static bool op_copy(struct reference_slot *slot, const struct plan *plan, const struct adapter_op *from) {
  struct extent n = extent_of(plan, from);
  struct adapter_op *to = &slot->op[slot->n_op++];
  bool ok = true;
  *to = (struct adapter_op){.op = from->op,
                            .expert = from->expert,
                            .rank = from->rank,
                            .a = factor_copy(&slot->arena, from->a, n.a, &ok),
                            .b = factor_copy(&slot->arena, from->b, n.b, &ok),
                            .shift = floats_copy(&slot->arena, from->shift, n.rows, &ok),
                            .magnitude = floats_copy(&slot->arena, from->magnitude, n.rows, &ok),
                            .w2 = floats_copy(&slot->arena, from->w2, n.rows, &ok),
                            .wd = floats_copy(&slot->arena, from->wd, n.rows, &ok),
                            .d2 = floats_copy(&slot->arena, from->d2, n.rows, &ok)};
  memcpy(to->gain, from->gain, sizeof to->gain);
  return ok;
}

void reference_slot_release(struct reference_slot *slot) {
  arena_release(&slot->arena);
  *slot = (struct reference_slot){0};
}

bool reference_adapter_load(struct program *program, int index, const struct adapter *adapter, struct error *error) {
  const struct plan *plan = program->plan;
  const struct limits *limits = &program->limits;
  if (!adapter_check(adapter, plan, index, limits->adapters, limits->adapter_rank, error)) return false;
  reference_slot_release(&program->slot[index]);
  if (!adapter) return true;
  struct reference_slot slot = {0};
  arena_init(&slot.arena, SIZE_MAX);
  slot.op = arena_array(&slot.arena, (size_t)adapter->n_op + 1, sizeof *slot.op);
  bool ok = slot.op != NULL;
  for (int i = 0; ok && i < adapter->n_op; i++) ok = op_copy(&slot, plan, &adapter->op[i]);
  if (ok) {
    program->slot[index] = slot;
    return true;
  }
  reference_slot_release(&slot);
  return error_set(error, ERROR_MEMORY, "There is no memory for an adapter of %llu bytes.",
                   (unsigned long long)adapter->bytes);
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static const struct row *row_of_token(const struct batch *batch, int token) {
  const struct row *row = batch->row;
  while (token >= row->first + row->count) row++;
  return row;
}

static int site_compare(const void *left, const void *right) {
  const struct adapter_op *a = left, *b = right;
  return a->op != b->op ? (a->op > b->op) - (a->op < b->op) : (a->expert > b->expert) - (a->expert < b->expert);
}

static const struct adapter_op *adapted_op(const struct program *program, const struct row *row, int i,
                                           const struct op *op, int expert) {
  const struct reference_slot *slot = &program->slot[row->lora[i].slot];
  const struct adapter_op wanted = {.op = (int32_t)(op - plan_ops(program->plan)), .expert = expert};
  if (row->lora[i].scale == 0 || slot->n_op == 0) return NULL;
  return bsearch(&wanted, slot->op, slot->n_op, sizeof *slot->op, site_compare);
}

static double number_at(struct factor factor, size_t i) {
  float number;
  factor_floats(factor, i, 1, &number);
  return number;
}

/* change[i] += what the adapter makes of product[i] less product[i]; h is that of row i's part. */
static void change_add(const struct adapter_op *adapted, double s, int i, const double *h, double product,
                       double *change) {
  double delta = 0, g = 1;
  for (int k = 0; k < adapted->rank; k++)
    delta += number_at(adapted->b, (size_t)i * (size_t)adapted->rank + (size_t)k) * h[k];
  if (adapted->magnitude) {
    double square = adapted->w2[i] + 2 * s * adapted->wd[i] + s * s * adapted->d2[i];
    g = adapted->magnitude[i] / sqrt(square > ADAPTER_LEAST ? square : ADAPTER_LEAST);
  }
  change[i] += g * (product + s * delta) - product + (adapted->shift ? s * adapted->shift[i] : 0);
}

/* As adapter_bounded. */
static double bounded(double y, double most) {
  double low = y > -most ? y : -most;
  return low < most ? low : most;
}

static void shrink(const struct adapter_op *adapted, const struct weight *weight, const double *x, double *h) {
  size_t cols = (size_t)weight->cols;
  for (int k = 0; k < weight->n_part * adapted->rank; k++) {
    h[k] = 0;
    for (size_t j = 0; j < cols; j++) h[k] += number_at(adapted->a, (size_t)k * cols + j) * x[j];
    h[k] *= adapted->gain[k / adapted->rank];
  }
}

void reference_adapt_linear(struct program *program, const struct op *op, int index, int j, double *product) {
  const struct weight *weight = plan_weights(program->plan) + op->weight[0];
  bool outputs = plan_values(program->plan)[op->in[0]].rows == ROWS_OUTPUTS;
  const struct row *row = row_of_token(program->batch, outputs ? program->batch->out[index] : index);
  double *x = program->line, *change = program->change;
  if (row->n_lora == 0) return;
  bool gathers = op->args.linear.expert_mode == EXPERTS_GATHER;
  int expert = op->in[2] >= 0 ? (int)value_row(program, op->in[2], index)[j] : 0;
  const double *in = value_row(program, op->in[0], index) + (gathers ? (size_t)j * (size_t)weight->cols : 0);
  memcpy(x, in, (size_t)weight->cols * sizeof *x);
  reference_norm(op->args.linear.norm, x, vector_get(program, op->weight[2]), weight->cols, op->args.linear.eps, x);
  memset(change, 0, (size_t)weight->rows * sizeof *change);
  for (int l = 0; l < row->n_lora; l++) {
    const struct adapter_op *adapted = adapted_op(program, row, l, op, expert);
    if (!adapted) continue;
    shrink(adapted, weight, x, program->shrunk);
    for (int i = 0, part, of; i < weight->rows; i++)
      if (weight_row_source(weight, i, &part, &of))
        change_add(adapted, row->lora[l].scale, i, program->shrunk + part * adapted->rank, product[i], change);
  }
  float most = adapter_most(program->plan, op, program->limits.kv_dtype == KV_F16);
  for (int i = 0; i < weight->rows; i++) product[i] = bounded(product[i] + change[i], most);
}

void reference_adapt_embedding(struct program *program, const struct op *op, int index, double *product) {
  const struct weight *weight = plan_weights(program->plan) + op->weight[0];
  const struct row *row = row_of_token(program->batch, index);
  size_t token = (size_t)program->batch->token[index];
  double *change = program->change, *h = program->shrunk;
  if (row->n_lora == 0) return;
  memset(change, 0, (size_t)weight->cols * sizeof *change);
  for (int l = 0; l < row->n_lora; l++) {
    const struct adapter_op *adapted = adapted_op(program, row, l, op, 0);
    if (!adapted) continue;
    for (int k = 0; k < adapted->rank; k++)
      h[k] = adapted->gain[0] * number_at(adapted->a, token * (size_t)adapted->rank + (size_t)k);
    for (int i = 0; i < weight->cols; i++) change_add(adapted, row->lora[l].scale, i, h, product[i], change);
  }
  for (int i = 0; i < weight->cols; i++) product[i] = bounded(product[i] + change[i], ADAPTER_MOST);
}
