/* The linear after a mixture (mixture_few.cu), which takes what the gather makes: the next layer's queries, keys and
 * values. Sums run in the order of linear_few.cu's, so that it has the same bytes as one by itself. */
#ifndef SPATE_BACKEND_CUDA_MIXTURE_AFTER_CUH
#define SPATE_BACKEND_CUDA_MIXTURE_AFTER_CUH

#include "backend/cuda/linear_chain.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/mixture_products.cuh"

namespace {
namespace mixture {

using namespace linear_between;

template <int TILES>
__device__ __forceinline__ void after_load(const work &w, const uint4 *tokens, int piece, fragments<TILES> &x) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    int token = t * 8 + lane / 4;
    bool has = piece < w.after_pieces && token < w.m.n_token;
    const uint4 *from = tokens + ((size_t)token * w.after_pieces + piece) * 8 + lane % 4;
    x.low[t] = strong_load_if(from, has), x.high[t] = strong_load_if(from + 4, has);
  }
}

template <int TILES> __device__ __forceinline__ bool after_there(const fragments<TILES> &x) {
  bool all = true;
#pragma unroll
  for (int t = 0; t < TILES; t++) all = all && there(x.low[t]) && there(x.high[t]);
  return __all_sync(~0u, all);
}

/* A warp's pieces to where it has had those of the experts' tokens, as soon as they are there. */
template <int TILES> __device__ __forceinline__ void after_bring(const work &w, const block &b, const uint4 *tokens) {
  constexpr int ahead = TILES == 1 ? 4 : 2;
  int lane = threadIdx.x % 32, step = ahead * WARPS;
  for (int first = threadIdx.x / 32; first < w.after_pieces; first += step) {
    fragments<TILES> x[ahead];
#pragma unroll
    for (int d = 0; d < ahead; d++) after_load<TILES>(w, tokens, first + d * WARPS, x[d]);
#pragma unroll
    for (int d = 0; d < ahead; d++) {
      int piece = first + d * WARPS;
      while (!after_there<TILES>(x[d])) after_load<TILES>(w, tokens, piece, x[d]);
#pragma unroll
      for (int t = 0; t < TILES; t++) {
        int token = t * 8 + lane / 4;
        if (piece >= w.after_pieces || token >= w.m.n_token) continue;
        uint4 *to = b.token + (piece * 2 * w.slots + token) * 4 + lane % 4;
        to[0] = x[d].low[t], to[w.slots * 4] = x[d].high[t];
      }
    }
  }
  __syncwarp();
}

/* The scaling warp. */
template <int TILES> __device__ __forceinline__ void after_scale(const work &w, const block &b, const uint4 *set) {
  if (!w.m.after.matrix.data) return;
  const float *squares = w.m.after.squares ? (const float *)(set + w.words.squares) : nullptr;
#pragma unroll
  for (int t = 0; t < TILES; t++) linear_chain::scales_add(w.m.after, squares, b.chosen->after, t * 8);
  barrier_arrive(b.scaled);
}

/* Sums of two strips, or the one that there is, in the order of linear_few.cu's: of the columns' halves, then of both.
 * A short loop: it runs once, and instructions come as slowly as anything else. */
template <int TILES>
__device__ __forceinline__ void after_multiply(const work &w, const block &b, turn &at, int n, float sum[2][TILES][4]) {
  int middle = min((w.after_pieces + 2 * WARPS - 1) / (2 * WARPS) * WARPS, w.after_pieces);
  int runs = (w.after_pieces + WARPS - 1) / WARPS;
  float half[2][TILES][4] = {};
  turn second = at;
  for (int i = 0; i < runs; i++) turn_step(second);
#pragma unroll 1
  for (int run = 0; run < w.after_pieces; run += WARPS) {
    int piece = run + threadIdx.x / 32;
    fragments<TILES> x;
    tokens_load<TILES>(w, b, piece, x);
#pragma unroll
    for (int i = 0; i < 2 * TILES * 4 && run == middle; i++) {
      float &from = sum[i / (TILES * 4)][i / 4 % TILES][i % 4];
      half[i / (TILES * 4)][i / 4 % TILES][i % 4] = from, from = 0;
    }
    stage_multiply<TILES>(b, at, piece < w.after_pieces, sum[0], x);
    if (n > 1) stage_multiply<TILES>(b, second, piece < w.after_pieces, sum[1], x);
  }
  if (n > 1) at = second;
#pragma unroll
  for (int i = 0; i < 2 * TILES * 4; i++)
    sum[i / (TILES * 4)][i / 4 % TILES][i % 4] += half[i / (TILES * 4)][i / 4 % TILES][i % 4];
}

template <int TILES>
__device__ __forceinline__ void after_finish(const work &w, const block &b, const float4 *sums, int i, int strip) {
  const struct cuda_linear &a = w.m.after;
  int token = threadIdx.x / STRIP, col = strip * STRIP + threadIdx.x % STRIP;
  if (token >= w.m.n_token || col >= a.matrix.rows) return;
  float bias = a.bias ? a.bias[col] : 0;
  float x = sums_total<TILES>(sums, i, token, threadIdx.x % STRIP) * b.chosen->after[token] + bias;
  a.out[(size_t)token * a.out_cols + col] = result_of(a, x, 0);
}

/* First the strips that are held, two together. */
template <int TILES>
__device__ __forceinline__ void after_run(const work &w, const block &b, const uint4 *set, turn at, const turn &rest,
                                          uint32_t &turns) {
  if (blockIdx.x >= w.after_strips) return;
  after_bring<TILES>(w, b, set + w.words.tokens);
  int n = (w.after_strips - blockIdx.x + gridDim.x - 1) / gridDim.x, held = min(w.held_strips, n);
#pragma unroll 1
  for (int i = 0, count; i < n; i += count, turns ^= 1) {
    float sum[2][TILES][4] = {};
    if (i == w.held_strips) at = rest;
    count = i + 2 <= held ? 2 : 1;
    after_multiply<TILES>(w, b, at, count, sum);
    float4 *sums = b.sums + turns * sum_fours(TILES);
    sums_put<TILES>(sums, 0, sum[0]), sums_put<TILES>(sums, 1, sum[1]);
    multipliers_meet();
    if (i == 0) barrier_wait(b.scaled, 0);
#pragma unroll 1
    for (int k = 0; k < count; k++) after_finish<TILES>(w, b, sums, k, blockIdx.x + (i + k) * gridDim.x);
  }
}

} // namespace mixture
} // namespace

#endif
