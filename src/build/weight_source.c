/* From checkpoint tensors to rows of codes. */
#include "build/weight_source.h"

#include "build/act_order.h"
#include "build/merge_adapter.h"
#include "build/quantize.h"
#include "format/ggml_dequant.h"

#include <math.h>
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

/* Elements in another order are taken one by one: of types that have each by itself. */
static bool order_fits(const struct weight *weight, const struct weight_part *part, const struct tensor *tensor) {
  bool single = tensor->type == TENSOR_F32 || tensor->type == TENSOR_F16 || tensor->type == TENSOR_BF16;
  if (!single || tensor->packed || tensor->n_dim < 2) return false;
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
                                   .checkpoint = checkpoint,
                                   .column_order = act_order_columns(plan, weight, checkpoint),
                                   .row_order = act_order_rows(plan, weight, checkpoint)};
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

bool weight_reader_init(struct weight_reader *reader, const struct weight_source *source, int capacity,
                        struct error *error) {
  const struct weight *w = source->weight;
  *reader = (struct weight_reader){.source = *source};
  if (w->n_expert > 0) weight_source_expert(&reader->source, 0);
  if (!code_rows_init(&reader->rows, &w->scheme, capacity, w->cols, error) ||
      !exact_row_init(&reader->exact, w->cols, error) || !packed_buffer_init(&reader->packed, w->cols, error))
    return false;
  reader->floats = malloc((size_t)w->cols * sizeof *reader->floats);
  return reader->floats || error_set(error, ERROR_MEMORY, "Out of memory for a row of %d columns.", w->cols);
}

void weight_reader_release(struct weight_reader *reader) {
  code_rows_release(&reader->rows);
  exact_row_release(&reader->exact);
  packed_buffer_release(&reader->packed);
  free(reader->floats);
}

static const uint8_t *row_bytes_of(const struct weight *weight, const struct tensor *tensor, int row) {
  return tensor->data.data + (size_t)row * row_bytes(weight, tensor);
}

/* The tensor's row that stands where the plan has `tensor_row`. */
static int file_row(const struct weight_source *source, int part, int tensor_row) {
  const struct weight_part *of = &source->weight->part[part];
  return source->row_order ? part_tensor_row(of, source->row_order[part_row_of(of, tensor_row)]) : tensor_row;
}

static float factor_of(const struct tensor *tensor) {
  float factor = 1;
  if (tensor->factor) memcpy(&factor, tensor->factor->data.data, sizeof factor);
  return factor;
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
  int row = file_row(source, part, tensor_row);
  const struct tensor *tensor = source->part[part];
  if (tensor->packed)
    packed_row_floats(packed, tensor->packed, source->column_order, row, out);
  else if (w->order != ORDER_AS_IS)
    ordered_row(w, tensor, row, out);
  else
    tensor_dequantize(tensor->type, row_bytes_of(w, tensor, row), (size_t)w->cols, out);
  for (int i = 0; tensor->factor && i < w->cols; i++) out[i] *= factor_of(tensor);
  for (int i = 0; w->part[part].add != 0 && i < w->cols; i++) out[i] += w->part[part].add;
}

/* Row `index` of the weight with what is merged into it, then multiplied with its factors. */
static bool row_transform(const struct weight_source *source, struct packed_buffer *packed, int index, int part,
                          int tensor_row, float *out, struct error *error) {
  const struct weight *w = source->weight;
  const struct weight_transform *t = source->transform;
  weight_source_row(source, packed, part, tensor_row, out);
  if (t && t->merge && !merge_row(t->merge, w, index, out, error)) return false;
  for (int i = 0; t && t->column && i < w->cols; i++) out[i] *= t->column[i];
  for (int i = 0; t && t->row[part] && i < w->cols; i++)
    out[i] *= t->row[part][part_row_of(&w->part[part], tensor_row)];
  return true;
}

static bool row_refuse(const struct weight_source *source, int part, int tensor_row, struct error *error) {
  return error_prefix(error, "Row %d of tensor %s ", file_row(source, part, tensor_row), source->part[part]->name);
}

/* Multiplies what the codes of a row stand for. */
static void row_multiply(struct code_rows *rows, int at, float factor) {
  int groups = code_rows_groups(rows);
  for (int g = at * groups; g < (at + 1) * groups; g++) {
    rows->scale[g] *= factor;
    if (rows->scheme.has_min) rows->min[g] *= factor;
  }
}

