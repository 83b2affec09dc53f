/* With c, r, π and ρ of the matrix (engine_folds.h), A'[k][j] = c[j] · A[k][π(j)] takes the folded input for what A
 * took, and B'[i] = r[i] · B[ρ(i)] makes of it what is added to a folded row; so with shifts. Magnitudes are quotients
 * of the rows as they were: they follow ρ alone. */
#include "engine/adapter_fill.h"

#include "base/limits.h"
#include "engine/adapter_norms.h"
#include "format/ggml_dequant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool adapter_no_memory(struct error *error) {
  return error_set(error, ERROR_MEMORY, "There is no memory for the adapter, or it takes more than %d MiB.",
                   LIMIT_ADAPTER_MEBIBYTES);
}

/* Zeros that live as long as the adapter. */
static float *floats_new(struct adapter_maker *maker, size_t rows, size_t cols, struct error *error) {
  size_t count;
  bool fits = !__builtin_mul_overflow(rows, cols, &count);
  float *floats = fits ? arena_array(&maker->arena, count, sizeof(float)) : NULL;
  if (floats)
    maker->bytes += count * sizeof(float);
  else
    adapter_no_memory(error);
  return floats;
}

/* --- one tensor --------------------------------------------------------------------------------------------------- */

/* All elements, in the file's order. */
static bool tensor_floats(const struct tensor *tensor, float *out, struct error *error) {
  if (!tensor_check_loads(tensor, error)) return false;
  tensor_dequantize(tensor->type, tensor->data.data, tensor->count, out);
  for (size_t i = 0; i < tensor->count; i++)
    if (!isfinite(out[i]))
      return error_set(error, ERROR_FORMAT, "Element %zu of \"%s\" is no finite number.", i, tensor->name);
  return true;
}

/* The same in memory of its own; the caller frees it. */
static float *tensor_copy(const struct tensor *tensor, struct error *error) {
  float *floats = malloc((tensor->count ? tensor->count : 1) * sizeof *floats);
  if (!floats) {
    adapter_no_memory(error);
    return NULL;
  }
  if (tensor_floats(tensor, floats, error)) return floats;
  free(floats);
  return NULL;
}

/* --- linears ------------------------------------------------------------------------------------------------------ */

/* An op's matrix, with what was folded into it. */
struct base_matrix {
  const struct weight *weight;
  struct weight_fold fold;
};

static struct base_matrix base_matrix_of(const struct adapter_maker *maker, const struct op *op) {
  int index = op->weight[0];
  return (struct base_matrix){&plan_weights(maker->engine->plan)[index], engine_file_fold(maker->engine, index)};
}

/* The columns of [rows][cols] to the matrix's. scratch: [cols]. */
static void columns_fold(const struct weight_fold *fold, float *a, int rows, int cols, float *scratch) {
  if (!fold->column && !fold->column_order) return;
  for (int k = 0; k < rows; k++, a += cols) {
    memcpy(scratch, a, (size_t)cols * sizeof *a);
    for (int j = 0; j < cols; j++)
      a[j] = scratch[fold->column_order ? fold->column_order[j] : j] * (fold->column ? fold->column[j] : 1);
  }
}

/* Numbers that are finite may be none times those that were folded into the base. */
static bool folded_check(const struct tensor *tensor, const float *folded, size_t count, struct error *error) {
  for (size_t i = 0; i < count; i++)
    if (!isfinite(folded[i]))
      return error_set(error, ERROR_FORMAT,
                       "\"%s\" times the factors of the base's columns has numbers that are not finite.", tensor->name);
  return true;
}

static bool a_fill(struct adapter_maker *maker, struct adapter_op *out, const struct module_tensors *m,
                   const struct base_matrix *base, struct error *error) {
  int cols = base->weight->cols, n_part = base->weight->n_part;
  size_t each = (size_t)out->rank * (size_t)cols;
  float *a = floats_new(maker, (size_t)n_part, each, error), *scratch = malloc((size_t)cols * sizeof *scratch);
  bool done = a && (scratch || adapter_no_memory(error));
  out->a = a;
  for (int p = 0; done && p < n_part; p++, a += each) {
    if (!m[p].a) continue;
    done = tensor_floats(m[p].a, a, error);
    if (done) columns_fold(&base->fold, a, m[p].rank, cols, scratch);
    done = done && folded_check(m[p].a, a, each, error);
  }
  free(scratch);
  return done;
}

