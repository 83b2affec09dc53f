/* For each op of the plan the modules that its matrix holds are looked up in the adapter's file, checked and laid out
 * as struct adapter_op has them. */
#include "engine/adapter_read.h"

#include "base/arena.h"
#include "base/limits.h"
#include "engine/adapter_config.h"
#include "engine/adapter_module.h"
#include "format/ggml_dequant.h"
#include "format/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATH_BYTES = 4096, NAME_BYTES = ADAPTER_MODULE_BYTES + 64 };

struct owned_adapter {
  struct adapter adapter; /* first: what adapter_free is given */
  struct arena arena;     /* of its arrays */
  struct adapter_op *op;  /* [n_op], as adapter.op */
};

/* What the file has for a module; NULL: nothing. */
struct module_tensors {
  struct adapter_module module;
  const struct tensor *a, *b, *b_bias, *bias, *magnitude;
  int rank;
  double scale; /* α ÷ r */
};

struct reader {
  const struct engine_file *engine;
  const struct plan *plan;
  const struct adapter_config *config;
  const struct safetensors *file;
  struct owned_adapter *owned;
  bool *used; /* [n_tensor]: it belongs to a module */
};

static const struct tensor *tensor_take(struct reader *r, const char *module, const char *suffix) {
  char name[NAME_BYTES];
  snprintf(name, sizeof name, "base_model.model.%s.%s", module, suffix);
  const struct tensor *tensor = tensor_find(&r->file->tensors, name);
  if (tensor) r->used[tensor - r->file->tensors.tensors] = true;
  return tensor;
}

static bool no_memory(struct error *error) {
  return error_set(error, ERROR_MEMORY, "There is no memory for the adapter, or it takes more than %d MiB.",
                   LIMIT_ADAPTER_MEBIBYTES);
}

/* Zeros that live as long as the adapter. */
static float *floats_new(struct reader *r, size_t rows, size_t cols, struct error *error) {
  size_t count;
  bool fits = !__builtin_mul_overflow(rows, cols, &count);
  float *floats = fits ? arena_array(&r->owned->arena, count, sizeof(float)) : NULL;
  if (floats)
    r->owned->adapter.bytes += count * sizeof(float);
  else
    no_memory(error);
  return floats;
}

/* --- one tensor --------------------------------------------------------------------------------------------------- */

static bool shape_check(const struct tensor *tensor, int64_t rows, int64_t cols, struct error *error) {
  char shape[TENSOR_SHAPE_TEXT];
  bool vector = cols == 0;
  if (tensor->n_dim == (vector ? 1 : 2) && tensor->dim[0] == rows && (vector || tensor->dim[1] == cols)) return true;
  tensor_shape_text(tensor, shape);
  if (vector)
    return error_set(error, ERROR_FORMAT, "\"%s\" has the shape %s; the base model wants [%lld].", tensor->name, shape,
                     (long long)rows);
  return error_set(error, ERROR_FORMAT,
                   "\"%s\" has the shape %s; the base model and adapter_config.json want [%lld, %lld].", tensor->name,
                   shape, (long long)rows, (long long)cols);
}

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

/* --- the tensors of a module -------------------------------------------------------------------------------------- */

/* Rows of a module's matrix: those of its tensor that any weight of the plan has. */
static int module_rows(const struct plan *plan, const char *tensor) {
  int rows = 0;
  for (int i = 0; i < plan->n_weight; i++) {
    const struct weight *weight = &plan_weights(plan)[i];
    for (int p = 0; p < weight->n_part; p++) {
      const struct weight_part *part = &weight->part[p];
      if (part->first + part->rows > rows && strcmp(plan_name(plan, part->tensor), tensor) == 0)
        rows = part->first + part->rows;
    }
  }
  return rows;
}

static bool shapes_check(const struct module_tensors *m, bool embeds, int rows, int cols, struct error *error) {
  int out = embeds ? cols : rows, in = embeds ? rows : cols;
  if (m->a && (!shape_check(m->a, m->rank, in, error) || !shape_check(m->b, out, m->rank, error))) return false;
  if (m->b_bias && !shape_check(m->b_bias, out, 0, error)) return false;
  if (m->bias && !shape_check(m->bias, out, 0, error)) return false;
  return !m->magnitude || shape_check(m->magnitude, out, 0, error);
}

