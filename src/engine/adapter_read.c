/* For each op of the plan the modules that its matrix holds are looked up in the adapter's file and checked, then all
 * are laid out as struct adapter_op has them. */
#include "engine/adapter_read.h"

#include "base/arena.h"
#include "base/limits.h"
#include "engine/adapter_factor.h"
#include "engine/adapter_norms.h"
#include "engine/adapter_source.h"
#include "format/ggml_dequant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct owned_adapter {
  struct adapter adapter; /* first: what adapter_free is given */
  struct arena arena;     /* of its arrays */
  struct adapter_op *op;  /* [n_op], as adapter.op */
};

struct reader {
  const struct engine_file *engine;
  const struct plan *plan;
  struct adapter_source source;
  struct owned_adapter *owned;
};

static bool no_memory(struct error *error) {
  return error_set(error, ERROR_MEMORY, "There is no memory for the adapter, or it takes more than %d MiB.",
                   LIMIT_ADAPTER_MEBIBYTES);
}

/* Zeros that live as long as the adapter. */
static void *numbers_new(struct reader *r, size_t rows, size_t cols, size_t each, struct error *error) {
  size_t count;
  bool fits = !__builtin_mul_overflow(rows, cols, &count);
  void *numbers = fits ? arena_array(&r->owned->arena, count, each) : NULL;
  if (numbers)
    r->owned->adapter.bytes += count * each;
  else
    no_memory(error);
  return numbers;
}

static float *floats_new(struct reader *r, size_t rows, size_t cols, struct error *error) {
  return numbers_new(r, rows, cols, sizeof(float), error);
}

/* Zeros for a while; the caller frees them. */
static float *floats_borrow(size_t rows, size_t cols, struct error *error) {
  size_t count;
  bool fits = !__builtin_mul_overflow(rows, cols, &count) && count <= ((size_t)LIMIT_ADAPTER_MEBIBYTES << 20) / 4;
  float *floats = fits ? calloc(count ? count : 1, sizeof *floats) : NULL;
  if (!floats) no_memory(error);
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
    no_memory(error);
    return NULL;
  }
  if (tensor_floats(tensor, floats, error)) return floats;
  free(floats);
  return NULL;
}

/* --- linears ------------------------------------------------------------------------------------------------------ */

/* Are the op's own numbers codes, beside which 16 bits are exact? */
static bool is_coded(const struct weight *weight) {
  return weight->scheme.kind == SCHEME_INT || weight->scheme.kind == SCHEME_F8;
}

/* Floats that are in no file in that form, to their last place. What they are multiples of goes into the gain. */
static bool factor_keep(struct reader *r, const float *floats, size_t rows, size_t cols, bool coded, struct factor *out,
                        float gain[PLAN_PARTS], struct error *error) {
  int exponent;
  out->type = factor_type_choose(floats, rows * cols, coded, &exponent);
  for (int p = 0; p < PLAN_PARTS; p++)
    if (!isfinite(ldexpf(gain[p], exponent))) out->type = FACTOR_F32;
  if (out->type == FACTOR_F32) exponent = 0;
  void *numbers = numbers_new(r, rows, cols, factor_bytes(out->type), error);
  if (!numbers) return false;
  factor_fill(floats, rows * cols, out->type, exponent, numbers);
  out->numbers = numbers;
  for (int p = 0; p < PLAN_PARTS; p++) gain[p] = ldexpf(gain[p], exponent);
  return true;
}

/* The tensors of 16 bits that a factor was copied from, for the sentence about the first number that is none. */
static bool copied_refuse(const struct tensor *const *tensors, int n, struct error *error) {
  for (int i = 0; i < n; i++) {
    float *floats = tensors[i] ? tensor_copy(tensors[i], error) : NULL;
    if (tensors[i] && !floats) return false;
    free(floats);
  }
  return error_set(error, ERROR_FORMAT, "The factors changed while they were read.");
}

static bool a_convert(struct reader *r, struct adapter_op *out, const struct tensor *const *tensors,
                      const struct weight *weight, struct error *error) {
  size_t n_part = (size_t)weight->n_part, each = (size_t)out->rank * (size_t)weight->cols;
  float *a = floats_borrow(n_part, each, error);
  bool done = a != NULL;
  for (size_t p = 0; done && p < n_part; p++)
    done = !tensors[p] || tensor_floats(tensors[p], a + p * each, error);
  done = done && factor_keep(r, a, n_part, each, is_coded(weight), &out->a, out->gain, error);
  free(a);
  return done;
}

