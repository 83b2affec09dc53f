/* With c, r, π and ρ of the matrix (engine_folds.h), A'[k][j] = c[j] · A[k][π(j)] takes the folded input for what A
 * took, and B'[i] = r[i] · B[ρ(i)] makes of it what is added to a folded row; so with shifts. Magnitudes are quotients
 * of the rows as they were: they follow ρ alone. */
#include "engine/adapter_fill.h"

#include "engine/adapter_factor.h"
#include "engine/adapter_norms.h"
#include "engine/adapter_place.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- factors ------------------------------------------------------------------------------------------------------ */

static struct base_matrix base_matrix_of(const struct adapter_maker *maker, const struct op *op) {
  int index = op->weight[0];
  return (struct base_matrix){&plan_weights(maker->engine->plan)[index], engine_file_fold(maker->engine, index)};
}

/* Are the matrix's own numbers codes, beside which 16 bits are exact? */
static bool is_coded(const struct weight *weight) {
  return weight->scheme.kind == SCHEME_INT || weight->scheme.kind == SCHEME_F8;
}

/* Floats that no file has as they are: those of a file in more bits, and what was multiplied with the base's factors.
 * What they become multiples of goes into the gain. */
static bool factor_keep(struct adapter_maker *maker, const float *floats, size_t rows, size_t cols, bool coded,
                        struct factor *out, float gain[PLAN_PARTS], struct error *error) {
  int exponent;
  out->type = factor_type_choose(floats, rows * cols, coded, &exponent);
  for (int p = 0; p < PLAN_PARTS; p++)
    if (!isfinite(ldexpf(gain[p], exponent))) out->type = FACTOR_F32;
  if (out->type == FACTOR_F32) exponent = 0;
  void *numbers = adapter_numbers_new(maker, rows, cols, factor_bytes(out->type), error);
  if (!numbers) return false;
  factor_fill(floats, rows * cols, out->type, exponent, numbers);
  out->numbers = numbers;
  for (int p = 0; p < PLAN_PARTS; p++) gain[p] = ldexpf(gain[p], exponent);
  return true;
}

/* The sentence about the first number of a tensor that is none: some copy of it had one. */
static bool copied_refuse(const struct tensor *tensor, struct error *error) {
  float *floats = adapter_tensor_copy(tensor, error);
  if (!floats) return false;
  free(floats);
  return error_set(error, ERROR_FORMAT, "\"%s\" changed while it was read.", tensor->name);
}

/* --- a ------------------------------------------------------------------------------------------------------------ */

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
  return isfinite(factor_peak((struct factor){.numbers = folded}, count)) ||
         error_set(error, ERROR_FORMAT,
                   "\"%s\" times the factors of the base's columns has numbers that are not finite.", tensor->name);
}

static bool a_convert(struct adapter_maker *maker, struct adapter_op *out, const struct tensor *const *tensors,
                      const struct base_matrix *base, struct error *error) {
  int cols = base->weight->cols, n_part = base->weight->n_part;
  size_t each = (size_t)out->rank * (size_t)cols;
  float *a = adapter_floats_borrow((size_t)n_part, each, error),
        *scratch = a ? adapter_floats_borrow(1, (size_t)cols, error) : NULL;
  bool done = scratch != NULL;
  for (int p = 0; done && p < n_part; p++) {
    float *own = a + (size_t)p * each;
    if (!tensors[p]) continue;
    done = adapter_tensor_floats(tensors[p], own, error);
    if (done) columns_fold(&base->fold, own, (int)tensors[p]->dim[0], cols, scratch);
    done = done && folded_check(tensors[p], own, each, error);
  }
  done = done && factor_keep(maker, a, (size_t)n_part, each, is_coded(base->weight), &out->a, out->gain, error);
  free(a);
  free(scratch);
  return done;
}

