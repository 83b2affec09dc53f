/* Packed matrices to schemes, code by code. */
#include "build/packed_codes.h"

/* The widest run of columns that a scheme can give a scale and that no group's edge cuts; 0: there is none. */
static int scheme_group_within(const struct packed_form *form) {
  for (int group = 128; group >= 16; group /= 2)
    if (form->group == 0 || form->group % group == 0) return group;
  return 0;
}

static enum scale_kind scale_kind_of(const struct packed_form *form) {
  if (form->has_zero) return SCALE_F32; /* scale × zero point, the minimum, is wider than the scale */
  if (form->scale_type == TENSOR_F16) return SCALE_F16;
  return form->scale_type == TENSOR_BF16 ? SCALE_BF16 : SCALE_F32;
}

static struct scheme integer_scheme(const struct packed_form *form) {
  return (struct scheme){.kind = SCHEME_INT,
                         .bits = form->bits,
                         .scale = (uint8_t)scale_kind_of(form),
                         .has_min = form->has_zero,
                         .activation = ACTIVATION_INT8,
                         .group = (uint16_t)scheme_group_within(form)};
}

struct scheme packed_scheme(const struct packed_matrix *matrix, const int *order, const char **note) {
  const struct packed_form *form = &matrix->form;
  *note = matrix->spec.note;
  if (form->scattered && !order) {
    *note = "the columns of its groups lie apart (g_idx): multiplied out, as the format's own kernels do";
    return (struct scheme){.kind = form->scale_type == TENSOR_F16 ? SCHEME_F16 : SCHEME_F32};
  }
  if (form->is_e2m1)
    return (struct scheme){.kind = SCHEME_INT,
                           .bits = 4,
                           .scale = SCALE_BF16, /* holds all powers of two that E8M0 has, and halves of them */
                           .codebook = CODEBOOK_E2M1,
                           .activation = ACTIVATION_INT8,
                           .group = 32};
  if (form->is_float && (form->group == 0 || form->group % 128 == 0))
    return (struct scheme){.kind = SCHEME_F8, .group = form->group ? 128 : 0};
  if (!form->is_float && scheme_group_within(form)) return integer_scheme(form);
  *note = "no scheme holds groups of this size: multiplied out to F32";
  return (struct scheme){.kind = SCHEME_F32};
}

bool packed_scheme_holds(const struct scheme *scheme, const struct packed_matrix *matrix, const int *order) {
  const char *note;
  struct scheme own = packed_scheme(matrix, order, &note);
  if (own.kind == SCHEME_INT) own.activation = scheme->activation; /* the backend's choice */
  return !scheme_is_plain(&own) && memcmp(&own, scheme, sizeof own) == 0;
}

bool packed_buffer_init(struct packed_buffer *buffer, int cols, struct error *error) {
  *buffer = (struct packed_buffer){0};
  arena_init(&buffer->arena, SIZE_MAX);
  buffer->row = (struct packed_row){.code = arena_array(&buffer->arena, (size_t)cols, 1),
                                    .scale = arena_array(&buffer->arena, (size_t)cols, sizeof(float)),
                                    .zero = arena_array(&buffer->arena, (size_t)cols, sizeof(int))};
  if (buffer->row.code && buffer->row.scale && buffer->row.zero) return true;
  packed_buffer_release(buffer);
  return error_set(error, ERROR_MEMORY, "Out of memory for a row of %d columns.", cols);
}

void packed_buffer_release(struct packed_buffer *buffer) { arena_release(&buffer->arena); }

/* The column of the matrix that stands at a place. */
static int column_at(const int *order, int place) { return order ? order[place] : place; }

void packed_row_store(struct packed_buffer *buffer, const struct packed_matrix *matrix, const int *order, int row,
                      struct code_rows *out, int at) {
  packed_row_read(matrix, row, &buffer->row);
  uint8_t *code = out->code + (size_t)at * (size_t)out->cols;
  for (int i = 0; i < out->cols; i++) code[i] = buffer->row.code[column_at(order, i)];
  int groups = code_rows_groups(out);
  for (int g = 0; g < groups; g++) {
    int from = packed_group(matrix, column_at(order, g * out->scheme.group));
    float scale = buffer->row.scale[from];
    out->scale[at * groups + g] = matrix->form.is_e2m1 ? scale / 2 : scale; /* the codebook has twice E2M1's values */
    if (out->scheme.has_min) out->min[at * groups + g] = -scale * (float)buffer->row.zero[from];
  }
}

void packed_row_floats(struct packed_buffer *buffer, const struct packed_matrix *matrix, const int *order, int row,
                       float *out) {
  packed_row_read(matrix, row, &buffer->row);
  for (int i = 0; i < matrix->cols; i++) out[i] = packed_value(matrix, &buffer->row, column_at(order, i));
}