static bool a_fill(struct reader *r, struct adapter_op *out, const struct module_tensors *m,
                   const struct weight *weight, struct error *error) {
  const struct tensor *tensors[PLAN_PARTS];
  size_t n_part = (size_t)weight->n_part, each = (size_t)out->rank * (size_t)weight->cols;
  for (size_t p = 0; p < n_part; p++) tensors[p] = m[p].a;
  out->a.type = factor_type_of(tensors, weight->n_part);
  if (out->a.type == FACTOR_F32) return a_convert(r, out, tensors, weight, error);
  uint16_t *a = numbers_new(r, n_part, each, sizeof *a, error);
  out->a.numbers = a;
  for (size_t p = 0; a && p < n_part; p++)
    if (tensors[p]) memcpy(a + p * each, tensors[p]->data.data, tensors[p]->count * sizeof *a);
  return a && (isfinite(factor_peak(out->a, n_part * each)) || copied_refuse(tensors, weight->n_part, error));
}

/* Factors that are finite may be none times a great α. */
static bool scaled_check(const struct tensor *tensor, double scale, float peak, struct error *error) {
  if (isfinite((float)scale) && isfinite((float)(scale * peak))) return true;
  return error_set(error, ERROR_FORMAT, "\"%s\" times alpha ÷ rank has numbers that are not finite.", tensor->name);
}

/* Rows of a module's [rows][width] to the weight's rows, times `scale`, added to what is there. */
static bool rows_place(const struct weight *weight, int part, const struct adapter_module *module,
                       const struct tensor *tensor, double scale, float *out, int stride, struct error *error) {
  float *floats = tensor_copy(tensor, error);
  int width = tensor->n_dim == 2 ? (int)tensor->dim[1] : 1;
  for (int i = 0, of, row; floats && i < weight->rows; i++) {
    if (!weight_row_source(weight, i, &of, &row) || of != part) continue;
    const float *from = floats + (size_t)adapter_module_row(module, row) * (size_t)width;
    for (int k = 0; k < width; k++) out[(size_t)i * (size_t)stride + (size_t)k] += (float)(scale * from[k]);
  }
  free(floats);
  struct factor placed = {.numbers = out};
  return floats && scaled_check(tensor, 1, factor_peak(placed, (size_t)weight->rows * (size_t)stride), error);
}

static bool b_convert(struct reader *r, struct adapter_op *out, const struct module_tensors *m,
                      const struct weight *weight, struct error *error) {
  size_t rows = (size_t)weight->rows, rank = (size_t)out->rank;
  float *b = floats_borrow(rows, rank, error);
  bool done = b != NULL;
  for (int p = 0; done && p < weight->n_part; p++)
    done = !m[p].b || (rows_place(weight, p, &m[p].module, m[p].b, 1, b, out->rank, error) &&
                       scaled_check(m[p].b, m[p].scale, factor_peak((struct factor){.numbers = b}, rows * rank), error));
  done = done && factor_keep(r, b, rows, rank, is_coded(weight), &out->b, out->gain, error);
  free(b);
  return done;
}

/* As rows_place, in 16 bits as they are. */
static void rows_copy(const struct weight *weight, const struct module_tensors *m, size_t rank, uint16_t *out) {
  for (int i = 0, p, row; i < weight->rows; i++) {
    if (!weight_row_source(weight, i, &p, &row) || !m[p].b) continue;
    size_t width = (size_t)m[p].rank, from = (size_t)adapter_module_row(&m[p].module, row) * width;
    memcpy(out + (size_t)i * rank, m[p].b->data.data + from * sizeof *out, width * sizeof *out);
  }
}

static bool b_fill(struct reader *r, struct adapter_op *out, const struct module_tensors *m,
                   const struct weight *weight, struct error *error) {
  const struct tensor *tensors[PLAN_PARTS];
  size_t rows = (size_t)weight->rows, rank = (size_t)out->rank;
  for (int p = 0; p < weight->n_part; p++) tensors[p] = m[p].b;
  out->b.type = factor_type_of(tensors, weight->n_part);
  if (out->b.type == FACTOR_F32) return b_convert(r, out, m, weight, error);
  uint16_t *b = numbers_new(r, rows, rank, sizeof *b, error);
  out->b.numbers = b;
  if (!b) return false;
  rows_copy(weight, m, rank, b);
  float peak = factor_peak(out->b, rows * rank);
  if (!isfinite(peak)) return copied_refuse(tensors, weight->n_part, error);
  for (int p = 0; p < weight->n_part; p++)
    if (m[p].b && !scaled_check(m[p].b, m[p].scale, peak, error)) return false;
  return true;
}

