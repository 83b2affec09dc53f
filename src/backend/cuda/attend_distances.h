/* Attention of encoders of texts whose scores gain by how far two tokens are apart (LEAN_DISTANCES of plan/op.h). Its
 * numbers come beside the arguments of all attention, whose kernels lose registers with their size. */
#ifndef SPATE_BACKEND_CUDA_ATTEND_DISTANCES_H
#define SPATE_BACKEND_CUDA_ATTEND_DISTANCES_H

#include "backend/cuda/row_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* gain[head × each + key − query] for distances of ± most. */
struct cuda_distances {
  const float *gain; /* NULL: scores gain nothing */
  int32_t each, most;
};

/* cuda_attend_plain and cuda_image_attend with them. The former for tokens [first, first + n): keys and values of all
 * are stored with the first of them. */
void cuda_attend_plain_apart(const struct cuda_attend *attend, const struct cuda_attend_beside *beside,
                             const struct cuda_distances *distances, const struct cuda_batch *batch, int first, int n,
                             cuda_stream stream);
void cuda_image_attend_apart(const struct cuda_attend *attend, const struct cuda_distances *distances,
                             const struct cuda_batch *batch, cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
