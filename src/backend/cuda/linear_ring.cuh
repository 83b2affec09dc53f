/* The way of weights into a multiprocessor in linear_few.cu: who reads which rows, and the ring of stages in shared
 * memory through which they come. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_RING_CUH
#define SPATE_BACKEND_CUDA_LINEAR_RING_CUH

#include "backend/cuda/instructions.cuh"

namespace linear_ring {

enum {
  WARPS = 8,
  STRIPS = 3,                     /* at most, that share the tokens' fragments */
  PIECE = 2048,                   /* bytes of 16 rows × 64 columns */
  RUN = WARPS * PIECE,            /* of a stage */
  IN_FLIGHT = 3,                  /* runs: more, and near multiprocessors get more than far ones, and all wait */
  COPIER = WARPS,                 /* the warps after those that multiply: one asks for weights, */
  SCALERS,                        /* others add up tokens' norms */
  TOKEN_STRIDE = STRIPS * 16 + 4, /* sums of a token: its distance to the next keeps lanes on banks of their own */
};

/* With more, a thread would have too few registers. */
__host__ __device__ constexpr int scalers_of(int tiles) { return tiles == 1 ? 1 : 2; }

__host__ __device__ constexpr int threads_of(int tiles) { return (SCALERS + scalers_of(tiles)) * 32; }

/* Floats of a warp's sums of so many tiles of 8 tokens. */
__host__ __device__ constexpr int sums_of(int tiles) { return tiles * 8 * TOKEN_STRIDE; }

/* Stages that fit beside the sums and the barriers. */
__host__ __device__ constexpr int stages_of(int tiles) { return (227 * 1024 - 512 - WARPS * sums_of(tiles) * 4) / RUN; }

__host__ __device__ constexpr int shared_bytes(int tiles) {
  return stages_of(tiles) * RUN + (WARPS * sums_of(tiles) + tiles * 8) * 4 + (2 * stages_of(tiles) + 1) * 8;
}

/* Pieces whose fragments a warp has asked for ahead. */
__host__ __device__ constexpr int depth_of(int tiles) { return tiles == 1 ? 4 : 2; }

/* A matrix as blocks take it. */
struct streamed {
  const uint8_t *data;
  int n_strip, n_piece, unit, blocks; /* unit: strips that a block must have together: a gate's and its up's */
};

/* Strips that a block multiplies together. */
struct group {
  int strip, n;
};

/* A block's group of a round; n 0: there is none any more. In a round the blocks read side by side, and all have as
 * many units in the end, give or take one. */
__device__ __forceinline__ group group_of(const streamed &w, int round) {
  int most = STRIPS / w.unit, count = w.n_strip / w.unit, each = count / w.blocks, more = count % w.blocks;
  int block = blockIdx.x, whole = each / most, rest = each % most;
  if (block >= w.blocks) return {0, 0};
  if (round < whole) return {(round * w.blocks + block) * most * w.unit, most * w.unit};
  if (round > whole) return {0, 0};
  int unit = whole * most * w.blocks + block * rest + min(block, more);
  return {unit * w.unit, (rest + (block < more)) * w.unit};
}

/* The ring of stages: what the copying thread and the warps share. */
template <int TILES> struct ring {
  static constexpr int stages = stages_of(TILES);
  uint8_t *bytes;         /* [stages][RUN] */
  float *sums;            /* [WARPS][token][TOKEN_STRIDE] */
  float *scale;           /* [token]: what products are multiplied by: of a norm that the input still lacks */
  uint64_t *full, *empty; /* [stages] */
  uint64_t *scaled;       /* once */
};

template <int TILES> __device__ ring<TILES> ring_lay(uint8_t *shared) {
  ring<TILES> r;
  r.bytes = shared;
  r.sums = (float *)(shared + r.stages * RUN);
  r.scale = r.sums + WARPS * sums_of(TILES);
  r.full = (uint64_t *)(r.scale + TILES * 8);
  r.empty = r.full + r.stages;
  r.scaled = r.empty + r.stages;
  return r;
}

/* A place in the ring: its stage, and how often the ring has been gone round, modulo 2. */
struct turn {
  int slot;
  uint32_t phase;
};

template <int TILES> __device__ __forceinline__ turn turn_next(turn t) {
  return t.slot + 1 < stages_of(TILES) ? turn{t.slot + 1, t.phase} : turn{0, t.phase ^ 1};
}

/* The copying thread's places: where the next run goes, and the last one that it has seen land. */
struct copier {
  turn at, landed;
  int out;
};

template <int TILES> __device__ void weights_stream(const streamed &w, const ring<TILES> &r, copier *c) {
  uint64_t policy = policy_evict_first();
  group g;
  for (int round = 0; (g = group_of(w, round)).n > 0; round++) {
    const uint8_t *from = w.data + (size_t)g.strip * w.n_piece * PIECE;
    for (int piece = 0; piece < w.n_piece; piece += WARPS) {
      uint32_t bytes = min(WARPS, w.n_piece - piece) * PIECE;
      for (int i = 0; i < g.n; i++, c->at = turn_next<TILES>(c->at)) {
        if (c->out++ >= IN_FLIGHT)
          barrier_wait(&r.full[c->landed.slot], c->landed.phase), c->landed = turn_next<TILES>(c->landed);
        barrier_wait(&r.empty[c->at.slot], c->at.phase);
        barrier_expect(&r.full[c->at.slot], bytes);
        bulk_copy(r.bytes + c->at.slot * RUN, from + ((size_t)i * w.n_piece + piece) * PIECE, bytes,
                  &r.full[c->at.slot], policy);
      }
    }
  }
}

} // namespace linear_ring

#endif