/* A trained bias counts by what it differs from the base's. */
static bool base_bias_take(const struct reader *r, const struct op *op, int part, const struct tensor *bias,
                           float *shift, struct error *error) {
  const struct weight *weight = &plan_weights(r->plan)[op->weight[0]];
  if (op->weight[1] < 0) return true;
  const float *base = (const void *)engine_file_weight(r->engine, op->weight[1]).data;
  for (int i = 0, of, row; i < weight->rows; i++)
    if (weight_row_source(weight, i, &of, &row) && of == part) shift[i] -= base[i];
  for (int i = 0; i < weight->rows; i++)
    if (!isfinite(shift[i]))
      return error_set(error, ERROR_FORMAT, "\"%s\" less the base's bias has numbers that are not finite.", bias->name);
  return true;
}

static bool shift_fill(struct reader *r, const struct op *op, struct adapter_op *out, const struct module_tensors *m,
                       struct error *error) {
  const struct weight *weight = &plan_weights(r->plan)[op->weight[0]];
  bool any = false;
  for (int p = 0; p < weight->n_part; p++) any = any || m[p].b_bias || m[p].bias;
  if (!any) return true;
  float *shift = floats_new(r, (size_t)weight->rows, 1, error);
  out->shift = shift;
  for (int p = 0; shift && p < weight->n_part; p++) {
    if (m[p].b_bias && !rows_place(weight, p, &m[p].module, m[p].b_bias, m[p].scale, shift, 1, error)) return false;
    if (m[p].bias && !rows_place(weight, p, &m[p].module, m[p].bias, 1, shift, 1, error)) return false;
    if (m[p].bias && !base_bias_take(r, op, p, m[p].bias, shift, error)) return false;
  }
  return shift != NULL;
}

/* --- magnitudes --------------------------------------------------------------------------------------------------- */

static bool norms_new(struct reader *r, struct adapter_op *out, int rows, struct adapter_norms *n,
                      struct error *error) {
  float **each[] = {&n->magnitude, &n->w2, &n->wd, &n->d2};
  for (int i = 0; i < 4; i++)
    if (!(*each[i] = floats_new(r, (size_t)rows, 1, error))) return false;
  out->magnitude = n->magnitude;
  out->w2 = n->w2;
  out->wd = n->wd;
  out->d2 = n->d2;
  return true;
}

static bool linear_magnitudes_fill(struct reader *r, const struct op *op, struct adapter_op *out,
                                   const struct module_tensors *m, struct error *error) {
  const struct weight *weight = &plan_weights(r->plan)[op->weight[0]];
  struct adapter_norms n;
  bool any = false;
  for (int p = 0; p < weight->n_part; p++) any = any || m[p].magnitude;
  if (!any) return true;
  bool done = norms_new(r, out, weight->rows, &n, error);
  for (int p = 0; done && p < weight->n_part; p++)
    done = !m[p].magnitude || rows_place(weight, p, &m[p].module, m[p].magnitude, 1, n.magnitude, 1, error);
  return done && adapter_linear_norms(r->engine, op, out, m, &n, error);
}

static bool embedding_magnitudes_fill(struct reader *r, const struct op *op, struct adapter_op *out,
                                      const struct module_tensors *m, struct error *error) {
  struct adapter_norms n;
  if (!m->magnitude) return true;
  return norms_new(r, out, plan_weights(r->plan)[op->weight[0]].cols, &n, error) &&
         tensor_floats(m->magnitude, n.magnitude, error) && adapter_embedding_norms(r->engine, op, out, m, &n, error);
}

/* --- ops ---------------------------------------------------------------------------------------------------------- */

