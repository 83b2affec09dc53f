/* What adapters make of products, where a kernel makes results of them: b · h in floats, and what magnitudes and shifts
 * make of both. */
#ifndef SPATE_BACKEND_CUDA_ADAPTER_END_CUH
#define SPATE_BACKEND_CUDA_ADAPTER_END_CUH

#include "backend/cuda/adapter_launch.cuh"
#include "backend/cuda/cuda_kernels.h"

namespace {

template <typename F> struct run { /* of a row of b: 16 ranks */
  uint4 word[RANK_STRIP * sizeof(F) / 16];
};

template <typename F> __device__ __forceinline__ run<F> run_load(const F *from) {
  run<F> r;
#pragma unroll
  for (int i = 0; i < (int)(sizeof r / 16); i++) r.word[i] = ((const uint4 *)from)[i];
  return r;
}

__device__ __forceinline__ float run_multiply(const run<float> &b, const float *h, float sum) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    float4 x = *(const float4 *)(h + 4 * i);
    sum += __uint_as_float(b.word[i].x) * x.x, sum += __uint_as_float(b.word[i].y) * x.y;
    sum += __uint_as_float(b.word[i].z) * x.z, sum += __uint_as_float(b.word[i].w) * x.w;
  }
  return sum;
}

__device__ __forceinline__ float pair_multiply(uint32_t b, float x, float y, float sum) {
  sum += __uint_as_float(b << 16) * x;
  return sum + __uint_as_float(b & 0xffff0000u) * y;
}

__device__ __forceinline__ float run_multiply(const run<__nv_bfloat16> &b, const float *h, float sum) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float4 x = *(const float4 *)(h + 8 * i), y = *(const float4 *)(h + 8 * i + 4);
    sum = pair_multiply(b.word[i].x, x.x, x.y, sum), sum = pair_multiply(b.word[i].y, x.z, x.w, sum);
    sum = pair_multiply(b.word[i].z, y.x, y.y, sum), sum = pair_multiply(b.word[i].w, y.z, y.w, sum);
  }
  return sum;
}

/* A product of a token with a row of the matrix. Factors are bf16. */
__device__ __forceinline__ float product_adapt(const struct cuda_linear &a, int token, int row, float product) {
  const cuda_adapter_factors &f = a.rows.factors;
  const cuda_adapter_use *use = a.rows.use + (size_t)token * USES;
  const float *h = a.rows.h + (size_t)token * USES * f.n_part * f.rank + part_of_row(f, row) * f.rank;
  float change = 0;
  bool adapted = false;
#pragma unroll 1
  for (int l = 0; l < USES && use[l].slot >= 0; l++, h += f.n_part * f.rank) {
    const cuda_adapter_site site = site_of(f, use[l].slot);
    int rank = whole_rank(site.rank);
    float delta = 0;
    if (!site.used) continue;
    const __nv_bfloat16 *b = (const __nv_bfloat16 *)(f.b + use[l].slot * f.slot_bytes) + (size_t)row * rank;
#pragma unroll 1
    for (int k = 0; k < rank; k += RANK_STRIP) delta = run_multiply(run_load(b + k), h + k, delta);
    change += change_of(f, site, use[l].slot, row, use[l].scale, product, delta);
    adapted = true;
  }
  return adapted ? bounded(product + change, f.most) : product;
}

} // namespace

#endif
