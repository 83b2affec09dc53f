/* Norms and activations of encoders, as functions of a warp and of a number. */
#ifndef SPATE_BACKEND_CUDA_IMAGE_ROWS_CUH
#define SPATE_BACKEND_CUDA_IMAGE_ROWS_CUH

#include "backend/cuda/image_kernels.h"

static __device__ __forceinline__ float lanes_sum(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

/* What a row's numbers become: (x − mean) × scale, × weight, + addend. */
struct normed {
  float mean, scale;
};

/* A warp, of a row whose numbers `at(c)` gives: the mean first, then the squares of what is left. */
template <typename F> static __device__ __forceinline__ normed normed_of(const cuda_norm &norm, int cols, const F &at) {
  normed n = {0, 1};
  float sum = 0;
  if (norm.kind == NORMED_NOT) return n;
  if (norm.kind == NORMED_LAYER) {
    for (int c = threadIdx.x % 32; c < cols; c += 32) sum += at(c);
    n.mean = lanes_sum(sum) / cols;
    sum = 0;
  }
  for (int c = threadIdx.x % 32; c < cols; c += 32) {
    float x = at(c) - n.mean;
    sum += x * x;
  }
  n.scale = rsqrtf(lanes_sum(sum) / cols + norm.eps);
  return n;
}

static __device__ __forceinline__ float norm_apply(const cuda_norm &norm, const normed &n, float x, int cols, int c) {
  if (norm.kind == NORMED_NOT) return x;
  x = (x - n.mean) * n.scale * norm.weight[c];
  return norm.kind == NORMED_LAYER ? x + norm.weight[cols + c] : x;
}

/* SiLU and the three GELUs. */
static __device__ __forceinline__ float curve_of(int act, float x) {
  if (act == CURVE_GELU_ERF) return 0.5f * x * erfcf(-0.70710678119f * x);
  float k = x;
  if (act == CURVE_GELU) k = 1.5957691216f * (x + 0.044715f * x * x * x);
  if (act == CURVE_GELU_QUICK) k = 1.702f * x;
  return act ? __fdividef(x, 1 + __expf(-k)) : x;
}

#endif
