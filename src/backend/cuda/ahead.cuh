/* What a later kernel reads from device memory first, brought into the second-level cache by one that has nothing to
 * read itself for a while. */
#ifndef SPATE_BACKEND_CUDA_AHEAD_CUH
#define SPATE_BACKEND_CUDA_AHEAD_CUH

#include "backend/cuda/cuda_kernels.h"

/* A thread of each block: the block's share. Weights alone, which nobody writes: nothing is waited for. */
static __device__ __forceinline__ void ahead_bring(const struct cuda_ahead &ahead) {
  const uint64_t step = 16 * 1024;
  for (uint64_t at = blockIdx.x * step; at < ahead.bytes; at += gridDim.x * step) {
    uint32_t bytes = (uint32_t)min(step, ahead.bytes - at);
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"((const uint8_t *)ahead.from + at), "r"(bytes));
  }
}

#endif
