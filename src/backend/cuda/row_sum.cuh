/* Sums and greatest over the threads of a block. */
#ifndef SPATE_BACKEND_CUDA_ROW_SUM_CUH
#define SPATE_BACKEND_CUDA_ROW_SUM_CUH

#include "backend/cuda/cuda_kernels.h"

/* Every thread gets it; whole warps, the same order each time. */
static __device__ float block_sum(float value) {
  __shared__ float part[32];
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  __syncthreads(); /* of an earlier sum */
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < (int)blockDim.x / 32; i++) sum += part[i];
  return sum;
}

/* The same of the greatest; not below 0. */
static __device__ __forceinline__ float block_most(float value) {
  __shared__ float part[32];
  for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, step));
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = value;
  __syncthreads();
  float most = 0;
  for (int i = 0; i < (int)blockDim.x / 32; i++) most = fmaxf(most, part[i]);
  return most;
}

#endif