/* Factors that are finite may be none times a great α. */
static bool scaled_check(const struct tensor *tensor, const float *scaled, size_t count, struct error *error) {
  for (size_t i = 0; i < count; i++)
    if (!isfinite(scaled[i]))
      return error_set(error, ERROR_FORMAT, "\"%s\" times alpha ÷ rank has numbers that are not finite.", tensor->name);
  return true;
}

/* Rows of a module's [rows][width] to the weight's rows, times `scale`, added to what is there. */
static bool rows_place(const struct base_matrix *base, int part, const struct adapter_module *module,
                       const struct tensor *tensor, double scale, float *out, int stride, struct error *error) {
  const struct weight *weight = base->weight;
  float *floats = tensor_copy(tensor, error);
  int width = tensor->n_dim == 2 ? (int)tensor->dim[1] : 1;
  for (int i = 0, of, row; floats && i < weight->rows; i++) {
    if (!weight_row_source(weight, i, &of, &row) || of != part) continue;
    int own = adapter_module_row(module, weight_fold_row(&base->fold, weight, part, row));
    const float *from = floats + (size_t)own * (size_t)width;
    double factor = scale * (double)weight_fold_factor(&base->fold, weight, part, row);
    for (int k = 0; k < width; k++) out[(size_t)i * (size_t)stride + (size_t)k] += (float)(factor * from[k]);
  }
  free(floats);
  return floats && scaled_check(tensor, out, (size_t)weight->rows * (size_t)stride, error);
}

static bool b_fill(struct adapter_maker *maker, struct adapter_op *out, const struct module_tensors *m,
                   const struct base_matrix *base, struct error *error) {
  const struct weight *weight = base->weight;
  float *b = floats_new(maker, (size_t)weight->rows, (size_t)out->rank, error);
  out->b = b;
  for (int p = 0; b && p < weight->n_part; p++)
    if (m[p].b && !rows_place(base, p, &m[p].module, m[p].b, m[p].scale, b, out->rank, error)) return false;
  return b != NULL;
}

/* A trained bias counts by what it differs from the base's, which has its rows' factors. */
static bool base_bias_take(const struct adapter_maker *maker, const struct op *op, int part, const struct tensor *bias,
                           float *shift, struct error *error) {
  const struct weight *weight = &plan_weights(maker->engine->plan)[op->weight[0]];
  if (op->weight[1] < 0) return true;
  const float *base = (const void *)engine_file_weight(maker->engine, op->weight[1]).data;
  for (int i = 0, of, row; i < weight->rows; i++)
    if (weight_row_source(weight, i, &of, &row) && of == part) shift[i] -= base[i];
  for (int i = 0; i < weight->rows; i++)
    if (!isfinite(shift[i]))
      return error_set(error, ERROR_FORMAT, "\"%s\" less the base's bias has numbers that are not finite.", bias->name);
  return true;
}

static bool shift_fill(struct adapter_maker *maker, const struct op *op, struct adapter_op *out,
                       const struct module_tensors *m, const struct base_matrix *base, struct error *error) {
  const struct weight *weight = base->weight;
  bool any = false;
  for (int p = 0; p < weight->n_part; p++) any = any || m[p].b_bias || m[p].bias;
  if (!any) return true;
  float *shift = floats_new(maker, (size_t)weight->rows, 1, error);
  out->shift = shift;
  for (int p = 0; shift && p < weight->n_part; p++) {
    if (m[p].b_bias && !rows_place(base, p, &m[p].module, m[p].b_bias, m[p].scale, shift, 1, error)) return false;
    if (m[p].bias && !rows_place(base, p, &m[p].module, m[p].bias, 1, shift, 1, error)) return false;
    if (m[p].bias && !base_bias_take(maker, op, p, m[p].bias, shift, error)) return false;
  }
  return shift != NULL;
}

