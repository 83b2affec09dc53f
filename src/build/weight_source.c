/* From checkpoint tensors to rows of codes. */
#include "build/weight_source.h"

#include "build/act_order.h"
#include "build/merge_adapter.h"
#include "build/quantize.h"
#include "format/ggml_dequant.h"

#include <stdlib.h>

/* Whether rows of the weight are rows of the tensor, or, of a convolution's, of several dimensions together. */
static bool cols_fit(const struct weight *weight, const struct tensor *tensor) {
  int64_t cols = 1;
  for (int i = tensor->n_dim - 1; i >= 0 && cols < weight->cols; i--) cols *= tensor->dim[i];
  return cols == weight->cols;
}

/* Bytes of one row of a matrix's tensor. */
static size_t row_bytes(const struct weight *weight, const struct tensor *tensor) {
  size_t bytes = 0;
  tensor_type_bytes(tensor->type, (size_t)weight->cols, &bytes);
  return bytes;
}

/* Elements in another order are taken one by one, of types that have each by itself; an expert of others is turned as a
 * whole. */
static bool order_fits(const struct weight *weight, const struct weight_part *part, const struct tensor *tensor) {
  size_t bytes;
  if (tensor->n_dim < 2) return false;
  if (!tensor_is_single(tensor) &&
      (weight->n_expert == 0 || weight->n_part > 1 ||
       (!tensor->packed && !tensor_type_bytes(tensor->type, weight_tensor_rows(tensor), &bytes))))
    return false;
  if (weight->n_expert == 0) return tensor->count == (size_t)weight->rows * (size_t)weight->cols;
  size_t rows = weight_tensor_rows(tensor);
  return (size_t)part_end(part) <= rows && (size_t)weight->cols <= tensor->count / rows;
}

static bool part_fits(const struct weight *weight, const struct weight_part *part, const struct tensor *tensor) {
  if (weight->order != ORDER_AS_IS) return order_fits(weight, part, tensor);
  int64_t count = (int64_t)tensor->count, last = part_end(part);
  return weight->use == WEIGHT_VECTOR ? last <= count : cols_fit(weight, tensor) && last <= count / weight->cols;
}

static bool part_check(struct weight_source *source, int part, struct error *error) {
  const struct weight *w = source->weight;
  const struct weight_part *of = &w->part[part];
  const struct tensor *tensor = weight_source_find(source, part);
  char name[EXPERT_NAME_BYTES], shape[TENSOR_SHAPE_TEXT];
  source->part[part] = tensor;
  if (!tensor)
    return error_set(error, ERROR_NOT_FOUND, "The checkpoint has no tensor %s, which the weight %s is made of.",
                     expert_tensor_name(plan_name(source->plan, of->tensor), source->expert, name), source->name);
  if (!tensor_check_loads(tensor, error)) return false;
  if (!part_fits(w, of, tensor))
    return error_set(error, ERROR_FORMAT, "Tensor %s has shape %s; the weight %s needs %d rows of %d columns of it.",
                     tensor->name, tensor_shape_text(tensor, shape), source->name, part_end(of),
                     w->use == WEIGHT_VECTOR ? 1 : w->cols);
  return true;
}

bool weight_source_init(struct weight_source *source, const struct plan *plan, int weight,
                        const struct checkpoint *checkpoint, struct error *error) {
  const struct weight *w = &plan_weights(plan)[weight];
  *source = (struct weight_source){.weight = w,
                                   .name = plan_name(plan, w->name),
                                   .plan = plan,
                                   .index = weight,
                                   .checkpoint = checkpoint,
                                   .column_order = act_order_columns(plan, weight, checkpoint, 0),
                                   .row_order = act_order_rows(plan, weight, checkpoint, 0)};
  const struct tensor *first[PLAN_PARTS] = {NULL};
  for (int e = weight_experts(w) - 1; e >= 0; e--) {
    source->expert = e;
    for (int i = 0; i < w->n_part; i++) {
      if (part_is_constant(plan, &w->part[i])) continue;
      if (!part_check(source, i, error)) return false;
      if (first[i] && !tensor_alike(first[i], source->part[i]))
        return error_set(error, ERROR_UNSUPPORTED, "Tensor %s is stored otherwise than %s; experts must be alike.",
                         source->part[i]->name, first[i]->name);
      first[i] = source->part[i];
    }
  }
  return true;
}

const uint8_t *weight_source_row_bytes(const struct weight *weight, const struct tensor *tensor, int row) {
  return tensor->data.data + (size_t)row * row_bytes(weight, tensor);
}

int weight_source_file_row(const struct weight_source *source, int part, int tensor_row) {
  const struct weight_part *of = &source->weight->part[part];
  return source->row_order ? part_tensor_row(of, source->row_order[part_row_of(of, tensor_row)]) : tensor_row;
}

/* The tensor's element that stands in column `col`. */
static size_t ordered_element(const struct weight *w, const struct tensor *tensor, int row, int col) {
  if (w->order == ORDER_TRANSPOSED) return (size_t)col * weight_tensor_rows(tensor) + (size_t)row;
  int n = w->order, run = w->cols / n;
  return (size_t)row * (size_t)w->cols + (size_t)(col % run) * (size_t)n + (size_t)(col / run);
}

static void ordered_row(const struct weight *w, const struct tensor *tensor, int row, float *out) {
  size_t size = tensor->data.size / tensor->count;
  for (int i = 0; i < w->cols; i++)
    tensor_dequantize(tensor->type, tensor->data.data + ordered_element(w, tensor, row, i) * size, 1, out + i);
}

