/* Attention of compute capability 8.0 and later. */
#include "backend/cuda/cuda_paths.h"
#include "backend/cuda/portable/attend.cuh"

using portable::sm80;
using portable::sm80_bf16;

int sm80_attend_blocks(int dim, uint8_t kv) {
#define BLOCKS(d) return kv == CACHE_BF16 ? portable::decode_blocks<sm80_bf16, d>() : portable::decode_blocks<sm80, d>()
  PORTABLE_BY_DIM(dim, BLOCKS)
}

void sm80_attend_decode(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
#define DECODE(d)      portable::decode_launch<sm80, d>(*attend, *batch, stream)
#define DECODE_BF16(d) portable::decode_launch<sm80_bf16, d>(*attend, *batch, stream)
  if (attend->kv == CACHE_BF16) {
    PORTABLE_BY_DIM(attend->dim_k, DECODE_BF16)
  } else {
    PORTABLE_BY_DIM(attend->dim_k, DECODE)
  }
}

void sm80_attend_prefill(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
#define PREFILL(d)      portable::prefill_launch<sm80, d>(*attend, *batch, stream)
#define PREFILL_BF16(d) portable::prefill_launch<sm80_bf16, d>(*attend, *batch, stream)
  if (attend->kv == CACHE_BF16) {
    PORTABLE_BY_DIM(attend->dim_k, PREFILL_BF16)
  } else {
    PORTABLE_BY_DIM(attend->dim_k, PREFILL)
  }
}