/* Of E4M3: kernels that shift codes into other floats would make a number of one that is none. */
static bool codes_finite(const struct code_rows *rows, int at) {
  const uint8_t *code = rows->code + (size_t)at * (size_t)rows->cols;
  for (int i = 0; i < rows->cols; i++)
    if ((code[i] & 0x7f) == 0x7f) return false;
  return true;
}

/* Of scales that a file has beside its codes. */
static bool scales_finite(const struct code_rows *rows, int at) {
  int groups = code_rows_groups(rows);
  for (int g = at * groups; g < (at + 1) * groups; g++)
    if (!isfinite(rows->scale[g])) return false;
  return true;
}

/* Stores the row as the file has it, without arithmetic on floats; false where the scheme does not hold it, or where
 * floats are to say what is wrong with it. */
static bool row_copy(struct weight_reader *reader, const struct tensor *tensor, int row, int at) {
  const struct scheme *scheme = &reader->source.weight->scheme;
  const int *order = reader->source.column_order;
  if (tensor->packed ? !packed_scheme_holds(scheme, tensor->packed, order) : !exact_scheme_holds(scheme, tensor->type))
    return false;
  if (tensor->factor && scheme->scale != SCALE_F32) return false;
  if (tensor->packed)
    packed_row_store(&reader->packed, tensor->packed, order, row, &reader->rows, at);
  else
    exact_row_store(&reader->exact, tensor->type, row_bytes_of(reader->source.weight, tensor, row), &reader->rows, at);
  if (tensor->factor) row_multiply(&reader->rows, at, factor_of(tensor));
  if (tensor->packed && !scales_finite(&reader->rows, at)) return false;
  return scheme->kind != SCHEME_F8 || codes_finite(&reader->rows, at);
}

/* Row `index` of the weight. */
static bool row_read(struct weight_reader *reader, int index, int part, int tensor_row, int at, struct error *error) {
  const struct weight_source *source = &reader->source;
  const struct tensor *tensor = source->part[part];
  bool changed = source->weight->part[part].add != 0 || source->weight->order != ORDER_AS_IS ||
                 weight_transform_acts(source->transform);
  int row = file_row(source, part, tensor_row);
  if (!changed && row_copy(reader, tensor, row, at)) return true;
  const float *metric = source->transform ? source->transform->metric : NULL;
  return (row_transform(source, &reader->packed, index, part, tensor_row, reader->floats, error) &&
          quantize_row(reader->floats, metric, &reader->rows, at, error)) ||
         row_refuse(source, part, tensor_row, error);
}

bool weight_reader_read(struct weight_reader *reader, int first, int count, struct error *error) {
  int expert = first / reader->source.weight->rows;
  if (expert != reader->source.expert) weight_source_expert(&reader->source, expert);
  for (int i = 0; i < count; i++) {
    int part, tensor_row;
    if (!weight_row_source(reader->source.weight, first + i, &part, &tensor_row))
      code_rows_clear(&reader->rows, i);
    else if (!row_read(reader, first + i, part, tensor_row, i, error))
      return false;
  }
  return true;
}

bool weight_source_floats(const struct weight_source *source, float *out, struct error *error) {
  const struct weight *w = source->weight;
  struct packed_buffer packed;
  if (!packed_buffer_init(&packed, w->cols, error)) return false;
  bool done = true;
  for (int i = 0; i < w->rows && done; i++, out += w->cols) {
    int part, tensor_row;
    if (weight_row_source(w, i, &part, &tensor_row))
      done = row_transform(source, &packed, i, part, tensor_row, out, error) ||
             row_refuse(source, part, tensor_row, error);
    else
      memset(out, 0, (size_t)w->cols * sizeof *out);
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

static int packed_bytes(const struct packed_parts *parts, struct slice out[WEIGHT_RUNS]) {
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
  if (tensor->packed) return packed_bytes(&tensor->packed->parts, out);
  size_t bytes = row_bytes(w, tensor);
  int count = 0;
  if (tensor->factor) out[count++] = tensor->factor->data;
  out[count++] =
      w->use == WEIGHT_VECTOR || w->part[part].run
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
