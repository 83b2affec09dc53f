/* By the ends of names. */
#include "model/tensor_factors.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = LIMIT_TENSOR_NAME_BYTES + 8 };

/* X.weight of type NVFP4, by a name that ends like X.scale; NULL: there is none. */
static const struct tensor *matrix_of(const struct tensor_table *table, const struct tensor *tensor,
                                      const char *ending) {
  char name[NAME_BYTES];
  size_t size = strlen(tensor->name), tail = strlen(ending);
  if (size <= tail || strcmp(tensor->name + size - tail, ending) != 0) return NULL;
  snprintf(name, sizeof name, "%.*s.weight", (int)(size - tail), tensor->name);
  const struct tensor *matrix = tensor_find(table, name);
  return matrix && matrix->type == TENSOR_NVFP4 ? matrix : NULL;
}

static bool factor_check(const struct tensor *factor, const struct tensor *matrix, struct error *error) {
  char shape[TENSOR_SHAPE_TEXT];
  if (factor->type == TENSOR_F32 && factor->count == 1) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "Tensor %.150s is of type %s and shape %s, expected one F32 number for all of %.150s.", factor->name,
                   tensor_type_name(factor->type), tensor_shape_text(factor, shape), matrix->name);
}

/* The scale of a matrix; NULL: it has none. */
static const struct tensor *factor_of(const struct tensor_table *table, const struct tensor *matrix) {
  char name[NAME_BYTES];
  size_t size = strlen(matrix->name), tail = strlen(".weight");
  if (matrix->type != TENSOR_NVFP4 || size <= tail || strcmp(matrix->name + size - tail, ".weight") != 0) return NULL;
  snprintf(name, sizeof name, "%.*s.scale", (int)(size - tail), matrix->name);
  return tensor_find(table, name);
}

bool tensor_factors_open(struct packed_tensors *out, const struct tensor_table *in, struct error *error) {
  struct tensor_table *table = &out->table;
  arena_init(&out->arena, LIMIT_MODEL_HEADER_MEMORY);
  *table = (struct tensor_table){.tensors = arena_array(&out->arena, (size_t)in->n_tensor + 1, sizeof *table->tensors)};
  if (!table->tensors) return error_set(error, ERROR_MEMORY, "There is no memory for a list of tensors.");
  for (int i = 0; i < in->n_tensor; i++) {
    const struct tensor *tensor = &in->tensors[i], *matrix = matrix_of(in, tensor, ".scale");
    if (matrix && !factor_check(tensor, matrix, error)) return false;
    if (matrix || matrix_of(in, tensor, ".input_scale")) continue;
    table->tensors[table->n_tensor] = *tensor;
    table->tensors[table->n_tensor++].factor = factor_of(in, tensor);
  }
  return table->n_tensor == in->n_tensor || tensor_table_index(table, &out->arena, error);
}
