/* Reading packed codes, and what is checked before any is read. */
#include "format/packed_blocks.h"

#include "base/half.h"
#include "format/ggml_codes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WORD_BITS = 32, E4M3_BITS = 8 };

static uint32_t load_word(const struct tensor *tensor, size_t index) {
  uint32_t word;
  memcpy(&word, tensor->data.data + index * sizeof word, sizeof word);
  return word;
}

static int word_field(uint32_t word, int bits, int index) { return (int)(word >> (index * bits) & ((1u << bits) - 1)); }

static float load_float(const struct tensor *tensor, size_t index) {
  uint16_t half;
  if (tensor->type == TENSOR_U8 || tensor->type == TENSOR_F8_E8M0) return e8m0_to_float(tensor->data.data[index]);
  if (tensor->type == TENSOR_F32) return float_from_bits(load_word(tensor, index));
  memcpy(&half, tensor->data.data + index * sizeof half, sizeof half);
  return tensor->type == TENSOR_F16 ? half_to_float(half) : bfloat_to_float(half);
}

static int ceil_div(int count, int unit) { return (count - 1) / unit + 1; }

/* --- codes -------------------------------------------------------------------------------------------------------- */

/* Where in its word AWQ has row r of eight. */
static const uint8_t awq_place[8] = {0, 4, 1, 5, 2, 6, 3, 7};

static void codes_awq(const struct packed_matrix *m, int row, uint8_t *code) {
  const struct tensor *codes = m->parts.codes;
  size_t stride = (size_t)m->whole / 8;
  for (int col = 0; col < m->cols; col++)
    code[col] = (uint8_t)word_field(load_word(codes, (size_t)col * stride + (size_t)row / 8), 4, awq_place[row % 8]);
}

static void codes_words(const struct packed_matrix *m, size_t first, size_t stride, uint8_t *code) {
  int bits = m->spec.bits, per_word = WORD_BITS / bits;
  for (int col = 0; col < m->cols; first += stride) {
    uint32_t word = load_word(m->parts.codes, first);
    for (int i = 0; i < per_word && col < m->cols; i++) code[col++] = (uint8_t)word_field(word, bits, i);
  }
}

static void codes_read(const struct packed_matrix *m, int row, uint8_t *code) {
  size_t cols = (size_t)m->cols, first = (size_t)row * cols; /* where codes are bytes */
  const uint8_t *bytes = m->parts.codes->data.data;
  switch (m->spec.layout) {
  case PACKED_AWQ: codes_awq(m, row, code); break;
  case PACKED_GPTQ: codes_words(m, (size_t)row, (size_t)m->whole, code); break;
  case PACKED_ROWS: {
    size_t words = (size_t)ceil_div(m->cols, WORD_BITS / m->spec.bits);
    codes_words(m, (size_t)row * words, 1, code);
    break;
  }
  case PACKED_INT8:
    for (size_t i = 0; i < cols; i++) code[i] = bytes[first + i] ^ 0x80; /* + 128 */
    break;
  case PACKED_E2M1:
    for (size_t i = 0; i < cols; i++) code[i] = bytes[(first + i) / 2] >> (i % 2 ? 4 : 0) & 15;
    break;
  default: memcpy(code, bytes + first, cols);
  }
}

/* --- scales and zero points --------------------------------------------------------------------------------------- */

static bool groups_first(const struct packed_matrix *m) {
  return m->spec.layout == PACKED_AWQ || m->spec.layout == PACKED_GPTQ;
}

static size_t scale_index(const struct packed_matrix *m, int row, int group) {
  if (groups_first(m)) return (size_t)group * (size_t)m->whole + (size_t)row;
  size_t scale_row = m->spec.scale_rows ? (size_t)(row / m->spec.scale_rows) : 0;
  return scale_row * (size_t)m->n_group + (size_t)group;
}

