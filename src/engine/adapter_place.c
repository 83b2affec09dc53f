/* Compiled for speed, as adapter_factor.c is. */
#include "engine/adapter_place.h"

#include "base/limits.h"
#include "engine/adapter_factor.h"
#include "format/ggml_dequant.h"

#include <math.h>
#include <stdlib.h>

/* --- memory ------------------------------------------------------------------------------------------------------- */

bool adapter_no_memory(struct error *error) {
  return error_set(error, ERROR_MEMORY, "There is no memory for the adapter, or it takes more than %d MiB.",
                   LIMIT_ADAPTER_MEBIBYTES);
}

void *adapter_numbers_new(struct adapter_maker *maker, size_t rows, size_t cols, size_t each, struct error *error) {
  size_t count;
  bool fits = !__builtin_mul_overflow(rows, cols, &count);
  void *numbers = fits ? arena_array(&maker->arena, count, each) : NULL;
  if (numbers)
    maker->bytes += count * each;
  else
    adapter_no_memory(error);
  return numbers;
}

float *adapter_floats_new(struct adapter_maker *maker, size_t rows, size_t cols, struct error *error) {
  return adapter_numbers_new(maker, rows, cols, sizeof(float), error);
}

float *adapter_floats_borrow(size_t rows, size_t cols, struct error *error) {
  size_t count;
  bool fits = !__builtin_mul_overflow(rows, cols, &count) && count <= ((size_t)LIMIT_ADAPTER_MEBIBYTES << 20) / 4;
  float *floats = fits ? calloc(count ? count : 1, sizeof *floats) : NULL;
  if (!floats) adapter_no_memory(error);
  return floats;
}

/* --- one tensor --------------------------------------------------------------------------------------------------- */

bool adapter_tensor_floats(const struct tensor *tensor, float *out, struct error *error) {
  if (!tensor_check_loads(tensor, error)) return false;
  tensor_dequantize(tensor->type, tensor->data.data, tensor->count, out);
  if (isfinite(factor_peak((struct factor){.numbers = out}, tensor->count))) return true;
  size_t i = 0;
  while (isfinite(out[i])) i++;
  return error_set(error, ERROR_FORMAT, "Element %zu of \"%s\" is no finite number.", i, tensor->name);
}

float *adapter_tensor_copy(const struct tensor *tensor, struct error *error) {
  float *floats = malloc((tensor->count ? tensor->count : 1) * sizeof *floats);
  if (!floats) {
    adapter_no_memory(error);
    return NULL;
  }
  if (adapter_tensor_floats(tensor, floats, error)) return floats;
  free(floats);
  return NULL;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

bool adapter_scaled_fits(double scale, float peak) { return isfinite((float)scale) && isfinite((float)(scale * peak)); }

/* Factors that are finite may be none times a great α. */
bool adapter_scaled_check(const struct tensor *tensor, double scale, float peak, struct error *error) {
  return adapter_scaled_fits(scale, peak) ||
         error_set(error, ERROR_FORMAT, "\"%s\" times alpha ÷ rank has numbers that are not finite.", tensor->name);
}

size_t adapter_base_row(const struct base_matrix *base, int part, const struct adapter_module *module, int row) {
  return (size_t)adapter_module_row(module, weight_fold_row(&base->fold, base->weight, part, row));
}

/* The greatest of [rows][stride] in a part's rows. */
static float part_peak(const struct weight *weight, int part, const float *out, int stride) {
  float peak = 0;
  for (int i = 0, of, row; i < weight->rows; i++) {
    if (!weight_row_source(weight, i, &of, &row) || of != part) continue;
    float own = factor_peak((struct factor){.numbers = out + (size_t)i * (size_t)stride}, (size_t)stride);
    if (!isfinite(own)) return own;
    if (own > peak) peak = own;
  }
  return peak;
}

bool adapter_rows_place(const struct base_matrix *base, int part, const struct adapter_module *module,
                        const struct tensor *tensor, double scale, double further, float *out, int stride,
                        struct error *error) {
  const struct weight *weight = base->weight;
  float *floats = adapter_tensor_copy(tensor, error);
  int width = tensor->n_dim == 2 ? (int)tensor->dim[1] : 1;
  for (int i = 0, of, row; floats && i < weight->rows; i++) {
    if (!weight_row_source(weight, i, &of, &row) || of != part) continue;
    const float *from = floats + adapter_base_row(base, part, module, row) * (size_t)width;
    float *to = out + (size_t)i * (size_t)stride;
    double factor = scale * (double)weight_fold_factor(&base->fold, weight, part, row);
    for (int k = 0; k < width; k++) to[k] += (float)(factor * from[k]);
  }
  free(floats);
  float all = factor_peak((struct factor){.numbers = out}, (size_t)weight->rows * (size_t)stride);
  return floats && (adapter_scaled_fits(further, all) ||
                    adapter_scaled_check(tensor, further, part_peak(weight, part, out, stride), error));
}
