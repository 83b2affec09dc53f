/* Where a tile of pairs of one expert is, and which rows pairs have. */
#ifndef SPATE_BACKEND_CUDA_EXPERT_LISTS_CUH
#define SPATE_BACKEND_CUDA_EXPERT_LISTS_CUH

#include "backend/cuda/expert_kernels.h"
#include "backend/cuda/row_ends.cuh"

namespace {

/* Pairs of one expert; none where there is no such tile. */
struct expert_tile {
  int expert, n;
  const int32_t *pair; /* NULL: they are first + i × step */
  int first, step;

  __device__ __forceinline__ int pair_at(int i) const { return pair ? pair[i] : first + i * step; }
};

static __device__ __forceinline__ expert_tile tile_of(const struct cuda_expert_lists &l, int index, int n_token) {
  if (!l.first) { /* each expert has each token */
    int each = (n_token + l.tile_pairs - 1) / l.tile_pairs, expert = index / each, from = index % each * l.tile_pairs;
    if (expert >= l.n_expert) return {};
    return {expert, min(l.tile_pairs, n_token - from), nullptr, from * l.n_expert + expert, l.n_expert};
  }
  if (index >= l.counts[1]) return {};
  const int32_t *tile = l.tile + 3 * index;
  return {tile[0], tile[2], l.pair + tile[1], 0, 0};
}

/* The row of the input that a pair has. */
static __device__ __forceinline__ int input_row(const cuda_experts &a, int pair) {
  return a.spread ? pair / a.k : pair;
}

/* What becomes of a pair's product, which has its bias: to where the linear's results go, or the next one's tokens. */
static __device__ __forceinline__ void result_put(const cuda_experts &e, int pair, int col, float gate, float up) {
  const struct cuda_linear &a = e.linear;
  int token = pair / e.k, at = pair % e.k * a.result_cols + col;
  float x = curved_of(a, e.gate, gate, up);
  if (a.residual) x = residual_add(a, x, a.residual[(size_t)token * a.residual_cols + at]);
  if (e.next_tokens)
    e.next_tokens[(size_t)pair * e.next_padded + col] = __bfloat16_as_ushort(__float2bfloat16_rn(x));
  else
    a.out[(size_t)token * a.out_cols + at] = x;
}

/* Blocks of tiles, whatever the choice. */
static inline int tiles_most(const cuda_experts &a) {
  const struct cuda_expert_lists &l = a.lists;
  if (!l.first) return (a.n_token + l.tile_pairs - 1) / l.tile_pairs * l.n_expert;
  return cuda_expert_tiles(l.n_pair, l.n_expert, l.tile_pairs);
}

} // namespace

#endif
