/* What kernels of adapters have in common. */
#ifndef SPATE_BACKEND_CUDA_ADAPTER_LAUNCH_CUH
#define SPATE_BACKEND_CUDA_ADAPTER_LAUNCH_CUH

#include "backend/cuda/adapter_kernels.h"
#include "backend/cuda/instructions.cuh"
#include "backend/cuda/launch.cuh"

#include <cuda_bf16.h>

namespace {

/* plan/adapter.h */
__device__ constexpr double SQUARE_LEAST = 1e-30;

/* A kernel that calls dependencies_wait() first of all. */
template <typename A>
void adapter_launch(void (*kernel)(A), dim3 grid, int threads, int shared_bytes, bool early, cuda_stream stream,
                    const A &argument) {
  if (shared_bytes > 48 * 1024) shared_allow(kernel, shared_bytes);
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = early ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, argument);
}

__device__ __forceinline__ const struct cuda_adapter_site &site_of(const cuda_adapter_factors &f, int slot) {
  return f.site[(size_t)slot * f.n_op];
}

__device__ __forceinline__ int whole_rank(int rank) { return (rank + RANK_STRIP - 1) / RANK_STRIP * RANK_STRIP; }

__device__ __forceinline__ float factor_at(const float *from, size_t i) { return from[i]; }
__device__ __forceinline__ float factor_at(const __nv_bfloat16 *from, size_t i) { return __bfloat162float(from[i]); }

/* The part of the matrix that a row is of. */
__device__ __forceinline__ int part_of_row(const cuda_adapter_factors &f, int row) {
  if (f.interleaved) return row / 16 % 2;
  return (row >= f.part_end[0]) + (row >= f.part_end[1]) + (row >= f.part_end[2]);
}

__device__ __forceinline__ float bounded(float y, float most) {
  float low = y > -most ? y : -most;
  return low < most ? low : most;
}

/* What one adapter makes of a product, less the product: delta is b · h. */
__device__ __forceinline__ float change_of(const cuda_adapter_factors &f, const cuda_adapter_site &site, int slot,
                                           int row, double s, float product, float delta) {
  float change = (float)s * delta;
  if (!site.shift && !site.magnitude) return change;
  const float *v = (const float *)(f.vectors + slot * f.slot_bytes) + row;
  if (site.magnitude) {
    double square = v[VECTOR_W2 * (size_t)f.rows] +
                    s * (2 * (double)v[VECTOR_WD * (size_t)f.rows] + s * (double)v[VECTOR_D2 * (size_t)f.rows]);
    double g = v[VECTOR_MAGNITUDE * (size_t)f.rows] / sqrt(square > SQUARE_LEAST ? square : SQUARE_LEAST);
    change = (float)((g - 1) * product + g * s * delta);
  }
  return site.shift ? change + (float)s * v[VECTOR_SHIFT * (size_t)f.rows] : change;
}

} // namespace

#endif
