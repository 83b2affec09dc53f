/* What a merged adapter makes of rows and vectors. */
#include "build/merge_adapter.h"

#include "base/limits.h"

#include <math.h>

/* g(s) of plan/adapter.h. */
static double gain(const struct adapter_op *op, double scale, int i) {
  if (!op->magnitude) return 1;
  double square = op->w2[i] + 2 * scale * op->wd[i] + scale * scale * op->d2[i];
  return op->magnitude[i] / sqrt(square > ADAPTER_LEAST ? square : ADAPTER_LEAST);
}

static void embed_row(const struct weight_merge *merge, int cols, int token, float *out) {
  const struct adapter_op *op = merge->op;
  size_t rank = (size_t)op->rank;
  float a[LIMIT_ADAPTER_RANK], b[LIMIT_ADAPTER_RANK];
  factor_floats(op->a, (size_t)token * rank, rank, a);
  for (int i = 0; i < cols; i++) {
    double sum = 0;
    factor_floats(op->b, (size_t)i * rank, rank, b);
    for (size_t k = 0; k < rank; k++) sum += (double)b[k] * a[k];
    out[i] = (float)(gain(op, merge->scale, i) * (out[i] + (double)merge->scale * op->gain[0] * sum));
  }
}

static void linear_row(const struct weight_merge *merge, const struct weight *weight, int index, float *out) {
  const struct adapter_op *op = merge->expert ? merge->expert[index / weight->rows] : merge->op;
  int part, tensor_row, row = index % weight->rows;
  if (!op) return;
  if (!weight_row_source(weight, row, &part, &tensor_row)) return;
  enum { COLUMNS = 256 };
  size_t rank = (size_t)op->rank, cols = (size_t)weight->cols;
  double g = gain(op, merge->scale, row), scale = (double)merge->scale * op->gain[part];
  float b[LIMIT_ADAPTER_RANK];
  factor_floats(op->b, (size_t)row * rank, rank, b);
  for (size_t first = 0; first < cols; first += COLUMNS) {
    size_t count = cols - first < COLUMNS ? cols - first : COLUMNS;
    double sum[COLUMNS] = {0};
    float a[COLUMNS];
    for (size_t k = 0; k < rank; k++) {
      factor_floats(op->a, ((size_t)part * rank + k) * cols + first, count, a);
      for (size_t j = 0; j < count; j++) sum[j] += (double)b[k] * a[j];
    }
    for (size_t j = 0; j < count; j++) out[first + j] = (float)(g * (out[first + j] + scale * sum[j]));
  }
}

/* A scale, or numbers of the adapter, can be too great for the sum. */
static bool merged_check(const float *merged, int count, struct error *error) {
  for (int i = 0; i < count; i++)
    if (!isfinite(merged[i]))
      return error_set(error, ERROR_UNSUPPORTED,
                       "has with the adapter a number at %d that is not finite; merge less of it.", i);
  return true;
}

bool merge_row(const struct weight_merge *merge, const struct weight *weight, int row, float *out,
               struct error *error) {
  if (merge->embeds)
    embed_row(merge, weight->cols, row, out);
  else
    linear_row(merge, weight, row, out);
  return merged_check(out, weight->cols, error);
}

bool merge_vector(const struct weight_merge *merge, int count, float *out, struct error *error) {
  for (int i = 0; i < count; i++) out[i] += merge->scale * merge->op->shift[i];
  return merged_check(out, count, error);
}

static void floats_hash(struct hasher *hasher, const float *floats, size_t count) {
  if (floats) hasher_update(hasher, slice_make(floats, count * sizeof *floats));
}

static void factor_hash(struct hasher *hasher, struct factor factor, size_t count) {
  hasher_update(hasher, slice_make(&factor.type, sizeof factor.type));
  hasher_update(hasher, slice_make(factor.numbers, count * factor_bytes(factor.type)));
}

static void op_hash(const struct weight_merge *merge, const struct adapter_op *op, const struct plan *plan,
                    struct hasher *hasher) {
  const struct weight *weight = &plan_weights(plan)[plan_ops(plan)[op->op].weight[0]];
  size_t rank = (size_t)op->rank, rows = (size_t)weight->rows, cols = (size_t)weight->cols;
  size_t out = merge->embeds ? cols : rows;
  int32_t numbers[] = {op->op, op->expert, op->rank, op->shift != NULL, op->magnitude != NULL};
  hasher_update(hasher, slice_make(numbers, sizeof numbers));
  hasher_update(hasher, slice_make(&merge->scale, sizeof merge->scale));
  hasher_update(hasher, slice_make(op->gain, sizeof op->gain));
  factor_hash(hasher, op->a, rank * (merge->embeds ? rows : (size_t)weight->n_part * cols));
  factor_hash(hasher, op->b, rank * out);
  floats_hash(hasher, op->shift, out);
  floats_hash(hasher, op->magnitude, out); /* the norms follow from the rest */
}

void merge_hash(const struct weight_merge *merge, const struct plan *plan, struct hasher *hasher) {
  if (merge->op) op_hash(merge, merge->op, plan, hasher);
  for (int e = 0; e < merge->n_expert; e++)
    if (merge->expert[e]) op_hash(merge, merge->expert[e], plan, hasher);
}
