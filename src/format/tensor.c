/* What both readers demand of tensors: names, sizes, an index by name, a layout without overlaps. */
#include "format/tensor.h"

#include "base/checked.h"
#include "base/utf8.h"
#include "format/packed_matrix.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool text_printable(struct slice text) {
  for (size_t i = 0; i < text.size; i++)
    if (text.data[i] < 0x20 || text.data[i] == 0x7f) return false;
  return utf8_valid(text);
}

const char *tensor_name_copy(struct slice name, const char *subject, struct arena *arena, struct error *error) {
  const char *copy = NULL;
  if (name.size == 0 || name.size > LIMIT_TENSOR_NAME_BYTES)
    error_set(error, ERROR_FORMAT, "The name of %s has %zu bytes; expected 1 to %d.", subject, name.size,
              LIMIT_TENSOR_NAME_BYTES);
  else if (!text_printable(name))
    error_set(error, ERROR_FORMAT, "The name of %s is not printable UTF-8.", subject);
  else if (!(copy = arena_text(arena, name)))
    error_set(error, ERROR_MEMORY, "There is no memory for the name of %s.", subject);
  return copy;
}

bool tensor_alike(const struct tensor *a, const struct tensor *b) {
  if (!a || !b) return a == b;
  if (!a->packed || !b->packed) return a->type == b->type && !a->factor == !b->factor;
  return memcmp(&a->packed->form, &b->packed->form, sizeof a->packed->form) == 0;
}

bool tensor_same(const struct tensor *a, const struct tensor *b) {
  bool plain = !a->packed && !b->packed && !a->factor && !b->factor;
  return plain && a->type == b->type && a->n_dim == b->n_dim &&
         memcmp(a->dim, b->dim, (size_t)a->n_dim * sizeof *a->dim) == 0 && slice_equal(a->data, b->data);
}

const char *tensor_storage(const struct tensor *tensor, char out[TENSOR_STORAGE_TEXT]) {
  if (tensor->packed) return packed_matrix_name(tensor->packed, out);
  snprintf(out, TENSOR_STORAGE_TEXT, "%s", tensor_type_name(tensor->type));
  return out;
}

const char *tensor_shape_text(const struct tensor *tensor, char out[TENSOR_SHAPE_TEXT]) {
  size_t size = 0;
  out[size++] = '[';
  for (int i = 0; i < tensor->n_dim; i++)
    size += (size_t)snprintf(out + size, TENSOR_SHAPE_TEXT - size, "%s%" PRId64, i ? ", " : "", tensor->dim[i]);
  snprintf(out + size, TENSOR_SHAPE_TEXT - size, "]");
  return out;
}

bool tensor_measure(struct tensor *tensor, size_t *bytes, struct error *error) {
  char shape[TENSOR_SHAPE_TEXT];
  tensor->count = 1;
  bool fits = true;
  for (int i = 0; i < tensor->n_dim; i++)
    fits = fits && size_mul(tensor->count, (size_t)tensor->dim[i], &tensor->count);
  const struct tensor_type_info *info = tensor_type_info(tensor->type);
  int64_t row = tensor->n_dim ? tensor->dim[tensor->n_dim - 1] : 1;
  if (fits && row % info->block != 0)
    return error_set(error, ERROR_FORMAT,
                     "Tensor \"%.200s\" has rows of %" PRId64 " elements; %s comes in blocks of %d.", tensor->name, row,
                     info->name, info->block);
  if (fits && tensor_type_bytes(tensor->type, tensor->count, bytes)) return true;
  return error_set(error, ERROR_FORMAT, "Tensor \"%.200s\" of shape %s has more bytes than can be addressed.",
                   tensor->name, tensor_shape_text(tensor, shape));
}

