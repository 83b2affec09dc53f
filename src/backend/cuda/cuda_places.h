/* Where a step's tokens are to rotations of several axes and to local attention; of both sides, as cuda_kernels.h. */
#ifndef SPATE_BACKEND_CUDA_PLACES_H
#define SPATE_BACKEND_CUDA_PLACES_H

#include <stdint.h>

/* What turns a frequency: one of a token's three places, or its index in the sequence. */
enum { AXIS_INDEX = 3 };

/* Of the tokens of a step beside its batch, with whose size kernels of attention lose registers. NULL: the plan has no
 * op that asks. */
struct cuda_places {
  const int32_t *place; /* [n_token][3] relative to the row's length, of each axis of a rotation */
  const int32_t *span;  /* [n_token][2] first and last token of its row that each sees locally */
};

#endif