static bool linear_fill(struct reader *r, const struct op *op, struct adapter_op *out, const struct module_tensors *m,
                        struct error *error) {
  const struct weight *weight = &plan_weights(r->plan)[op->weight[0]];
  return a_fill(r, out, m, weight, error) && b_fill(r, out, m, weight, error) &&
         shift_fill(r, op, out, m, error) && linear_magnitudes_fill(r, op, out, m, error);
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

static bool embed_fill(struct reader *r, const struct op *op, struct adapter_op *out, const struct module_tensors *m,
                       struct error *error) {
  const struct weight *weight = &plan_weights(r->plan)[op->weight[0]];
  size_t rows = (size_t)weight->rows, cols = (size_t)weight->cols, rank = (size_t)out->rank;
  float *a = floats_borrow(rows, rank, error), *b = a ? floats_borrow(cols, rank, error) : NULL;
  bool done = b && embed_a_fill(m, rows, rank, a, error) && tensor_floats(m->b, b, error) &&
              scaled_check(m->b, m->scale, factor_peak((struct factor){.numbers = b}, cols * rank), error) &&
              factor_keep(r, a, rows, rank, is_coded(weight), &out->a, out->gain, error) &&
              factor_keep(r, b, cols, rank, is_coded(weight), &out->b, out->gain, error);
  free(a);
  free(b);
  return done && embedding_magnitudes_fill(r, op, out, m, error);
}

/* Before anything is filled: great ranks and magnitudes take long. */
static bool rank_check(const struct reader *r, const char *path, int32_t max_rank, struct error *error) {
  const char *slash = strrchr(path, '/');
  int rank = 0;
  for (int i = 0; i < r->source.n_found; i++)
    if (r->source.found[i].rank > rank) rank = r->source.found[i].rank;
  return rank <= max_rank ||
         error_set(error, ERROR_LIMIT, "The adapter \"%.100s\" has rank %d, more than --max-lora-rank %d allows.",
                   slash ? slash + 1 : path, rank, max_rank);
}

static bool op_read(struct reader *r, const struct op_tensors *found, struct error *error) {
  const struct op *op = &plan_ops(r->plan)[found->op];
  struct adapter_op out = {.op = found->op, .rank = found->rank};
  for (int p = 0; p < PLAN_PARTS; p++) out.gain[p] = (float)found->part[p].scale;
  bool filled =
      op->kind == OP_EMBED ? embed_fill(r, op, &out, found->part, error) : linear_fill(r, op, &out, found->part, error);
  if (!filled) return false;
  struct owned_adapter *owned = r->owned;
  if (out.rank > owned->adapter.rank) owned->adapter.rank = out.rank;
  owned->op[owned->adapter.n_op++] = out;
  return true;
}

/* Bytes of its factors, about. */
static size_t factors_bytes(const struct reader *r) {
  size_t bytes = 0;
  for (int i = 0; i < r->source.n_found; i++) {
    const struct op_tensors *found = &r->source.found[i];
    const struct weight *weight = &plan_weights(r->plan)[plan_ops(r->plan)[found->op].weight[0]];
    for (int p = 0; p < weight->n_part; p++) {
      const struct tensor *a = found->part[p].a, *b = found->part[p].b;
      bytes += (a ? a->data.size : 0) + (b ? b->data.size : 0);
    }
  }
  return bytes;
}

static bool ops_read(struct reader *r, struct error *error) {
  r->owned = calloc(1, sizeof *r->owned);
  if (!r->owned) return no_memory(error);
  arena_init(&r->owned->arena, (size_t)LIMIT_ADAPTER_MEBIBYTES << 20);
  arena_reserve(&r->owned->arena, factors_bytes(r));
  r->owned->op = arena_array(&r->owned->arena, (size_t)r->source.n_found, sizeof *r->owned->op);
  if (!r->owned->op) return no_memory(error);
  r->owned->adapter.op = r->owned->op;
  for (int i = 0; i < r->source.n_found; i++)
    if (!op_read(r, &r->source.found[i], error)) return false;
  return true;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* Calibrated builds move scales between matrices, and an engine does not tell which: factors would meet other numbers
 * than they were trained with. */
static bool base_check(const struct engine_file *engine, struct error *error) {
  const char *method = quant_method_name(engine->facts->config.quant_method);
  if (engine->facts->config.quant_method <= QUANT_ROUND) return true;
  return error_set(
      error, ERROR_UNSUPPORTED,
      "The engine was quantized with %s, which moves scales between its matrices; adapters need one that was "
      "rounded: build it with --quant-method RTN.",
      method ? method : "a method of its own");
}

static bool contents_read(struct reader *r, const char *path, int32_t max_rank, struct error *error) {
  if (!adapter_source_find(&r->source, r->plan, error)) return error_prefix(error, "%s: ", r->source.path);
  return rank_check(r, path, max_rank, error) && (ops_read(r, error) || error_prefix(error, "%s: ", r->source.path));
}

struct adapter *adapter_read(const char *path, const struct engine_file *engine, int32_t max_rank,
                             struct error *error) {
  struct reader r = {.engine = engine, .plan = engine->plan};
  if (!base_check(engine, error)) return NULL;
  bool read = adapter_source_open(&r.source, path, error) && contents_read(&r, path, max_rank, error) &&
              adapter_source_intact(&r.source, error);
  adapter_source_close(&r.source);
  if (read) return &r.owned->adapter;
  adapter_free(r.owned ? &r.owned->adapter : NULL);
  return NULL;
}

void adapter_free(struct adapter *adapter) {
  struct owned_adapter *owned = (struct owned_adapter *)adapter;
  if (!owned) return;
  arena_release(&owned->arena);
  free(owned);
}
