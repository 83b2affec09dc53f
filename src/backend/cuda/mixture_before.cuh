/* The linear before a mixture (mixture_few.cu), which adds to the residual stream: attention's output projection. Its
 * results go to all blocks by words that tell themselves whether they are there, as floats. */
#ifndef SPATE_BACKEND_CUDA_MIXTURE_BEFORE_CUH
#define SPATE_BACKEND_CUDA_MIXTURE_BEFORE_CUH

#include "backend/cuda/mixture_products.cuh"

namespace {
namespace mixture {

/* The copying thread, before anything is there, while attention reads its keys. A block that begins late has no time
 * for that. */
__device__ __forceinline__ void before_stream(const work &w, copier &c) {
  const struct cuda_matrix &m = w.m.before.matrix;
  for (int strip = blockIdx.x; m.data && strip < w.strips; strip += gridDim.x)
    strips_copy(c, m.data + (size_t)strip * w.before_pieces * PIECE, w.before_pieces, 1);
}

/* A warp's piece of the tokens, as linears of few tokens take them. */
template <int TILES> __device__ __forceinline__ void inputs_load(const work &w, int piece, fragments<TILES> &x) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    const uint4 *from = (const uint4 *)w.m.before.fragments + ((size_t)t * w.before_pieces + piece) * 64 + lane;
    bool has = piece < w.before_pieces && t * 8 + lane / 4 < w.m.n_token;
    x.low[t] = strong_load_if(from, has), x.high[t] = strong_load_if(from + 32, has);
  }
}

template <int TILES>
__device__ __forceinline__ void before_finish(const work &w, const float4 *sums, uint32_t *inputs, int strip,
                                              const extras &e) {
  const struct cuda_linear &a = w.m.before;
  int token = threadIdx.x / STRIP, row = threadIdx.x % STRIP, col = strip * STRIP + row;
  if (token >= w.m.n_token) return;
  float x = (sums_total<TILES>(sums, 0, token, row) + (a.bias ? a.bias[col] : 0)) * a.factor + e.residual;
  strong_store(inputs + token * a.matrix.rows + col, __float_as_uint(x));
  a.out[(size_t)token * a.out_cols + col] = x;
}

__device__ __forceinline__ uint4 *set_of(const work &w) {
  return set_at((uint4 *)w.between.sets, w.between.units, strong_load(w.between.state + SET));
}

/* Says which set it is when the first words have been asked for: that takes as long as those. */
template <int TILES>
__device__ __forceinline__ void before_run(const work &w, const block &b, turn &at, uint32_t &turns, uint4 *&set) {
  constexpr int ahead = TILES == 1 ? 8 : 4;
  int runs = (w.before_pieces + WARPS - 1) / WARPS;
  set = nullptr;
  for (int strip = blockIdx.x; w.m.before.matrix.data && strip < w.strips; strip += gridDim.x, turns ^= 1) {
    float sum[2][TILES][4] = {};
    extras e = extras_load(w.m.before, w.m.n_token, strip);
    for (int run = 0; run < runs; run += ahead) {
      fragments<TILES> x[ahead];
      int piece = run * WARPS + threadIdx.x / 32;
#pragma unroll
      for (int d = 0; d < ahead; d++) inputs_load<TILES>(w, piece + d * WARPS, x[d]);
      if (!set) set = set_of(w);
#pragma unroll
      for (int d = 0; d < ahead; d += MIXTURE_STAGES)
        stages_multiply<TILES, MIXTURE_STAGES>(b, at, runs - run - d, piece + d * WARPS, w.before_pieces, sum, x + d);
    }
#pragma unroll
    for (int i = 0; i < TILES * 4; i++) sum[0][i / 4][i % 4] += sum[1][i / 4][i % 4];
    float4 *sums = b.sums + turns * sum_fours(TILES);
    sums_put<TILES>(sums, 0, sum[0]);
    multipliers_meet();
    before_finish<TILES>(w, sums, (uint32_t *)(set + w.words.inputs), strip, e);
  }
  if (!set) set = set_of(w);
}

} // namespace mixture
} // namespace

#endif
