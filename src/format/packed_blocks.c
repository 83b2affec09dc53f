/* MXFP4: the shapes of blocks and scales, and matrices one after the other, as experts are. */
#include "format/packed_blocks.h"

bool packed_blocks_check(struct packed_matrix *m, struct error *error) {
  enum { BLOCK_BYTES = 16, BLOCK_COLS = 2 * BLOCK_BYTES };
  const struct tensor *codes = m->parts.codes;
  char shape[TENSOR_SHAPE_TEXT];
  if (!packed_type_check(codes, TENSOR_U8, error)) return false;
  int n_dim = codes->n_dim;
  bool fits = (n_dim == 3 || n_dim == 4) && codes->dim[n_dim - 1] == BLOCK_BYTES;
  int64_t rows = 1;
  for (int i = 0; fits && i < n_dim - 1; i++) {
    fits = codes->dim[i] > 0 && codes->dim[i] <= LIMIT_MODEL_WIDTH / (i == n_dim - 2 ? BLOCK_COLS : 1);
    if (i < n_dim - 2) rows *= codes->dim[i];
  }
  if (!fits || rows > INT32_MAX)
    return error_set(error, ERROR_FORMAT,
                     "Tensor %s has shape %s, expected blocks of %d bytes in rows of at most %d columns.", codes->name,
                     tensor_shape_text(codes, shape), BLOCK_BYTES, LIMIT_MODEL_WIDTH);
  m->rows = (int)rows;
  m->cols = (int)codes->dim[n_dim - 2] * BLOCK_COLS;
  return true;
}

bool packed_block_scales_check(const struct packed_matrix *m, struct error *error) {
  const struct tensor *scale = m->parts.scale, *codes = m->parts.codes;
  char shape[TENSOR_SHAPE_TEXT], wanted[TENSOR_SHAPE_TEXT];
  if (scale->type != TENSOR_F8_E8M0 && !packed_type_check(scale, TENSOR_U8, error)) return false;
  bool fits = scale->n_dim == codes->n_dim - 1;
  for (int i = 0; fits && i < scale->n_dim; i++) fits = scale->dim[i] == codes->dim[i];
  if (fits) return true;
  return error_set(error, ERROR_FORMAT, "Tensor %s has shape %s, expected one for each block of %s, whose shape is %s.",
                   scale->name, tensor_shape_text(scale, shape), codes->name, tensor_shape_text(codes, wanted));
}

/* Its index-th n-th, which the first dimension's n-th is. */
static void tensor_cut(const struct tensor *all, int n, int index, struct tensor *out) {
  size_t bytes = all->data.size / (size_t)n;
  *out = *all;
  out->dim[0] /= n;
  out->count /= (size_t)n;
  out->data = slice_make(all->data.data + (size_t)index * bytes, bytes);
}

bool packed_matrix_divide(const struct packed_matrix *all, int n, int index, struct packed_division *out) {
  out->matrix = *all;
  if (!all->form.is_e2m1) {
    if (all->rows % n != 0) return false;
    out->matrix.rows /= n;
    out->matrix.first = index * out->matrix.rows;
    return true;
  }
  if (all->parts.codes->dim[0] % n != 0) return false;
  tensor_cut(all->parts.codes, n, index, &out->codes);
  tensor_cut(all->parts.scale, n, index, &out->scale);
  out->matrix.parts = (struct packed_parts){.codes = &out->codes, .scale = &out->scale};
  out->matrix.rows /= n;
  return true;
}