static bool a_fill(struct adapter_maker *maker, struct adapter_op *out, const struct module_tensors *m,
                   const struct base_matrix *base, struct error *error) {
  const struct tensor *tensors[PLAN_PARTS] = {0};
  int n_part = base->weight->n_part;
  size_t each = (size_t)out->rank * (size_t)base->weight->cols;
  for (int p = 0; p < n_part; p++) tensors[p] = m[p].a;
  if (base->fold.column || base->fold.column_order ||
      !factor_type_of(tensors, n_part, is_coded(base->weight), &out->a.type))
    return a_convert(maker, out, tensors, base, error);
  size_t bytes = each * factor_bytes(out->a.type);
  uint8_t *a = adapter_numbers_new(maker, (size_t)n_part, bytes, 1, error);
  out->a.numbers = a;
  for (int p = 0; a && p < n_part; p++, a += bytes)
    if (tensors[p] && !isfinite(factor_copy(tensors[p]->data.data, tensors[p]->count, out->a.type, a)))
      return copied_refuse(tensors[p], error);
  return a != NULL;
}

/* --- b ------------------------------------------------------------------------------------------------------------ */

static bool b_convert(struct adapter_maker *maker, struct adapter_op *out, const struct module_tensors *m,
                      const struct base_matrix *base, struct error *error) {
  const struct weight *weight = base->weight;
  size_t rows = (size_t)weight->rows, rank = (size_t)out->rank;
  float *b = adapter_floats_borrow(rows, rank, error);
  bool done = b != NULL;
  for (int p = 0; done && p < weight->n_part; p++)
    done = !m[p].b || adapter_rows_place(base, p, &m[p].module, m[p].b, 1, m[p].scale, b, out->rank, error);
  done = done && factor_keep(maker, b, rows, rank, is_coded(weight), &out->b, out->gain, error);
  free(b);
  return done;
}

/* As adapter_rows_place, as they are; each: bytes of a number. */
static void rows_copy(const struct base_matrix *base, const struct module_tensors *m, size_t rank, size_t each,
                      uint8_t *out) {
  for (int i = 0, p, row; i < base->weight->rows; i++, out += rank * each) {
    if (!weight_row_source(base->weight, i, &p, &row) || !m[p].b) continue;
    size_t width = (size_t)m[p].rank * each, from = adapter_base_row(base, p, &m[p].module, row) * width;
    memcpy(out, m[p].b->data.data + from, width);
  }
}

static bool rows_scaled(const struct base_matrix *base) {
  bool any = false;
  for (int p = 0; p < base->weight->n_part; p++) any = any || base->fold.row[p];
  return any;
}

/* Of the copy: are its numbers finite, and times each part's α ÷ rank? */
static bool copied_check(const struct base_matrix *base, const struct module_tensors *m, struct factor b, size_t count,
                         struct error *error) {
  float peak = factor_peak(b, count);
  for (int p = 0; p < base->weight->n_part; p++) {
    if (!m[p].b || (isfinite(peak) && adapter_scaled_fits(m[p].scale, peak))) continue;
    float *floats = adapter_tensor_copy(m[p].b, error);
    bool fits = floats && adapter_scaled_check(m[p].b, m[p].scale,
                                               factor_peak((struct factor){.numbers = floats}, m[p].b->count), error);
    free(floats);
    if (!fits) return false;
  }
  return isfinite(peak) || error_set(error, ERROR_FORMAT, "The factors changed while they were read.");
}

static bool b_fill(struct adapter_maker *maker, struct adapter_op *out, const struct module_tensors *m,
                   const struct base_matrix *base, struct error *error) {
  const struct tensor *tensors[PLAN_PARTS] = {0};
  int n_part = base->weight->n_part;
  size_t rows = (size_t)base->weight->rows, rank = (size_t)out->rank;
  for (int p = 0; p < n_part; p++) tensors[p] = m[p].b;
  if (rows_scaled(base) || !factor_type_of(tensors, n_part, is_coded(base->weight), &out->b.type))
    return b_convert(maker, out, m, base, error);
  uint8_t *b = adapter_numbers_new(maker, rows, rank, factor_bytes(out->b.type), error);
  out->b.numbers = b;
  if (!b) return false;
  rows_copy(base, m, rank, factor_bytes(out->b.type), b);
  return copied_check(base, m, out->b, rows * rank, error);
}