/* Zeros are packed along the rows. What the first version of GPTQ subtracts it subtracts from whole words: a zero point
 * of 0 borrows from its neighbour, and adding to the whole word gives that back. */
static int zero_read(const struct packed_matrix *m, int row, int group) {
  int bits = m->spec.bits, per_word = WORD_BITS / bits;
  const struct tensor *zero = m->parts.zero;
  if (!zero) return 1 << (bits - 1);
  if (zero->type == TENSOR_I8) return (int8_t)zero->data.data[scale_index(m, row, group)] + (1 << (bits - 1));
  size_t words = (size_t)ceil_div(m->whole, per_word), at = (size_t)(row / per_word);
  uint32_t word =
      load_word(zero, groups_first(m) ? (size_t)group * words + at : at * (size_t)m->n_group + (size_t)group);
  int place = m->spec.layout == PACKED_AWQ ? awq_place[row % 8] : row % per_word;
  return word_field(word + m->spec.zero_add, bits, place);
}

void packed_row_read(const struct packed_matrix *matrix, int row, const struct packed_row *out) {
  row += matrix->first;
  codes_read(matrix, row, out->code);
  for (int group = 0; group < matrix->n_group; group++) {
    out->scale[group] = load_float(matrix->parts.scale, scale_index(matrix, row, group));
    out->zero[group] = matrix->form.is_float || matrix->form.is_e2m1 ? 0 : zero_read(matrix, row, group);
  }
}

int packed_group(const struct packed_matrix *matrix, int col) {
  if (matrix->form.scattered) { /* the file may be another by now than when its numbers were checked */
    uint32_t group = load_word(matrix->parts.index, (size_t)col);
    return group < (uint32_t)matrix->n_group ? (int)group : 0;
  }
  return matrix->spec.group ? col / matrix->spec.group : 0;
}

float packed_value(const struct packed_matrix *matrix, const struct packed_row *row, int col) {
  int group = packed_group(matrix, col), code = row->code[col];
  if (matrix->form.is_float) return row->scale[group] * e4m3_to_float((uint8_t)code);
  if (matrix->form.is_e2m1) return row->scale[group] / 2 * (float)ggml_codebook(GGML_CODEBOOK_E2M1)[code]; /* twice */
  return row->scale[group] * (float)(code - row->zero[group]);
}

/* --- checks ------------------------------------------------------------------------------------------------------- */

bool packed_type_check(const struct tensor *tensor, enum tensor_type wanted, struct error *error) {
  if (tensor->type == wanted) return true;
  return error_set(error, ERROR_UNSUPPORTED, "Tensor %s is of type %s, expected %s.", tensor->name,
                   tensor_type_name(tensor->type), tensor_type_name(wanted));
}

static bool shape_check(const struct tensor *tensor, int rows, int cols, struct error *error) {
  char shape[TENSOR_SHAPE_TEXT];
  if (tensor->n_dim == 2 && tensor->dim[0] == rows && tensor->dim[1] == cols) return true;
  if (cols == 1 && tensor->n_dim < 2 && tensor->count == (size_t)rows) return true; /* [rows], and one for all */
  return error_set(error, ERROR_FORMAT, "Tensor %s has shape %s, expected [%d, %d] from the codes beside it.",
                   tensor->name, tensor_shape_text(tensor, shape), rows, cols);
}

/* The rows and columns that a tensor states, which its codes must fill: only words can have columns to spare. */
static bool stated_shape(struct packed_matrix *m, struct error *error) {
  const struct tensor *shape = m->parts.shape;
  if (!shape) return true;
  bool wide = shape->type == TENSOR_I64;
  if (shape->type != TENSOR_I32 && !packed_type_check(shape, TENSOR_I64, error)) return false;
  if (shape->count == 2) {
    int64_t value[2];
    memcpy(value, shape->data.data, wide ? sizeof value : 0);
    for (int i = 0; i < 2 && !wide; i++) value[i] = (int32_t)load_word(shape, (size_t)i);
    int per_word = m->spec.layout == PACKED_ROWS ? WORD_BITS / m->spec.bits : 1;
    if (value[0] == m->rows && value[1] <= m->cols && value[1] > m->cols - per_word) {
      m->cols = (int)value[1];
      return true;
    }
  }
  char text[TENSOR_SHAPE_TEXT];
  return error_set(error, ERROR_FORMAT, "Tensor %s does not state the shape of %s, whose words are %s.", shape->name,
                   m->parts.codes->name, tensor_shape_text(m->parts.codes, text));
}

