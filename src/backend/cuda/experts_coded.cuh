/* Linears over experts of weights of 4 and 8 bits, by mma.sync: what experts_coded_few.cu and experts_coded_many.cu
 * share. Both are templates over a coding (coded_operand.cuh), which makes bf16 of codes in registers. Tokens are bf16;
 * those that a scheme rounds to 8 bits are its codes, which bf16 has exactly, with a scale for each row (token_scales).
 */
#ifndef SPATE_BACKEND_CUDA_EXPERTS_CODED_CUH
#define SPATE_BACKEND_CUDA_EXPERTS_CODED_CUH

#include "backend/cuda/coded_operand.cuh"
#include "backend/cuda/expert_lists.cuh"
#include "backend/cuda/portable/linear.cuh"

namespace experts_coded {

using namespace portable;

enum { CODED_COLS = 128 /* of a piece */, HALVES = 2, PAIR = 2 /* strips of a warp: a gate's and its up's */ };

struct work {
  cuda_experts e;
  coded_wide::scale_shape scales;
  int n_strip, n_piece, n_half; /* n_half: of 64 columns, which tokens have */
};

static __device__ __forceinline__ const uint8_t *strip_of(const work &f, int expert, int strip) {
  const struct cuda_matrix &m = f.e.linear.matrix;
  return m.data + (size_t)expert * f.e.expert_bytes + (size_t)strip * m.strip_bytes;
}

/* What the products of a row are multiplied by: of eight bits with one scale a row. */
template <typename C> static __device__ __forceinline__ float row_scale(const work &f, int expert, int row) {
  if (!f.e.linear.matrix.head_bytes) return C::up;
  return C::up * ((const float *)strip_of(f, expert, row / STRIP))[row % STRIP];
}

static __device__ __forceinline__ float token_scale(const work &f, int pair) {
  return f.e.token_scales ? f.e.token_scales[input_row(f.e, pair)] : 1;
}

/* A warp's sums of two strips and TILES × 8 pairs, from `first` on: to results, or of a gather to products, in
 * linear.product. A lane has rows lane / 4 and + 8 of each strip, pairs lane % 4 × 2 and + 1 of each 8. */
template <typename C, int TILES>
static __device__ __forceinline__ void pairs_finish(const work &f, const expert_tile &tile,
                                                    const float sum[PAIR][TILES][4], int strip, int first) {
  const struct cuda_linear &a = f.e.linear;
  const float *bias = a.bias ? a.bias + (size_t)tile.expert * a.matrix.rows : nullptr;
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < PAIR * TILES * 4; i++) {
    int s = i / (TILES * 4), row = (strip + s) * STRIP + lane / 4 + i / 2 % 2 * 8, col = result_col(a, row);
    int t = first + i / 4 % TILES * 8 + lane % 4 * 2 + i % 2;
    if (t >= tile.n || col >= a.result_cols || (a.gated && s == 1)) continue;
    int pair = tile.pair_at(t);
    float by = token_scale(f, pair), up = 0;
    float gate = sum[s][i / 4 % TILES][i % 4] * row_scale<C>(f, tile.expert, row) * by + (bias ? bias[row] : 0);
    if (a.gated)
      up = sum[1][i / 4 % TILES][i % 4] * row_scale<C>(f, tile.expert, row + GATE_RUN) * by +
           (bias ? bias[row + GATE_RUN] : 0);
    if (f.e.gather)
      a.product[(size_t)pair * a.matrix.rows + row] = gate;
    else
      result_put(f.e, pair, col, gate, up);
  }
}

static inline work work_of(const struct cuda_experts &e) {
  int halves = e.padded / PIECE_COLS;
  return {e, coded_wide::scale_shape_of(e.linear.matrix.has_min), (e.linear.matrix.rows + STRIP - 1) / STRIP,
          (halves + HALVES - 1) / HALVES, halves};
}

/* RUN: a functor whose call takes a coding. */
template <typename RUN> static void bytes_choose(const struct cuda_matrix &m, const RUN &run) {
  if (m.kind == KIND_F8 && m.group)
    run(coded_wide::grouped());
  else if (m.kind == KIND_F8)
    run(coded_wide::bytes<coded_wide::e4m3>());
  else if (m.has_min)
    run(coded_wide::least());
  else
    run(coded_wide::bytes<coded_wide::int8>());
}

template <typename RUN> static void nibbles_choose(const struct cuda_matrix &m, const RUN &run) {
  if (m.codebook)
    run(coded_wide::e2m1());
  else if (m.group == 128)
    run(coded_wide::nibbles<1>());
  else
    run(coded_wide::nibbles<4>());
}

} // namespace experts_coded

#endif