/* peft saves the matrices of vocabularies beside their factors; they must be the base's size. */
static bool saved_matrix_check(struct reader *r, const struct module_tensors *m, int rows, int cols,
                               struct error *error) {
  const struct tensor *matrix = tensor_take(r, m->module.name, "base_layer.weight");
  return !matrix || shape_check(matrix, rows, cols, error);
}

static bool module_find(struct reader *r, const struct op *op, int part, struct module_tensors *m,
                        struct error *error) {
  const struct weight *weight = &plan_weights(r->plan)[op->weight[0]];
  bool embeds = op->kind == OP_EMBED;
  *m = (struct module_tensors){0};
  if (!adapter_module_of(r->plan, op, part, &m->module)) return true;
  const char *name = m->module.name;
  m->a = tensor_take(r, name, embeds ? "lora_embedding_A" : "lora_A.weight");
  m->b = tensor_take(r, name, embeds ? "lora_embedding_B" : "lora_B.weight");
  if (!m->a != !m->b)
    return error_set(error, ERROR_FORMAT, "The adapter has one of lora_A and lora_B of \"%s\" and lacks the other.",
                     name);
  m->b_bias = embeds ? NULL : tensor_take(r, name, "lora_B.bias");
  m->bias = embeds ? NULL : tensor_take(r, name, m->a ? "base_layer.bias" : "bias");
  m->magnitude = tensor_take(r, name, "lora_magnitude_vector");
  if (!m->magnitude != !(m->a && adapter_config_has_magnitudes(r->config)))
    return error_set(error, ERROR_FORMAT, "\"%s\" has %s lora_magnitude_vector, and use_dora is %s.", name,
                     m->magnitude ? "a" : "no", m->magnitude ? "false" : "true");
  int rows = module_rows(r->plan, plan_name(r->plan, weight->part[part].tensor));
  if (m->a && !adapter_config_module(r->config, name, &m->rank, &m->scale, error)) return false;
  return shapes_check(m, embeds, rows, weight->cols, error) && saved_matrix_check(r, m, rows, weight->cols, error);
}

/* --- linears ------------------------------------------------------------------------------------------------------ */

static bool a_fill(struct reader *r, struct adapter_op *out, const struct module_tensors *m, int n_part, int cols,
                   struct error *error) {
  size_t each = (size_t)out->rank * (size_t)cols;
  float *a = floats_new(r, (size_t)n_part, each, error);
  out->a = a;
  for (int p = 0; a && p < n_part; p++)
    if (m[p].a && !tensor_floats(m[p].a, a + (size_t)p * each, error)) return false;
  return a != NULL;
}

/* Rows of a module's [rows][width] to the weight's rows, times `scale`. add: to what is there. */
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
  return floats != NULL;
}

static bool b_fill(struct reader *r, struct adapter_op *out, const struct module_tensors *m,
                   const struct weight *weight, struct error *error) {
  float *b = floats_new(r, (size_t)weight->rows, (size_t)out->rank, error);
  out->b = b;
  for (int p = 0; b && p < weight->n_part; p++)
    if (m[p].b && !rows_place(weight, p, &m[p].module, m[p].b, m[p].scale, b, out->rank, error)) return false;
  return b != NULL;
}

/* A trained bias counts by what it differs from the base's. */
static void base_bias_take(const struct reader *r, const struct op *op, int part, float *shift) {
  const struct weight *weight = &plan_weights(r->plan)[op->weight[0]];
  if (op->weight[1] < 0) return;
  const float *base = (const void *)engine_file_weight(r->engine, op->weight[1]).data;
  for (int i = 0, of, row; i < weight->rows; i++)
    if (weight_row_source(weight, i, &of, &row) && of == part) shift[i] -= base[i];
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
    if (m[p].bias) base_bias_take(r, op, p, shift);
  }
  return shift != NULL;
}

/* --- magnitudes --------------------------------------------------------------------------------------------------- */

struct norms {
  float *magnitude, *w2, *wd, *d2; /* [rows of the result] */
};

static bool norms_new(struct reader *r, struct adapter_op *out, int rows, struct norms *n, struct error *error) {
  float **each[] = {&n->magnitude, &n->w2, &n->wd, &n->d2};
  for (int i = 0; i < 4; i++)
    if (!(*each[i] = floats_new(r, (size_t)rows, 1, error))) return false;
  out->magnitude = n->magnitude;
  out->w2 = n->w2;
  out->wd = n->wd;
  out->d2 = n->d2;
  return true;
}