static bool codes_check(struct packed_matrix *m, struct error *error) {
  static const enum tensor_type type[PACKED_LAYOUTS] = {[PACKED_AWQ] = TENSOR_I32,
                                                        [PACKED_GPTQ] = TENSOR_I32,
                                                        [PACKED_ROWS] = TENSOR_I32,
                                                        [PACKED_INT8] = TENSOR_I8,
                                                        [PACKED_E4M3] = TENSOR_F8_E4M3};
  const struct tensor *codes = m->parts.codes;
  char shape[TENSOR_SHAPE_TEXT];
  if (m->spec.layout == PACKED_E2M1) return packed_blocks_check(m, error);
  enum tensor_type wanted = type[m->spec.layout];
  if (!packed_type_check(codes, wanted, error)) return false;
  int packed = m->spec.layout == PACKED_GPTQ ? 0 : 1; /* the dimension that words run along */
  bool fits = codes->n_dim == 2;
  int64_t dim[2] = {0};
  for (int i = 0; fits && i < 2; i++) {
    int64_t per_word = i == packed && wanted == TENSOR_I32 ? WORD_BITS / m->spec.bits : 1;
    fits = codes->dim[i] > 0 && codes->dim[i] <= LIMIT_MODEL_WIDTH / per_word;
    if (fits) dim[i] = codes->dim[i] * per_word;
  }
  if (!fits)
    return error_set(error, ERROR_FORMAT, "Tensor %s has shape %s, expected two dimensions of a matrix of at most %d.",
                     codes->name, tensor_shape_text(codes, shape), LIMIT_MODEL_WIDTH);
  m->rows = (int)dim[groups_first(m)];
  m->cols = (int)dim[!groups_first(m)];
  return stated_shape(m, error);
}

static bool scales_check(const struct packed_matrix *m, struct error *error) {
  const struct tensor *scale = m->parts.scale;
  if (!scale)
    return error_set(error, ERROR_FORMAT, "The scales that belong to tensor %s are missing.", m->parts.codes->name);
  if (m->spec.layout == PACKED_E2M1) return packed_block_scales_check(m, error);
  if (scale->type != TENSOR_F16 && scale->type != TENSOR_BF16 && scale->type != TENSOR_F32)
    return error_set(error, ERROR_UNSUPPORTED, "Tensor %s is of type %s, expected F16, BF16 or F32.", scale->name,
                     tensor_type_name(scale->type));
  int scale_rows = m->spec.scale_rows ? ceil_div(m->rows, m->spec.scale_rows) : 1;
  return groups_first(m) ? shape_check(scale, m->n_group, m->rows, error)
                         : shape_check(scale, scale_rows, m->n_group, error);
}

static bool zeros_check(const struct packed_matrix *m, struct error *error) {
  const struct tensor *zero = m->parts.zero;
  if (!zero && m->spec.needs_zero)
    return error_set(error, ERROR_FORMAT, "The zero points that belong to tensor %s are missing.",
                     m->parts.codes->name);
  if (!zero || m->spec.layout == PACKED_E4M3 || m->spec.layout == PACKED_E2M1) return true;
  int words = ceil_div(m->rows, WORD_BITS / m->spec.bits);
  if (groups_first(m)) return packed_type_check(zero, TENSOR_I32, error) && shape_check(zero, m->n_group, words, error);
  if (zero->type != TENSOR_I8 && !packed_type_check(zero, TENSOR_I32, error)) return false;
  int scale_rows = m->spec.scale_rows ? ceil_div(m->rows, m->spec.scale_rows) : 1;
  return shape_check(zero, zero->type == TENSOR_I8 ? scale_rows : words, m->n_group, error);
}