/* --- shifts ------------------------------------------------------------------------------------------------------- */

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
  float *shift = adapter_floats_new(maker, (size_t)weight->rows, 1, error);
  out->shift = shift;
  for (int p = 0; shift && p < weight->n_part; p++) {
    if (m[p].b_bias && !adapter_rows_place(base, p, &m[p].module, m[p].b_bias, m[p].scale, 1, shift, 1, error))
      return false;
    if (m[p].bias && !adapter_rows_place(base, p, &m[p].module, m[p].bias, 1, 1, shift, 1, error)) return false;
    if (m[p].bias && !base_bias_take(maker, op, p, m[p].bias, shift, error)) return false;
  }
  return shift != NULL;
}

/* --- magnitudes --------------------------------------------------------------------------------------------------- */

static bool norms_new(struct adapter_maker *maker, struct adapter_op *out, int rows, struct adapter_norms *n,
                      struct error *error) {
  float **each[] = {&n->magnitude, &n->w2, &n->wd, &n->d2};
  for (int i = 0; i < 4; i++)
    if (!(*each[i] = adapter_floats_new(maker, (size_t)rows, 1, error))) return false;
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
    done = !m[p].magnitude || adapter_rows_place(&orders, p, &m[p].module, m[p].magnitude, 1, 1, n.magnitude, 1, error);
  return done && adapter_linear_norms(maker->engine, op, out, m, &n, error);
}

static bool embedding_magnitudes_fill(struct adapter_maker *maker, const struct op *op, struct adapter_op *out,
                                      const struct module_tensors *m, struct error *error) {
  struct adapter_norms n;
  if (!m->magnitude) return true;
  return norms_new(maker, out, plan_weights(maker->engine->plan)[op->weight[0]].cols, &n, error) &&
         adapter_tensor_floats(m->magnitude, n.magnitude, error) &&
         adapter_embedding_norms(maker->engine, op, out, m, &n, error);
}

/* --- the whole op ------------------------------------------------------------------------------------------------- */

/* Of experts the file's columns and rows must be the checkpoint's. */
static bool order_check(const struct adapter_maker *maker, const struct base_matrix *base, struct error *error) {
  return !base->fold.apart ||
         error_set(error, ERROR_UNSUPPORTED,
                   "The experts of %s have their channels in an order of their own (GPTQ with act-order), in which no "
                   "adapter of experts can be taken. Merge it into the checkpoint that was quantized.",
                   plan_name(maker->engine->plan, base->weight->name));
}

bool adapter_linear_fill(struct adapter_maker *maker, const struct op *op, struct adapter_op *out,
                         const struct module_tensors *m, struct error *error) {
  struct base_matrix base = base_matrix_of(maker, op);
  return order_check(maker, &base, error) && a_fill(maker, out, m, &base, error) &&
         b_fill(maker, out, m, &base, error) && shift_fill(maker, op, out, m, &base, error) &&
         linear_magnitudes_fill(maker, op, out, m, &base, error);
}

/* To a[token][rank]. */
static bool embed_a_fill(const struct module_tensors *m, size_t rows, size_t rank, float *a, struct error *error) {
  if (m->by_token) return adapter_tensor_floats(m->a, a, error);
  float *turned = adapter_tensor_copy(m->a, error);
  for (size_t token = 0; turned && token < rows; token++)
    for (size_t k = 0; k < rank; k++) a[token * rank + k] = turned[k * rows + token];
  free(turned);
  return turned != NULL;
}

bool adapter_embedding_fill(struct adapter_maker *maker, const struct op *op, struct adapter_op *out,
                            const struct module_tensors *m, struct error *error) {
  const struct weight *weight = &plan_weights(maker->engine->plan)[op->weight[0]];
  size_t rows = (size_t)weight->rows, cols = (size_t)weight->cols, rank = (size_t)out->rank;
  float *a = adapter_floats_borrow(rows, rank, error), *b = a ? adapter_floats_borrow(cols, rank, error) : NULL;
  bool done = b && embed_a_fill(m, rows, rank, a, error) && adapter_tensor_floats(m->b, b, error) &&
              adapter_scaled_check(m->b, m->scale, factor_peak((struct factor){.numbers = b}, cols * rank), error) &&
              factor_keep(maker, a, rows, rank, is_coded(weight), &out->a, out->gain, error) &&
              factor_keep(maker, b, cols, rank, is_coded(weight), &out->b, out->gain, error);
  free(a);
  free(b);
  return done && embedding_magnitudes_fill(maker, op, out, m, error);
}