/* delta[j] = Σ_k b[k] · a[k · a_stride + j · step] */
static void delta_row(const float *b, const float *a, int rank, size_t stride, size_t step, int cols, float *delta) {
  for (int j = 0; j < cols; j++) delta[j] = 0;
  for (int k = 0; k < rank; k++)
    for (int j = 0; j < cols; j++) delta[j] += b[k] * a[(size_t)k * stride + (size_t)j * step];
}

static void squares_add(const float *w, const float *delta, int cols, double sums[3]) {
  for (int j = 0; j < cols; j++) {
    sums[0] += (double)w[j] * w[j];
    sums[1] += (double)w[j] * delta[j];
    sums[2] += (double)delta[j] * delta[j];
  }
}

static void linear_norms(const struct reader *r, const struct op *op, const struct adapter_op *out,
                         const struct module_tensors *m, const struct norms *n, float *w, float *delta) {
  const struct weight *weight = &plan_weights(r->plan)[op->weight[0]];
  struct slice packed = engine_file_weight(r->engine, op->weight[0]);
  size_t cols = (size_t)weight->cols, rank = (size_t)out->rank;
  for (int i = 0, part, row; i < weight->rows; i++) {
    double sums[3] = {0};
    if (!weight_row_source(weight, i, &part, &row) || !m[part].a) {
      n->magnitude[i] = n->w2[i] = 1;
      continue;
    }
    r->engine->backend->unpack_row(weight, packed, i, w);
    delta_row(out->b + (size_t)i * rank, out->a + (size_t)part * rank * cols, out->rank, cols, 1, weight->cols, delta);
    squares_add(w, delta, weight->cols, sums);
    n->w2[i] = (float)sums[0];
    n->wd[i] = (float)sums[1];
    n->d2[i] = (float)sums[2];
  }
}

/* Of an embedding the norms are those of its columns. */
static bool embed_norms(const struct reader *r, const struct op *op, const struct adapter_op *out,
                        const struct norms *n, float *w, struct error *error) {
  const struct weight *weight = &plan_weights(r->plan)[op->weight[0]];
  struct slice packed = engine_file_weight(r->engine, op->weight[0]);
  size_t cols = (size_t)weight->cols;
  double(*sums)[3] = calloc(cols, sizeof *sums);
  if (!sums) return no_memory(error);
  for (int token = 0; token < weight->rows; token++) {
    r->engine->backend->unpack_row(weight, packed, token, w);
    for (size_t i = 0; i < cols; i++) {
      float delta;
      delta_row(out->b + i * (size_t)out->rank, out->a + (size_t)token * (size_t)out->rank, out->rank, 1, 0, 1, &delta);
      squares_add(&w[i], &delta, 1, sums[i]);
    }
  }
  for (size_t i = 0; i < cols; i++) {
    n->w2[i] = (float)sums[i][0];
    n->wd[i] = (float)sums[i][1];
    n->d2[i] = (float)sums[i][2];
  }
  free(sums);
  return true;
}

/* Rows of parts without a magnitude keep their norm, whatever it is: both are 1, and nothing is added to them. */
static bool magnitudes_fill(struct reader *r, const struct op *op, struct adapter_op *out,
                            const struct module_tensors *m, struct error *error) {
  const struct weight *weight = &plan_weights(r->plan)[op->weight[0]];
  bool embeds = op->kind == OP_EMBED, any = false;
  int rows = embeds ? weight->cols : weight->rows;
  struct norms n;
  for (int p = 0; p < weight->n_part; p++) any = any || m[p].magnitude;
  if (!any) return true;
  if (!norms_new(r, out, rows, &n, error)) return false;
  float *scratch = malloc(2 * (size_t)weight->cols * sizeof *scratch);
  if (!scratch) return no_memory(error);
  bool done = true;
  for (int p = 0; done && p < weight->n_part && !embeds; p++)
    done = !m[p].magnitude || rows_place(weight, p, &m[p].module, m[p].magnitude, 1, n.magnitude, 1, error);
  if (embeds)
    done = tensor_floats(m->magnitude, n.magnitude, error) && embed_norms(r, op, out, &n, scratch, error);
  else if (done)
    linear_norms(r, op, out, m, &n, scratch, scratch + weight->cols);
  free(scratch);
  return done;
}

/* --- ops ---------------------------------------------------------------------------------------------------------- */

