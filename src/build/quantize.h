/* Quantizers: a row of floats into a scheme. Integers round to nearest, with the range of each group clipped to where
 * the squared error is least; values are those of the stored (16-bit) scale and minimum. */
#ifndef SPATE_BUILD_QUANTIZE_H
#define SPATE_BUILD_QUANTIZE_H

#include "build/code_rows.h"

/* What INT8_WEIGHT and INT4_WEIGHT store: groups of 32 with fp16 scales; 8 bits around zero, 4 bits above a minimum. */
struct scheme quantize_scheme(int bits);

/* Fills row `at` of `out` from its cols floats. Refuses numbers that the scheme cannot hold: the sentence starts in the
 * middle, for the caller to name the weight. With a metric, the range of an integer group (not of a whole row) is
 * clipped to where the error of the products with the inputs is least: [groups][group][group], the sums over inputs of
 * their products with each other (XᵀX) within a group of columns. NULL: where the sum of squares is. */
bool quantize_row(const float *row, const float *metric, struct code_rows *out, int at, struct error *error);

/* value ≈ scale × code + min, code from 0 to top. A scheme without a minimum has min = −scale × middle code. */
struct affine {
  float scale, min, top;
};

/* The scale and minimum that quantize_row gives `count` numbers of a group; not finite when they are too large or no
 * numbers. `metric` is the group's, `group` numbers a row, or NULL. */
struct affine affine_fit(const struct scheme *scheme, const float *x, int count, const float *metric);

/* The code whose value is nearest to x: a whole number in [0, top]. */
float affine_code(const struct affine *affine, float x);

/* Rounds a row of inputs as the scheme's linears do before they multiply; nothing where they multiply floats. */
void activation_round(const struct scheme *scheme, float *row, int cols);

#endif