bool tensor_place(struct tensor *tensor, struct slice file, size_t data_start, size_t offset, size_t size,
                  struct error *error) {
  if (!size_add(data_start, offset, &tensor->at) || !range_within(tensor->at, size, file.size))
    return error_set(
        error, ERROR_FORMAT,
        "Tensor \"%.200s\" should be %zu bytes at offset %zu of the data, which begins at byte %zu, but the "
        "file ends at byte %zu: it is truncated or damaged; get it again.",
        tensor->name, size, offset, data_start, file.size);
  tensor->data = slice_make(file.data + tensor->at, size);
  return true;
}

static int compare_names(const void *a, const void *b) {
  const struct tensor *const *left = a, *const *right = b;
  return strcmp((*left)->name, (*right)->name);
}

bool tensor_table_index(struct tensor_table *table, struct arena *arena, struct error *error) {
  size_t n = (size_t)table->n_tensor;
  table->by_name = arena_array(arena, n, sizeof *table->by_name);
  if (!table->by_name) return error_set(error, ERROR_MEMORY, "There is no memory for an index of %zu tensors.", n);
  for (size_t i = 0; i < n; i++) table->by_name[i] = &table->tensors[i];
  qsort(table->by_name, n, sizeof *table->by_name, compare_names);
  for (size_t i = 1; i < n; i++) {
    const char *name = table->by_name[i]->name;
    if (strcmp(table->by_name[i - 1]->name, name) == 0)
      return error_set(error, ERROR_FORMAT, "Tensor \"%.200s\" is listed twice, as entries %td and %td.", name,
                       table->by_name[i - 1] - table->tensors, table->by_name[i] - table->tensors);
  }
  return true;
}

const struct tensor *tensor_find(const struct tensor_table *table, const char *name) {
  struct tensor wanted = {.name = name};
  const struct tensor *key = &wanted;
  const struct tensor **found =
      bsearch(&key, table->by_name, (size_t)table->n_tensor, sizeof *table->by_name, compare_names);
  return found ? *found : NULL;
}

static int compare_positions(const void *a, const void *b) {
  const struct tensor *left = *(const struct tensor *const *)a, *right = *(const struct tensor *const *)b;
  if (left->at != right->at) return left->at < right->at ? -1 : 1;
  if (left->data.size != right->data.size) return left->data.size < right->data.size ? -1 : 1; /* empty ones first */
  return strcmp(left->name, right->name);
}

/* Walks the tensors in the order of their bytes, each of which must begin at or (if gapless) exactly where the one
 * before it ended. */
static bool layout_walk(const struct tensor **sorted, size_t n, bool gapless, size_t first, struct error *error) {
  size_t end = first;
  const struct tensor *previous = NULL;
  for (size_t i = 0; i < n; i++) {
    const struct tensor *tensor = sorted[i];
    if (tensor->data.size == 0) continue;
    if (previous && tensor->at < end) /* the first is at `first` or behind it: tensor_place has added that */
      return error_set(error, ERROR_FORMAT,
                       "Tensors \"%.100s\" (bytes %zu to %zu) and \"%.100s\" (bytes %zu to %zu) overlap.",
                       previous->name, previous->at, end, tensor->name, tensor->at, tensor->at + tensor->data.size);
    if (gapless && tensor->at > end)
      return error_set(error, ERROR_FORMAT, "Bytes %zu to %zu, before tensor \"%.200s\", belong to no tensor.", end,
                       tensor->at, tensor->name);
    end = tensor->at + tensor->data.size;
    previous = tensor;
  }
  return true;
}

bool tensor_table_layout(const struct tensor_table *table, bool gapless, size_t first, struct error *error) {
  size_t n = (size_t)table->n_tensor;
  const struct tensor **sorted = calloc(n ? n : 1, sizeof *sorted);
  if (!sorted) return error_set(error, ERROR_MEMORY, "There is no memory to check the layout of %zu tensors.", n);
  for (size_t i = 0; i < n; i++) sorted[i] = &table->tensors[i];
  qsort(sorted, n, sizeof *sorted, compare_positions);
  bool fine = layout_walk(sorted, n, gapless, first, error);
  free(sorted);
  return fine;
}