static bool linear_fill(struct reader *r, const struct op *op, struct adapter_op *out, const struct module_tensors *m,
                        struct error *error) {
  const struct weight *weight = &plan_weights(r->plan)[op->weight[0]];
  return a_fill(r, out, m, weight->n_part, weight->cols, error) && b_fill(r, out, m, weight, error) &&
         shift_fill(r, op, out, m, error) && magnitudes_fill(r, op, out, m, error);
}

static bool embed_fill(struct reader *r, const struct op *op, struct adapter_op *out, const struct module_tensors *m,
                       struct error *error) {
  const struct weight *weight = &plan_weights(r->plan)[op->weight[0]];
  size_t rows = (size_t)weight->rows, cols = (size_t)weight->cols, rank = (size_t)out->rank;
  float *a = floats_new(r, rows, rank, error), *b = a ? floats_new(r, cols, rank, error) : NULL;
  float *turned = b ? tensor_copy(m->a, error) : NULL;
  if (!turned) return false;
  for (size_t token = 0; token < rows; token++)
    for (size_t k = 0; k < rank; k++) a[token * rank + k] = turned[k * rows + token];
  free(turned);
  out->a = a;
  out->b = b;
  if (!tensor_floats(m->b, b, error)) return false;
  for (size_t i = 0; i < cols * rank; i++) b[i] *= (float)m->scale;
  return magnitudes_fill(r, op, out, m, error);
}

/* Adds the op to the adapter when the file has anything for its modules. */
static bool op_read(struct reader *r, int index, struct error *error) {
  const struct op *op = &plan_ops(r->plan)[index];
  struct module_tensors m[PLAN_PARTS];
  struct adapter_op out = {.op = index};
  bool any = false;
  int n_part = plan_weights(r->plan)[op->weight[0]].n_part;
  for (int p = 0; p < n_part; p++) {
    if (!module_find(r, op, p, &m[p], error)) return false;
    any = any || m[p].a || m[p].bias;
    if (m[p].rank > out.rank) out.rank = m[p].rank;
  }
  if (!any) return true;
  bool filled = op->kind == OP_EMBED ? embed_fill(r, op, &out, m, error) : linear_fill(r, op, &out, m, error);
  if (!filled) return false;
  struct owned_adapter *owned = r->owned;
  if (out.rank > owned->adapter.rank) owned->adapter.rank = out.rank;
  owned->op[owned->adapter.n_op++] = out;
  return true;
}

static bool ops_read(struct reader *r, struct error *error) {
  r->owned->op = arena_array(&r->owned->arena, (size_t)r->plan->n_op, sizeof *r->owned->op);
  if (!r->owned->op) return no_memory(error);
  r->owned->adapter.op = r->owned->op;
  for (int i = 0; i < r->plan->n_op; i++) {
    int kind = plan_ops(r->plan)[i].kind;
    if ((kind == OP_LINEAR || kind == OP_EMBED) && !op_read(r, i, error)) return false;
  }
  for (int i = 0; i < r->file->tensors.n_tensor; i++)
    if (!r->used[i])
      return error_set(error, ERROR_FORMAT, "\"%s\" belongs to no module of the base model that adapters can change.",
                       r->file->tensors.tensors[i].name);
  return r->owned->adapter.n_op > 0 ||
         error_set(error, ERROR_FORMAT, "The adapter has no tensors: there is nothing to apply.");
}

/* --- the directory ------------------------------------------------------------------------------------------------ */

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

static bool contents_read(struct reader *r, struct error *error) {
  r->used = calloc((size_t)r->file->tensors.n_tensor + 1, sizeof *r->used);
  r->owned = calloc(1, sizeof *r->owned);
  if (r->owned) arena_init(&r->owned->arena, (size_t)LIMIT_ADAPTER_MEBIBYTES << 20);
  bool read = r->used && r->owned ? ops_read(r, error) : no_memory(error);
  free(r->used);
  return read;
}

struct adapter *adapter_read(const char *directory, const struct engine_file *engine, struct error *error) {
  char path[PATH_BYTES];
  struct reader r = {.engine = engine, .plan = engine->plan};
  struct adapter_config *config = NULL;
  struct safetensors *file = NULL;
  bool read = base_check(engine, error);
  if (read) {
    snprintf(path, sizeof path, "%s/adapter_config.json", directory);
    r.config = config = adapter_config_read(path, error);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", directory);
    r.file = file = config ? safetensors_open(path, error) : NULL;
    read = file && (contents_read(&r, error) || error_prefix(error, "%s: ", path)) && safetensors_intact(file, error);
  }
  safetensors_close(file);
  adapter_config_free(config);
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