/* Group numbers in range; *scattered tells whether they are others than those of columns side by side. A first number
 * of −1 means that they were never set. */
static bool index_check(const struct packed_matrix *m, bool *scattered, struct error *error) {
  const struct tensor *index = m->parts.index;
  *scattered = false;
  if (!index && m->spec.needs_index)
    return error_set(error, ERROR_FORMAT,
                     "The group numbers (g_idx) that belong to tensor %s are missing, and its groups' columns lie "
                     "apart.",
                     m->parts.codes->name);
  if (!index) return true;
  if (!packed_type_check(index, TENSOR_I32, error) || !shape_check(index, m->cols, 1, error)) return false;
  if ((int32_t)load_word(index, 0) == -1 && !m->spec.needs_index) return true;
  for (int col = 0; col < m->cols; col++) {
    int32_t group = (int32_t)load_word(index, (size_t)col);
    if (group < 0 || group >= m->n_group)
      return error_set(error, ERROR_FORMAT, "Tensor %s has group %" PRId32 " for column %d, expected 0 to %d.",
                       index->name, group, col, m->n_group - 1);
    *scattered = *scattered || group != (m->spec.group ? col / m->spec.group : 0);
  }
  return true;
}

static bool zeros_vary(const struct packed_matrix *m) {
  if (!m->parts.zero || m->spec.layout == PACKED_E4M3 || m->spec.layout == PACKED_E2M1) return false;
  for (int group = 0; group < m->n_group; group++)
    for (int row = 0; row < m->rows; row++)
      if (zero_read(m, row, group) != 1 << (m->spec.bits - 1)) return true;
  return false;
}

bool packed_matrix_init(struct packed_matrix *matrix, const struct packed_spec *spec, const struct packed_parts *parts,
                        struct error *error) {
  struct packed_matrix *m = matrix;
  bool scattered;
  *m = (struct packed_matrix){.spec = *spec, .parts = *parts};
  if (!codes_check(m, error)) return false;
  m->whole = m->rows;
  if (m->spec.group >= m->cols) m->spec.group = 0;
  m->n_group = m->spec.group ? ceil_div(m->cols, m->spec.group) : 1;
  if (!scales_check(m, error) || !zeros_check(m, error) || !index_check(m, &scattered, error)) return false;
  m->form = (struct packed_form){.is_float = spec->layout == PACKED_E4M3,
                                 .is_e2m1 = spec->layout == PACKED_E2M1,
                                 .bits = (uint8_t)spec->bits,
                                 .has_zero = zeros_vary(m),
                                 .scattered = scattered,
                                 .scale_type = (uint8_t)parts->scale->type,
                                 .group = m->spec.group,
                                 .scale_rows = m->spec.scale_rows};
  return true;
}

const char *packed_matrix_name(const struct packed_matrix *matrix, char out[48]) {
  static const char *const layout[PACKED_LAYOUTS] = {"AWQ", "GPTQ", "packed", "plain", "E4M3", "MXFP4"};
  const struct packed_form *f = &matrix->form;
  int used = snprintf(out, 48, "%s", layout[matrix->spec.layout]);
  if (f->is_e2m1) return out;
  if (!f->is_float) used += snprintf(out + used, 48 - (size_t)used, " int%d", f->bits);
  if (f->group) used += snprintf(out + used, 48 - (size_t)used, " g%d", f->group);
  if (f->scale_rows > 1) used += snprintf(out + used, 48 - (size_t)used, "x%d", f->scale_rows);
  snprintf(out + used, 48 - (size_t)used, "%s%s", f->has_zero ? " zero" : "", f->scattered ? " g_idx" : "");
  return out;
}
