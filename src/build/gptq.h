/* GPTQ (Frantar et al., 2022): the columns of a matrix are rounded one after the other, and each one's error is made up
 * for by those that are still to come, as far as the inputs seen make them exchangeable. Columns with the largest
 * inputs come first; the scales of groups are fixed before, so the order leaves no trace in the result. */
#ifndef SPATE_BUILD_GPTQ_H
#define SPATE_BUILD_GPTQ_H

#include "build/code_rows.h"

/* What all matrices with the same inputs share. */
struct gptq {
  int cols, group;
  int *order;    /* [cols] columns, as they are rounded */
  float *upper;  /* [cols][factor_stride] in that order: UᵀU is the inverse of the damped sums */
  float *metric; /* of quantize.h, for the scales */
};

/* From the sums over inputs of their products with each other (XᵀX), [cols][cols]. The group is the
 * scheme's. */
bool gptq_init(struct gptq *gptq, const float *sums, int cols, int group, int n_thread, struct error *error);
void gptq_release(struct gptq *gptq);

/* The sums' blocks of each group, as quantize_row's metric: (cols + group) · group numbers. */
void gptq_metric(const float *sums, int cols, int group, float *metric);

/* Rounds `count` rows into out->scheme (integers with one level of scales), as its first rows; `rows` [count][cols]
 * become the values of their codes. `scratch` is gptq_scratch floats. */
bool gptq_round(const struct gptq *gptq, float *rows, int count, struct code_rows *out, float *scratch,
                struct error *error);
size_t gptq_scratch(int count, int cols);

#endif
