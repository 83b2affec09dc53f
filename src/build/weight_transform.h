/* What a calibrated method, or an adapter that is merged, does to a weight's numbers before they are rounded, and how
 * it wants the rounding to be judged. All arrays belong to whoever made it. */
#ifndef SPATE_BUILD_WEIGHT_TRANSFORM_H
#define SPATE_BUILD_WEIGHT_TRANSFORM_H

#include "plan/adapter.h"

/* What an adapter adds to a weight (merge_adapter.h). */
struct weight_merge {
  const struct adapter_op *op;
  const struct adapter_op *
      *expert; /* [n_expert] of each, NULL of one that it leaves; NULL: the weight is no experts' */
  int n_expert;
  float scale;
  bool embeds; /* the op is an embedding */
};

struct weight_transform {
  const float *column;              /* [cols] multiply the columns; NULL: 1 */
  const float *row[PLAN_PARTS];     /* [rows of the part] multiply its rows, of a vector its elements; NULL: 1 */
  const float *metric;              /* of quantize_row; NULL: none */
  const struct weight_merge *merge; /* comes first; NULL: nothing is added */
};

/* Whether the numbers are others than the file's, or not rounded as quantize_row does by itself. */
static inline bool weight_transform_acts(const struct weight_transform *t) {
  if (!t) return false;
  for (int i = 0; i < PLAN_PARTS; i++)
    if (t->row[i]) return true;
  return t->column || t->metric || t->merge;
}

#endif