void weight_source_row(const struct weight_source *source, struct packed_buffer *packed, int part, int tensor_row,
                       float *out) {
  const struct weight *w = source->weight;
  int row = weight_source_file_row(source, part, tensor_row);
  const struct tensor *tensor = source->part[part];
  if (tensor->packed)
    packed_row_floats(packed, tensor->packed, source->column_order, row, out);
  else if (w->order != ORDER_AS_IS)
    ordered_row(w, tensor, row, out);
  else
    tensor_dequantize(tensor->type, weight_source_row_bytes(w, tensor, row), (size_t)w->cols, out);
  for (int i = 0; tensor->factor && i < w->cols; i++) out[i] *= tensor_factor(tensor);
  for (int i = 0; w->part[part].add != 0 && i < w->cols; i++) out[i] += w->part[part].add;
}

bool weight_source_transform(const struct weight_source *source, int index, int part, int tensor_row, float *out,
                             struct error *error) {
  const struct weight *w = source->weight;
  const struct weight_transform *t = source->transform;
  if (t && t->merge && !merge_row(t->merge, w, index, out, error)) return false;
  for (int i = 0; t && t->column && i < w->cols; i++) out[i] *= t->column[i];
  for (int i = 0; t && t->row[part] && i < w->cols; i++)
    out[i] *= t->row[part][part_row_of(&w->part[part], tensor_row)];
  return true;
}

bool weight_source_refuse(const struct weight_source *source, int part, int tensor_row, struct error *error) {
  return error_prefix(error, "Row %d of tensor %s ", weight_source_file_row(source, part, tensor_row),
                      source->part[part]->name);
}

bool weight_source_floats(const struct weight_source *source, float *out, struct error *error) {
  const struct weight *w = source->weight;
  struct packed_buffer packed;
  if (!packed_buffer_init(&packed, w->cols, error)) return false;
  bool done = true;
  for (int i = 0; i < w->rows && done; i++, out += w->cols) {
    int part, tensor_row;
    if (!weight_row_source(w, i, &part, &tensor_row)) {
      memset(out, 0, (size_t)w->cols * sizeof *out);
      continue;
    }
    weight_source_row(source, &packed, part, tensor_row, out);
    done = weight_source_transform(source, i, part, tensor_row, out, error) ||
           weight_source_refuse(source, part, tensor_row, error);
  }
  packed_buffer_release(&packed);
  return done;
}

static bool vector_transform(const struct weight_source *source, float *out, struct error *error) {
  const struct weight *w = source->weight;
  const struct weight_transform *t = source->transform;
  if (t->merge && !merge_vector(t->merge, w->cols, out, error))
    return error_prefix(error, "The vector %s ", source->name);
  for (int i = 0, part, element; i < w->cols; i++)
    if (weight_row_source(w, i, &part, &element) && t->row[part])
      out[i] *= t->row[part][part_row_of(&w->part[part], element)];
  return true;
}

/* Of the source's expert. */
static bool expert_vector(const struct weight_source *source, float *out, struct error *error) {
  const struct weight *w = source->weight;
  float *values[PLAN_PARTS] = {0};
  bool done = true;
  for (int i = 0; i < w->n_part && done; i++) {
    const struct tensor *tensor = source->part[i];
    if (!tensor) continue;
    values[i] = malloc(tensor->count * sizeof *values[i]);
    done = values[i] && tensor_dequantize(tensor->type, tensor->data.data, tensor->count, values[i]);
  }
  for (int i = 0; i < w->cols && done; i++) {
    int part, element;
    bool real = weight_row_source(w, i, &part, &element);
    out[i] = real ? (values[part] ? values[part][element] : 0) + w->part[part].add : 0;
  }
  for (int i = 0; i < w->n_part; i++) free(values[i]);
  if (!done) return error_set(error, ERROR_MEMORY, "Out of memory for the vector %s.", source->name);
  return !source->transform || vector_transform(source, out, error);
}

bool weight_source_vector(struct weight_source *source, float *out, struct error *error) {
  int cols = source->weight->cols;
  for (int e = 0; e < weight_experts(source->weight); e++, out += cols) {
    if (e != source->expert) weight_source_expert(source, e);
    if (!expert_vector(source, out, error)) return false;
  }
  return true;
}

static int packed_bytes(const struct packed_matrix *matrix, struct slice out[WEIGHT_RUNS]) {
  const struct packed_parts *parts = &matrix->parts;
  if (matrix->first > 0) return 0; /* those of the first, which has parts of all */
  const struct tensor *all[WEIGHT_RUNS] = {parts->codes, parts->scale, parts->zero, parts->index};
  int count = 0;
  for (int i = 0; i < WEIGHT_RUNS; i++)
    if (all[i]) out[count++] = all[i]->data;
  return count;
}

int weight_source_bytes(const struct weight_source *source, int part, struct slice out[WEIGHT_RUNS]) {
  const struct weight *w = source->weight;
  const struct tensor *tensor = source->part[part];
  if (!tensor) return 0;
  if (tensor->packed) return packed_bytes(tensor->packed, out);
  size_t bytes = row_bytes(w, tensor);
  int count = 0;
  if (tensor->factor) out[count++] = tensor->factor->data;
  out[count++] =
      w->use == WEIGHT_VECTOR || w->part[part].run || w->order != ORDER_AS_IS
          ? tensor->data
          : slice_make(tensor->data.data + (size_t)w->part[part].first * bytes, (size_t)w->part[part].rows * bytes);
  return count;
}

void weight_source_hash(struct weight_source *source, struct hasher *hasher) {
  struct slice run[WEIGHT_RUNS];
  for (int e = 0; e < weight_experts(source->weight); e++) {
    if (e != source->expert) weight_source_expert(source, e);
    for (int part = 0; part < source->weight->n_part; part++) {
      int count = weight_source_bytes(source, part, run);
      for (int i = 0; i < count; i++) hasher_update(hasher, run[i]);
    }
  }
}
