/* Attention of compute capability 7.5. */
#include "backend/cuda/cuda_paths.h"
#include "backend/cuda/portable/attend.cuh"

using portable::sm75;

int sm75_attend_blocks(int dim, uint8_t) {
#define BLOCKS(d) return portable::decode_blocks<sm75, d>()
  PORTABLE_BY_DIM(dim, BLOCKS)
}

void sm75_attend_decode(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
#define DECODE(d) portable::decode_launch<sm75, d>(*attend, *batch, stream)
  PORTABLE_BY_DIM(attend->dim_k, DECODE)
}

void sm75_attend_prefill(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
#define PREFILL(d) portable::prefill_launch<sm75, d>(*attend, *batch, stream)
  PORTABLE_BY_DIM(attend->dim_k, PREFILL)
}
