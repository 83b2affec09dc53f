/* How each place of a resized row (or column) is made of the places of the one before: which, and by what weights. */
#ifndef SPATE_IMAGE_RESIZE_AXIS_H
#define SPATE_IMAGE_RESIZE_AXIS_H

#include "image/resize.h"

enum { AXIS_BITS = 22, AXIS_UNIT = 4 }; /* weights of a place are zeros up to a multiple of AXIS_UNIT */

struct resize_axis {
  int size, stride; /* places; weights from one place's to the next one's */
  int *first;       /* [size]: the first place that counts */
  int *count;       /* [size] */
  int32_t *weight;  /* [size × stride], of 2^AXIS_BITS together */
};

/* `filter` is not RESAMPLE_NEAREST. */
bool resize_axis_init(struct resize_axis *axis, enum resample filter, int from, int to, struct error *error);
void resize_axis_release(struct resize_axis *axis);

#endif
