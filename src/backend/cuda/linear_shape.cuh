/* What a tile of linear_tiles.cuh is: its arguments, what it takes of shared memory, its place in the matrix. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_SHAPE_CUH
#define SPATE_BACKEND_CUDA_LINEAR_SHAPE_CUH

#include "backend/cuda/linear_ends.cuh"

namespace {

enum {
  GROUP_WARPS = 4,
  BAND = 2048, /* tokens that share weights in the second-level cache */
};

struct many {
  struct cuda_linear linear;
  const uint8_t *tokens; /* [64 tokens][piece][TOKENS_BYTES] */
  int n_strip, n_piece, n_tall, n_wide;
  int parts;  /* of columns that are summed apart; 0: as many as is fast */
  bool fours; /* results can be stored four at once */
  enum finish finish;
};

/* BESIDE, MAKERS: bytes of shared memory and warpgroups beside those of all tiles, which unpack weights. */
template <int GROUPS, int COLS, int PAIR, int SPLIT, int BESIDE = 0, int MAKERS = 0> struct shape {
  static constexpr int groups = GROUPS, pair = PAIR, split = SPLIT, makers = MAKERS;
  static constexpr int strips = COLS / 16, cluster = PAIR * SPLIT, tokens = GROUPS * 64;
  static constexpr int threads = (GROUPS + 1 + MAKERS) * 128;
  static constexpr int resident = GROUPS == 1 && COLS == 64 ? 2 : 1; /* blocks on a multiprocessor */
  static constexpr int half = (strips + PAIR - 1) / PAIR;            /* strips that a block copies */
  static constexpr int share = (strips + SPLIT - 1) / SPLIT;         /* strips that a block makes results of, at most */
  static constexpr int weight_bytes = strips * PIECE, stage_bytes = GROUPS * TOKENS_BYTES + weight_bytes;
  static constexpr bool large = GROUPS == 2 && SPLIT == 1;
  static constexpr bool even = strips % (2 * SPLIT) == 0;                /* shares of whole gates and ups */
  static constexpr int run = large && COLS == 256 ? 64 : even ? 32 : 16; /* rows that FINISH_ROWS takes at once */
  static constexpr int sums_bytes = GROUPS * GROUP_WARPS * 16 * sums_stride(run) * 4;
  static constexpr int scale_bytes = GROUPS > 1 ? 2 * tokens * 4 : 0; /* of one group's tokens: beside the barriers */
  static constexpr int fixed_bytes = 1024 + sums_bytes + scale_bytes;
  static constexpr int stages = ((228 / resident - 1) * 1024 - fixed_bytes - BESIDE) / stage_bytes;
  static constexpr int shared_bytes = fixed_bytes + stages * stage_bytes + BESIDE;
  static_assert(stages >= (MAKERS ? 3 : 4) && 24 * stages + 32 <= 512,
                "stages enough to hide a copy, and room for their barriers");
  static_assert(SPLIT == 1 || SPLIT * share * 16 * tokens * 4 <= stages * stage_bytes, "parts lie in the ring");
};

template <typename S> struct ring {
  uint8_t *stage;                     /* [stages]: tokens, then weights */
  uint64_t *weights, *tokens, *empty; /* [stages]: these are there; nobody reads them any more */
  uint64_t *scaled, *used;            /* [2]: a tile's scales are there; have been applied */
  float *scale;                       /* [2][tokens]: what products are multiplied by: of a norm that the input lacks */
  float *sums;                        /* [warp][16 tokens][sums_stride]: on their way to results */
};

/* A place in the ring: its stage, and how often the ring has been gone round, modulo 2. */
struct turn {
  int slot;
  uint32_t phase;
};

template <typename S> __device__ __forceinline__ turn turn_next(turn t) {
  return t.slot + 1 < S::stages ? turn{t.slot + 1, t.phase} : turn{0, t.phase ^ 1};
}

/* A tile's place: of 128 tokens, and of COLS rows of the matrix. */
struct place {
  int tall, strip;
};

/* Tiles in the order in which they are made: bands of tokens, in which neighbours share weights. */
template <typename S> __device__ __forceinline__ place place_of(const many &m, int tile, int pair, int rank) {
  int tall = (m.n_tall + pair - 1) / pair, band = BAND / S::tokens / pair, first = tile / (band * m.n_wide) * band;
  int height = min(band, tall - first), within = tile - first * m.n_wide;
  return {(first + within % height) * pair + rank, within / height * S::strips};
}

} // namespace

#endif
