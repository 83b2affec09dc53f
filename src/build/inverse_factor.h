/* The triangular factor of an inverse: what error compensation reads its steps from. */
#ifndef SPATE_BUILD_INVERSE_FACTOR_H
#define SPATE_BUILD_INVERSE_FACTOR_H

#include <stdbool.h>
#include <stddef.h>

enum { FACTOR_ALIGN = 16 };

/* Floats of a row of an n × n matrix here; those past n are zeros. */
static inline size_t factor_stride(int n) { return ((size_t)n + FACTOR_ALIGN - 1) / FACTOR_ALIGN * FACTOR_ALIGN; }

/* `upper` (zeros before) becomes the upper triangular U with UᵀU = H⁻¹, of a symmetric positive definite H whose upper
 * half is overwritten. Both [n][factor_stride(n)]. False when H is not positive definite. The result does not depend on
 * the number of threads. */
bool inverse_factor(float *h, int n, float *upper, int n_thread);

#endif
