/* Quantizers: a row of floats into a scheme. Integers round to nearest, with the range of each group clipped to where
 * the squared error is least; values are those of the stored (16-bit) scale and minimum. */
#ifndef SPATE_BUILD_QUANTIZE_H
#define SPATE_BUILD_QUANTIZE_H

#include "build/code_rows.h"

/* What INT8_WEIGHT and INT4_WEIGHT store: groups of 32 with fp16 scales; 8 bits around zero, 4 bits above a minimum. */
struct scheme quantize_scheme(int bits);

/* Fills row `at` of `out` from its cols floats. Refuses numbers that the scheme cannot hold: the sentence starts in the
 * middle, for the caller to name the weight. */
bool quantize_row(const float *row, struct code_rows *out, int at, struct error *error);

#endif
