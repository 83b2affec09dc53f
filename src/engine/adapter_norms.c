/* Rows of B·A are formed one at a time beside the base's; sums are in double. What was folded into a matrix is in W and
 * in B·A alike, and is taken out of both. */
#include "engine/adapter_norms.h"

#include <math.h>
#include <stdlib.h>

static bool no_memory(struct error *error) {
  return error_set(error, ERROR_MEMORY, "There is no memory for the norms of an adapter's magnitudes.");
}

static void delta_row(const float *b, const float *a, float gain, size_t rank, size_t cols, float *delta) {
  for (size_t j = 0; j < cols; j++) delta[j] = 0;
  for (size_t k = 0; k < rank; k++)
    for (size_t j = 0; j < cols; j++) delta[j] += gain * b[k] * a[k * cols + j];
}

static float *factor_widen(struct factor factor, size_t count) {
  float *floats = malloc((count ? count : 1) * sizeof *floats);
  if (floats) factor_floats(factor, 0, count, floats);
  return floats;
}

static void squares_add(const float *w, const float *delta, size_t cols, double sums[3]) {
  for (size_t j = 0; j < cols; j++) {
    sums[0] += (double)w[j] * w[j];
    sums[1] += (double)w[j] * delta[j];
    sums[2] += (double)delta[j] * delta[j];
  }
}

/* magnitude: the tensor that needs them. */
static bool sums_store(const struct adapter_norms *n, int i, const double sums[3], const struct tensor *magnitude,
                       struct error *error) {
  n->w2[i] = (float)sums[0];
  n->wd[i] = (float)sums[1];
  n->d2[i] = (float)sums[2];
  if (isfinite(n->w2[i]) && isfinite(n->wd[i]) && isfinite(n->d2[i])) return true;
  return error_set(
      error, ERROR_FORMAT,
      "\"%s\" needs squares of norms that are not finite: the factors' or the base's numbers are too great.",
      magnitude->name);
}

/* A folded row as the checkpoint has it, but for the order of its columns. factor: the row's. */
static void row_unfold(float *row, const struct weight_fold *fold, float factor, size_t cols) {
  if (!fold->column && factor == 1) return;
  for (size_t j = 0; j < cols; j++) row[j] = (float)(row[j] / ((double)factor * (fold->column ? fold->column[j] : 1)));
}

bool adapter_linear_norms(const struct engine_file *engine, const struct op *op, const struct adapter_op *out,
                          const struct module_tensors *m, const struct adapter_norms *n, struct error *error) {
  const struct weight *weight = &plan_weights(engine->plan)[op->weight[0]];
  struct slice packed = engine_file_weight(engine, op->weight[0]);
  struct weight_fold fold = engine_file_fold(engine, op->weight[0]);
  size_t cols = (size_t)weight->cols, rank = (size_t)out->rank;
  float *w = malloc((2 * cols + rank) * sizeof *w), *a = factor_widen(out->a, (size_t)weight->n_part * rank * cols);
  bool done = (w && a) || no_memory(error);
  for (int i = 0, part, row; i < weight->rows && done; i++) {
    double sums[3] = {0};
    if (!weight_row_source(weight, i, &part, &row) || !m[part].a) {
      n->magnitude[i] = n->w2[i] = 1;
      continue;
    }
    float *delta = w + cols, *b = delta + cols;
    engine->backend->unpack_row(weight, packed, i, w);
    factor_floats(out->b, (size_t)i * rank, rank, b);
    delta_row(b, a + (size_t)part * rank * cols, out->gain[part], rank, cols, delta);
    float factor = weight_fold_factor(&fold, weight, part, row);
    row_unfold(w, &fold, factor, cols);
    row_unfold(delta, &fold, factor, cols);
    squares_add(w, delta, cols, sums);
    done = sums_store(n, i, sums, m[part].magnitude, error);
  }
  free(w);
  free(a);
  return done;
}

bool adapter_embedding_norms(const struct engine_file *engine, const struct op *op, const struct adapter_op *out,
                             const struct module_tensors *m, const struct adapter_norms *n, struct error *error) {
  const struct weight *weight = &plan_weights(engine->plan)[op->weight[0]];
  struct slice packed = engine_file_weight(engine, op->weight[0]);
  size_t rank = (size_t)out->rank, cols = (size_t)weight->cols;
  float *w = malloc((cols + rank) * sizeof *w), *b = factor_widen(out->b, cols * rank);
  double(*sums)[3] = calloc(cols, sizeof *sums);
  bool done = w && b && sums;
  for (int token = 0; done && token < weight->rows; token++) {
    float *a = w + cols;
    engine->backend->unpack_row(weight, packed, token, w);
    factor_floats(out->a, (size_t)token * rank, rank, a);
    for (size_t i = 0; i < cols; i++) {
      float delta = 0;
      for (size_t k = 0; k < rank; k++) delta += out->gain[0] * b[i * rank + k] * a[k];
      squares_add(&w[i], &delta, 1, sums[i]);
    }
  }
  if (!done) no_memory(error);
  for (int i = 0; done && i < weight->cols; i++) done = sums_store(n, i, sums[i], m->magnitude, error);
  free(w);
  free(b);
  free(sums);
  return done;
}
