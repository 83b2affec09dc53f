/* What a token brings to attention on the matrix units: its queries, normed, rotated and scaled, its key, normed and
 * rotated, and its value, as the cache has them. Whichever kernel makes them, they are the same to the byte:
 * multiplications and additions are joined as written. Angles depend on token and frequency alone: cosines and sines
 * are made once a step.
 */
#ifndef SPATE_BACKEND_CUDA_ATTEND_FRESH_CUH
#define SPATE_BACKEND_CUDA_ATTEND_FRESH_CUH

#include "backend/cuda/attend_codes.cuh"

/* Floats of a warp's room for a head. */
static __host__ __device__ constexpr int head_room(int dim) { return (dim + 31) / 32 * 32; }

/* A head of q or k into `head`, MOST floats of shared memory: normed, rotated. All lanes of a warp; all that memory has
 * is asked for at once. */
template <int MOST>
static __device__ __forceinline__ void head_prepare(const cuda_attend &a, const float *from, const float *norm,
                                                    const float2 *angle, float *head) {
  constexpr int each = MOST / 32, turns = (each + 1) / 2;
  int lane = threadIdx.x % 32, pairs = a.rope_style ? a.rope_dim / 2 : 0;
  float x[each], weight[each], squares = 0;
  float2 turn[turns];
#pragma unroll
  for (int j = 0; j < each; j++) x[j] = lane + 32 * j < a.dim_k ? from[lane + 32 * j] : 0;
#pragma unroll
  for (int j = 0; j < each; j++) weight[j] = norm && lane + 32 * j < a.dim_k ? norm[lane + 32 * j] : 0;
#pragma unroll
  for (int j = 0; j < turns; j++) turn[j] = lane + 32 * j < pairs ? angle[lane + 32 * j] : make_float2(1, 0);
  if (norm) {
#pragma unroll
    for (int j = 0; j < each; j++) squares = __fmaf_rn(x[j], x[j], squares);
    for (int step = 16; step > 0; step /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, step);
    float scale = rsqrtf(__fadd_rn(__fdiv_rn(squares, (float)a.dim_k), a.eps));
#pragma unroll
    for (int j = 0; j < each; j++) x[j] = x[j] * scale * weight[j];
  }
#pragma unroll
  for (int j = 0; j < each; j++) head[lane + 32 * j] = x[j];
  __syncwarp();
#pragma unroll
  for (int j = 0; j < turns; j++) {
    int i = lane + 32 * j, low = a.rope_style == ROTATE_PAIRS ? 2 * i : i,
        high = a.rope_style == ROTATE_PAIRS ? low + 1 : i + pairs;
    if (i >= pairs) continue;
    float c = turn[j].x * a.rope_scale, sine = turn[j].y * a.rope_scale, y = head[low], z = head[high];
    head[low] = __fmaf_rn(y, c, -__fmul_rn(z, sine));
    head[high] = __fmaf_rn(y, sine, __fmul_rn(z, c));
  }
  __syncwarp();
}

/* What the queries of a token at an index of its row are multiplied by: scores are logarithms to base 2, but under a
 * softcap. */
static __device__ __forceinline__ float query_scale(const cuda_attend &a, int position) {
  float scale = a.softcap > 0 ? a.scale : a.scale * LOG2_E;
  return a.grow > 0 ? scale * query_growth(a, position) : scale;
}

/* The token's floats of q, k and v, head after head; the first of its angles. */
static __device__ __forceinline__ const float *fresh_head(const cuda_attend &a, int token, int head) {
  return a.in + (size_t)token * a.in_cols + (size_t)head * a.dim_k;
}

static __device__ __forceinline__ const float2 *fresh_angle(const cuda_attend &a, int token) {
  return (const float2 *)a.angle + (size_t)token * a.n_angle;
}

#endif
