/* Norms and ends of rows as a block makes them: any norm of what a function of columns gives, any activation. */
#ifndef SPATE_BACKEND_CUDA_ROW_ENDS_CUH
#define SPATE_BACKEND_CUDA_ROW_ENDS_CUH

#include "backend/cuda/image_rows.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/row_kernels.h"
#include "backend/cuda/row_sum.cuh"

/* Mean and scale of what a function of columns gives. All threads of the block. */
template <typename F> static __device__ normed columns_normed(const cuda_norm &norm, int cols, const F &at) {
  normed n = {0, 1};
  float sum = 0;
  if (norm.kind == NORMED_NOT) return n;
  if (norm.kind == NORMED_LAYER) {
    for (int c = threadIdx.x; c < cols; c += blockDim.x) sum += at(c);
    n.mean = block_sum(sum) / cols;
    sum = 0;
  }
  for (int c = threadIdx.x; c < cols; c += blockDim.x) {
    float x = at(c) - n.mean;
    sum += x * x;
  }
  n.scale = rsqrtf(block_sum(sum) / cols + norm.eps);
  return n;
}

static __device__ __forceinline__ float curve_any(int act, float x) {
  if (act == CURVE_RELU) return x < 0 ? 0 : x;
  return act == CURVE_TANH ? tanhf(x) : curve_of(act, x);
}

/* Within ± the limit. What is no number stays so. */
static __device__ __forceinline__ float limited(float x, float limit) {
  return limit > 0 && fabsf(x) > limit ? copysignf(limit, x) : x;
}

/* result_of for any activation and gate. */
static __device__ __forceinline__ float curved_of(const struct cuda_linear &a, const struct cuda_gate &g, float gate,
                                                  float up) {
  float x = curve_any(a.act, g.limit > 0 && gate > g.limit ? g.limit : gate);
  if (a.gated) x *= limited(up, g.limit) + g.up_add;
  x *= a.factor;
  return a.softcap > 0 ? a.softcap * tanhf(x / a.softcap) : x;
}

#endif
