/* Memory of an adapter's arrays, tensors as floats, and rows that go to the places that the engine's matrix has for
 * them. Internal to adapter_fill.c. */
#ifndef SPATE_ENGINE_ADAPTER_PLACE_H
#define SPATE_ENGINE_ADAPTER_PLACE_H

#include "engine/adapter_fill.h"

/* An op's matrix, with what was folded into it. */
struct base_matrix {
  const struct weight *weight;
  struct weight_fold fold;
};

/* Zeros that live as long as the adapter; each: bytes of a number. */
void *adapter_numbers_new(struct adapter_maker *maker, size_t rows, size_t cols, size_t each, struct error *error);
float *adapter_floats_new(struct adapter_maker *maker, size_t rows, size_t cols, struct error *error);

/* Zeros for a while; the caller frees them. */
float *adapter_floats_borrow(size_t rows, size_t cols, struct error *error);

/* All elements, in the file's order; refuses numbers that are not finite. */
bool adapter_tensor_floats(const struct tensor *tensor, float *out, struct error *error);

/* The same in memory of its own; the caller frees it. */
float *adapter_tensor_copy(const struct tensor *tensor, struct error *error);

/* Are numbers up to a peak finite times α ÷ r? */
bool adapter_scaled_fits(double scale, float peak);
bool adapter_scaled_check(const struct tensor *tensor, double scale, float peak, struct error *error);

/* The row of the module's tensor that stands in the matrix's row. */
size_t adapter_base_row(const struct base_matrix *base, int part, const struct adapter_module *module, int row);

/* Rows of a module's [rows][width] to the weight's rows in out[][stride], times `scale` and their folds, added to what
 * is there. They must be finite, and times `further` too. */
bool adapter_rows_place(const struct base_matrix *base, int part, const struct adapter_module *module,
                        const struct tensor *tensor, double scale, double further, float *out, int stride,
                        struct error *error);

#endif