/* --- magnitudes --------------------------------------------------------------------------------------------------- */

static bool norms_new(struct adapter_maker *maker, struct adapter_op *out, int rows, struct adapter_norms *n,
                      struct error *error) {
  float **each[] = {&n->magnitude, &n->w2, &n->wd, &n->d2};
  for (int i = 0; i < 4; i++)
    if (!(*each[i] = floats_new(maker, (size_t)rows, 1, error))) return false;
  out->magnitude = n->magnitude;
  out->w2 = n->w2;
  out->wd = n->wd;
  out->d2 = n->d2;
  return true;
}

static bool linear_magnitudes_fill(struct adapter_maker *maker, const struct op *op, struct adapter_op *out,
                                   const struct module_tensors *m, const struct base_matrix *base,
                                   struct error *error) {
  const struct weight *weight = base->weight;
  struct base_matrix orders = {.weight = weight, .fold.row_order = base->fold.row_order};
  struct adapter_norms n;
  bool any = false;
  for (int p = 0; p < weight->n_part; p++) any = any || m[p].magnitude;
  if (!any) return true;
  bool done = norms_new(maker, out, weight->rows, &n, error);
  for (int p = 0; done && p < weight->n_part; p++)
    done = !m[p].magnitude || rows_place(&orders, p, &m[p].module, m[p].magnitude, 1, n.magnitude, 1, error);
  return done && adapter_linear_norms(maker->engine, op, out, m, &n, error);
}

static bool embedding_magnitudes_fill(struct adapter_maker *maker, const struct op *op, struct adapter_op *out,
                                      const struct module_tensors *m, struct error *error) {
  struct adapter_norms n;
  if (!m->magnitude) return true;
  return norms_new(maker, out, plan_weights(maker->engine->plan)[op->weight[0]].cols, &n, error) &&
         tensor_floats(m->magnitude, n.magnitude, error) &&
         adapter_embedding_norms(maker->engine, op, out, m, &n, error);
}

/* --- the whole op
 * ---------------------------------------------------------------------------------------------------------- */

bool adapter_linear_fill(struct adapter_maker *maker, const struct op *op, struct adapter_op *out,
                         const struct module_tensors *m, struct error *error) {
  struct base_matrix base = base_matrix_of(maker, op);
  return a_fill(maker, out, m, &base, error) && b_fill(maker, out, m, &base, error) &&
         shift_fill(maker, op, out, m, &base, error) && linear_magnitudes_fill(maker, op, out, m, &base, error);
}

/* To a[token][rank]. */
static bool embed_a_fill(const struct module_tensors *m, size_t rows, size_t rank, float *a, struct error *error) {
  if (m->by_token) return tensor_floats(m->a, a, error);
  float *turned = tensor_copy(m->a, error);
  for (size_t token = 0; turned && token < rows; token++)
    for (size_t k = 0; k < rank; k++) a[token * rank + k] = turned[k * rows + token];
  free(turned);
  return turned != NULL;
}

bool adapter_embedding_fill(struct adapter_maker *maker, const struct op *op, struct adapter_op *out,
                            const struct module_tensors *m, struct error *error) {
  const struct weight *weight = &plan_weights(maker->engine->plan)[op->weight[0]];
  size_t rows = (size_t)weight->rows, cols = (size_t)weight->cols, rank = (size_t)out->rank;
  float *a = floats_new(maker, rows, rank, error), *b = a ? floats_new(maker, cols, rank, error) : NULL;
  out->a = a;
  out->b = b;
  if (!b || !embed_a_fill(m, rows, rank, a, error) || !tensor_floats(m->b, b, error)) return false;
  for (size_t i = 0; i < cols * rank; i++) b[i] *= (float)m->scale;
  return scaled_check(m->b, b, cols * rank, error) && embedding_magnitudes_fill(maker, op, out, m, error);
}
