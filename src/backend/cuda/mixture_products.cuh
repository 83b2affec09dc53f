/* Products of mixture_few.cu: 8 warps, each with a piece of a stage, whose sums meet in shared memory. */
#ifndef SPATE_BACKEND_CUDA_MIXTURE_PRODUCTS_CUH
#define SPATE_BACKEND_CUDA_MIXTURE_PRODUCTS_CUH

#include "backend/cuda/mixture_ring.cuh"

namespace {
namespace mixture {

template <int TILES> struct fragments { uint4 low[TILES], high[TILES]; };

template <int TILES>
__device__ __forceinline__ void piece_multiply(float sum[TILES][4], const uint8_t *piece, const fragments<TILES> &x) {
  int lane = threadIdx.x % 32, row = lane % 16, half = lane / 16;
  uint32_t base = shared_address(piece) + row / 8 * 1024 + row % 8 * 128, a[4][4];
#pragma unroll
  for (int k = 0; k < 4; k++) matrices_load(a[k], base + (((2 * k + half) ^ (row % 8)) << 4)); /* cuda_layout.h */
#pragma unroll
  for (int k = 0; k < 4; k++)
#pragma unroll
    for (int t = 0; t < TILES; t++) {
      const uint4 &v = k < 2 ? x.low[t] : x.high[t];
      multiply_bf16(sum[t], a[k], k % 2 ? v.z : v.x, k % 2 ? v.w : v.y);
    }
}

/* A warp's piece of the tokens in shared memory. */
template <int TILES>
__device__ __forceinline__ void tokens_load(const work &w, const block &b, int piece, fragments<TILES> &x) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    int token = t * 8 + lane / 4;
    bool has = token < w.slots && piece < w.up_pieces;
    const uint4 *from = b.token + (piece * 2 * w.slots + token) * 4 + lane % 4;
    x.low[t] = has ? from[0] : uint4{0, 0, 0, 0}, x.high[t] = has ? from[w.slots * 4] : uint4{0, 0, 0, 0};
  }
}

/* The word of a row's columns among those that linears leave each other: in the order of fragments, for each row by
 * itself. */
__device__ __forceinline__ int word_of(int pieces, int row, int col) {
  return ((row * pieces + col / PANEL) * 8 + col % PANEL / 32 * 4 + col % 8 / 2) * 4 + col % 32 / 8;
}

/* Waits for a warp's piece of the stage, multiplies it, and gives the stage back. */
template <int TILES>
__device__ __forceinline__ void stage_multiply(const block &b, turn &at, bool has, float sum[TILES][4],
                                               const fragments<TILES> &x) {
  barrier_wait(&b.full[at.slot], phase_of(at));
  if (has) piece_multiply<TILES>(sum, b.stage + at.slot * RUN + threadIdx.x / 32 * PIECE, x);
  barrier_arrive(&b.empty[at.slot]);
  turn_step(at);
}

/* The same of N stages, as many as any ring has, or the n that there are: one sum for every other of them. */
template <int TILES, int N>
__device__ __forceinline__ void stages_multiply(const block &b, turn &at, int n, int piece, int pieces,
                                                float sum[2][TILES][4], const fragments<TILES> x[N]) {
  turn t = at;
#pragma unroll
  for (int i = 0; i < N; i++)
    if (i < n) barrier_wait(&b.full[t.slot], phase_of(t)), turn_step(t);
  t = at;
#pragma unroll
  for (int i = 0; i < N; i++) {
    if (i < n && piece + i * WARPS < pieces)
      piece_multiply<TILES>(sum[i % 2], b.stage + t.slot * RUN + threadIdx.x / 32 * PIECE, x[i]);
    if (i < n) turn_step(t);
  }
#pragma unroll
  for (int i = 0; i < N; i++)
    if (i < n) barrier_arrive(&b.empty[at.slot]), turn_step(at);
}

/* A warp's sums of a strip to where results are made. */
template <int TILES> __device__ __forceinline__ void sums_put(float4 *sums, int strip, const float sum[TILES][4]) {
  float4 *to = sums + ((threadIdx.x / 32 * 2 + strip) * TILES) * 32 + threadIdx.x % 32;
#pragma unroll
  for (int t = 0; t < TILES; t++) to[t * 32] = {sum[t][0], sum[t][1], sum[t][2], sum[t][3]};
}

/* A product: of the warps in order. */
template <int TILES> __device__ __forceinline__ float sums_total(const float4 *sums, int strip, int token, int row) {
  int lane = row % 8 * 4 + token % 8 / 2;
  const float *from = (const float *)(sums + (strip * TILES + token / 8) * 32 + lane) + row / 8 * 2 + token % 2;
  float total = 0;
#pragma unroll
  for (int i = 0; i < WARPS; i++) total += from[i * 2 * TILES * 32 * 4];
  return total;
}

/* What a result takes beside its products, on its way while those are made. */
struct extras {
  float residual, next_norm;
};

__device__ __forceinline__ extras extras_load(const struct cuda_linear &a, int n_token, int strip) {
  int token = threadIdx.x / STRIP, col = strip * STRIP + threadIdx.x % STRIP;
  extras e = {0, 1};
  if (token >= n_token || col >= a.matrix.rows) return e;
  if (a.residual) e.residual = a.residual[(size_t)token * a.residual_cols + col];
  if (a.next_norm) e.next_norm = a.next_norm[col];
  return e;
}

} // namespace mixture
} // namespace

#endif
