/* Factors in as few bits as keep them: those of the file where it has 16, floats in 16 bits where all of them are exact
 * there. Beside a matrix whose numbers were themselves rounded to codes, of 8 bits or fewer, floats are rounded to F16
 * times a power of two (docs/lora.md tells what that loses); otherwise they stay floats. Internal to adapter_fill.c. */
#ifndef SPATE_ENGINE_ADAPTER_FACTOR_H
#define SPATE_ENGINE_ADAPTER_FACTOR_H

#include "format/tensor.h"
#include "plan/adapter.h"

/* The type that a factor of these tensors (NULL: none) is copied in as it is; false: it has to be converted. coded: the
 * matrix's numbers are codes. */
bool factor_type_of(const struct tensor *const *tensors, int n, bool coded, uint8_t *type);

/* Copies numbers from a file, which may lie anywhere, and gives the greatest magnitude; where one of them is no finite
 * number, none. */
float factor_copy(const uint8_t *from, size_t count, uint8_t type, void *to);

/* The greatest magnitude, or no finite number. */
float factor_peak(struct factor factor, size_t count);

/* The type that finite floats are to be kept in, as multiples of 2^*exponent. */
uint8_t factor_type_choose(const float *floats, size_t count, bool coded, int *exponent);
void factor_fill(const float *floats, size_t count, uint8_t type, int exponent, void *numbers);

#endif
