/* Rows of a weight as codes, read one after the other: as the file has them, or rounded from floats. */
#include "build/quantize.h"
#include "build/weight_source.h"
#include "format/ggml_dequant.h"

#include <math.h>
#include <stdlib.h>

/* Must the reader turn experts as a whole? */
static bool reader_turns(const struct weight_source *source) {
  return source->weight->order == ORDER_TRANSPOSED && !tensor_is_single(source->part[0]);
}

/* Memory for a turned expert, if the reader needs any. */
static bool turned_init(struct weight_reader *reader, struct error *error) {
  size_t cols = (size_t)reader->source.weight->cols;
  reader->turned_expert = -1;
  if (!reader_turns(&reader->source)) return true;
  size_t rows = weight_tensor_rows(reader->source.part[0]);
  reader->turned = malloc((cols + 1) * rows * sizeof *reader->turned);
  return reader->turned ||
         error_set(error, ERROR_MEMORY, "Out of memory for a matrix of %zu × %zu columns.", rows, cols);
}

bool weight_reader_init(struct weight_reader *reader, const struct weight_source *source, int capacity,
                        struct error *error) {
  const struct weight *w = source->weight;
  *reader = (struct weight_reader){.source = *source};
  if (w->n_expert > 0) weight_source_expert(&reader->source, 0);
  if (!code_rows_init(&reader->rows, &w->scheme, capacity, w->cols, error) ||
      !exact_row_init(&reader->exact, w->cols, error) || !turned_init(reader, error))
    return false;
  int longest = reader->turned ? (int)weight_tensor_rows(reader->source.part[0]) : 0;
  if (!packed_buffer_init(&reader->packed, longest > w->cols ? longest : w->cols, error)) return false;
  reader->floats = malloc((size_t)w->cols * sizeof *reader->floats);
  return reader->floats || error_set(error, ERROR_MEMORY, "Out of memory for a row of %d columns.", w->cols);
}

void weight_reader_release(struct weight_reader *reader) {
  code_rows_release(&reader->rows);
  exact_row_release(&reader->exact);
  packed_buffer_release(&reader->packed);
  free(reader->turned);
  free(reader->floats);
}

/* The whole tensor of the reader's expert, whose rows are the weight's columns. */
static void expert_turn(struct weight_reader *reader) {
  const struct weight_source *source = &reader->source;
  const struct tensor *tensor = source->part[0];
  size_t rows = weight_tensor_rows(tensor), cols = (size_t)source->weight->cols, bytes = 0;
  float *line = reader->turned + rows * cols;
  if (!tensor->packed) tensor_type_bytes(tensor->type, rows, &bytes);
  for (size_t c = 0; c < cols; c++) {
    if (tensor->packed)
      packed_row_floats(&reader->packed, tensor->packed, NULL, (int)c, line);
    else
      tensor_dequantize(tensor->type, tensor->data.data + c * bytes, rows, line);
    for (size_t r = 0; r < rows; r++) reader->turned[r * cols + c] = line[r] * tensor_factor(tensor);
  }
  reader->turned_expert = source->expert;
}

static void reader_row(struct weight_reader *reader, int part, int tensor_row, float *out) {
  size_t cols = (size_t)reader->source.weight->cols;
  if (!reader->turned) {
    weight_source_row(&reader->source, &reader->packed, part, tensor_row, out);
    return;
  }
  if (reader->turned_expert != reader->source.expert) expert_turn(reader);
  memcpy(out, reader->turned + (size_t)tensor_row * cols, cols * sizeof *out);
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
    exact_row_store(&reader->exact, tensor->type, weight_source_row_bytes(reader->source.weight, tensor, row),
                    &reader->rows, at);
  if (tensor->factor) row_multiply(&reader->rows, at, tensor_factor(tensor));
  if (tensor->packed && !scales_finite(&reader->rows, at)) return false;
  return scheme->kind != SCHEME_F8 || codes_finite(&reader->rows, at);
}

/* Row `index` of the weight. */
static bool row_read(struct weight_reader *reader, int index, int part, int tensor_row, int at, struct error *error) {
  const struct weight_source *source = &reader->source;
  const struct tensor *tensor = source->part[part];
  bool changed = source->weight->part[part].add != 0 || source->weight->order != ORDER_AS_IS ||
                 weight_transform_acts(source->transform);
  int row = weight_source_file_row(source, part, tensor_row);
  if (!changed && row_copy(reader, tensor, row, at)) return true;
  const float *metric = source->transform ? source->transform->metric : NULL;
  reader_row(reader, part, tensor_row, reader->floats);
  return (weight_source_transform(source, index, part, tensor_row, reader->floats, error) &&
          quantize_row(reader->floats, metric, &reader->rows, at, error)) ||
         weight_source_refuse(source, part, tensor_row, error);
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

bool weight_reader_matrix(struct weight_reader *reader, int expert, float *out, struct error *error) {
  int rows = reader->source.weight->rows;
  size_t cols = (size_t)reader->source.weight->cols;
  for (int first = 0; first < rows; first += reader->rows.capacity) {
    int count = rows - first < reader->rows.capacity ? rows - first : reader->rows.capacity;
    if (!weight_reader_read(reader, expert * rows + first, count, error)) return false;
    memcpy(out + (size_t)first * cols, reader->rows.dense, (size_t)count * cols * sizeof *out);
  }
  return true;
}
