/* What a calibrated method does to a weight's numbers before they are rounded, and how it wants the rounding to be
 * judged. All arrays belong to the calibration. */
#ifndef SPATE_BUILD_WEIGHT_TRANSFORM_H
#define SPATE_BUILD_WEIGHT_TRANSFORM_H

#include "plan/plan.h"

struct weight_transform {
  const float *column;          /* [cols] multiply the columns; NULL: 1 */
  const float *row[PLAN_PARTS]; /* [rows of the part] multiply its rows, of a vector its elements; NULL: 1 */
  const float *metric;          /* of quantize_row; NULL: none */
};

/* Whether the numbers are others than the file's, or not rounded as quantize_row does by itself. */
static inline bool weight_transform_acts(const struct weight_transform *t) {
  if (!t) return false;
  for (int i = 0; i < PLAN_PARTS; i++)
    if (t->row[i]) return true;
  return t->column || t->metric;
}

#endif
