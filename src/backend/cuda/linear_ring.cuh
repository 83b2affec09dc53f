/* The way of weights into a multiprocessor in linear_few.cu: who reads which rows, and the ring of stages in shared
 * memory through which they come. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_RING_CUH
#define SPATE_BACKEND_CUDA_LINEAR_RING_CUH

#include "backend/cuda/instructions.cuh"

namespace linear_ring {

enum {
  WARPS = 8,
  PIECE = 2048,       /* bytes of 16 rows × 128 bytes of columns */
  COPIER = WARPS,     /* the warps after those that multiply: one asks for weights, */
  SCALERS,            /* others add up tokens' norms */
  JOINER = WARPS + 3, /* one adds up what adapters shrink (adapter_few.cuh) */
  THREADS = 384,      /* whole warpgroups, which give each other registers */
  MULTIPLIER_REGISTERS = 216,
  COPIER_REGISTERS = 72,
};

/* Bytes of a stage. A scheme S says those of a piece. */
template <typename S> __host__ __device__ constexpr int run_of() { return WARPS * S::piece; }

/* Blocks that share strips, each with half of the columns and the results of half of the tokens: the fragments of many
 * tokens are as many bytes as the weights. */
__host__ __device__ constexpr int team_of(int tiles) { return tiles >= 2 ? 2 : 1; }

/* Places for sums: with two in turn, warps that make no results of a group go on with the next. */
template <typename S> __host__ __device__ constexpr int buffers_of(int tiles) {
  return team_of(tiles) == 1 ? S::buffers : 1;
}

/* Tiles of 8 tokens whose results a block makes. */
__host__ __device__ constexpr int own_of(int tiles) { return tiles / team_of(tiles); }

__host__ __device__ constexpr int scalers_of(int tiles) { return tiles == 1 ? 1 : 2; }

/* Strips at most that share the tokens' fragments: the more, the fewer bytes of those, and the longer a group's end. */
template <typename S> __host__ __device__ constexpr int strips_of(int tiles) { return tiles == 1 ? S::strips : 4; }

/* A warp's sums, in fours as the matrix units leave them: [strips_of()][own_of()][32]. */
template <typename S> __host__ __device__ constexpr int sums_of(int tiles) {
  return strips_of<S>(tiles) * own_of(tiles) * 32;
}

/* Bytes of the sums of a team's warps. */
template <typename S> __host__ __device__ constexpr int sum_bytes(int tiles) {
  return buffers_of<S>(tiles) * team_of(tiles) * WARPS * sums_of<S>(tiles) * 16;
}

/* A scheme, in steps with adapters (adapter_few.cuh). */
template <typename S> struct adapted_scheme : S {};
template <typename S> struct has_adapters { static constexpr bool value = false; };
template <typename S> struct has_adapters<adapted_scheme<S>> { static constexpr bool value = true; };

/* 16 floats of each of a block's tokens and a part of the matrix; of two parts of a chain in turn. */
enum { ADAPTER_PARTS = 4 };
template <typename S> __host__ __device__ constexpr int shrunk_bytes(int tiles) {
  return has_adapters<S>::value ? 2 * own_of(tiles) * 8 * ADAPTER_PARTS * 64 : 0;
}

/* Stages that fit beside the sums, what tokens have, and the barriers. */
template <typename S> __host__ __device__ constexpr int stages_of(int tiles) {
  return (226 * 1024 - sum_bytes<S>(tiles) - shrunk_bytes<S>(tiles)) / run_of<S>();
}

template <typename S> __host__ __device__ constexpr int shared_bytes(int tiles) {
  return stages_of<S>(tiles) * run_of<S>() + sum_bytes<S>(tiles) + shrunk_bytes<S>(tiles) + tiles * 8 * 3 * 4 +
         (2 * stages_of<S>(tiles) + 4) * 8;
}

/* Panels of 64 columns whose fragments a warp has asked for ahead. */
template <typename S> __host__ __device__ constexpr int depth_of(int tiles) { return tiles == 1 && !S::rolled ? 4 : 2; }

/* A matrix as teams take it. */
struct streamed {
  const uint8_t *data; /* of the first strip's pieces */
  uint64_t strip_bytes;
  int n_piece, n_unit, unit, teams; /* unit: strips that a team must have together: a gate's and its up's */
};

/* Where the second half of the columns begins, whose sums are always added to those of the first: in whole runs. */
__device__ __forceinline__ int middle_of(const streamed &w) {
  return min((w.n_piece + 2 * WARPS - 1) / (2 * WARPS) * WARPS, w.n_piece);
}

template <int TILES> __device__ __forceinline__ int team_rank() { return team_of(TILES) == 1 ? 0 : blockIdx.x % 2; }

/* Pieces. */
struct span {
  int begin, end;
};

/* A block's columns. */
template <int TILES> __device__ __forceinline__ span span_of(const streamed &w) {
  if (team_of(TILES) == 1) return {0, w.n_piece};
  return team_rank<TILES>() ? span{middle_of(w), w.n_piece} : span{0, middle_of(w)};
}

/* Strips that a team multiplies together: of every teams-th unit from `first` on, so that teams read side by side. */
struct group {
  int first, n; /* n: strips; 0: there are none any more */
};

template <typename S, int TILES> __device__ __forceinline__ int most_of(const streamed &w) {
  return w.unit == 1 ? strips_of<S>(TILES) : strips_of<S>(TILES) / 2;
}

template <typename S, int TILES> __device__ __forceinline__ group group_of(const streamed &w, int round) {
  int most = most_of<S, TILES>(w), team = blockIdx.x / team_of(TILES), units = 0;
  group g = {round * most * w.teams + team, 0};
  if (team >= w.teams) return g;
  while (units < most && g.first + units * w.teams < w.n_unit) units++;
  g.n = units * w.unit;
  return g;
}

/* The i-th strip of a group. */
__device__ __forceinline__ int strip_of(const streamed &w, const group &g, int i) {
  return w.unit == 1 ? g.first + i * w.teams : (g.first + i / 2 * w.teams) * 2 + i % 2;
}

/* The ring of stages: what the copying thread and the warps share. */
template <typename S, int TILES> struct ring {
  static constexpr int stages = stages_of<S>(TILES);
  uint8_t *bytes;         /* [stages][run_of()] */
  float4 *sums;           /* [of the block, of the other of its team or in turn][WARPS][sums_of()] */
  float4 *shrunk;         /* [part % 2][token of the block][part of the matrix][4] (adapter_few.cuh) */
  float *scale;           /* [token]: what products are multiplied by: of a norm that the input still lacks */
  float *factor;          /* [token]: the same of tokens that are rounded with a scale, */
  float *inverse;         /* [token]: and what they are multiplied by before */
  uint64_t *full, *empty; /* [stages] */
  uint64_t *begun;        /* once a part but the first: its input comes, the scales of the one before are done with */
  uint64_t *scaled;       /* once a part */
  uint64_t *came, *taken; /* the other's sums, and this block's by the other */
};

template <typename S, int TILES> __device__ ring<S, TILES> ring_lay(uint8_t *shared) {
  ring<S, TILES> r;
  r.bytes = shared;
  r.sums = (float4 *)(shared + r.stages * run_of<S>());
  r.shrunk = r.sums + sum_bytes<S>(TILES) / 16;
  r.scale = (float *)(r.shrunk + shrunk_bytes<S>(TILES) / 16);
  r.factor = r.scale + TILES * 8, r.inverse = r.factor + TILES * 8;
  r.full = (uint64_t *)(r.inverse + TILES * 8);
  r.empty = r.full + r.stages;
  r.begun = r.empty + r.stages, r.scaled = r.begun + 1;
  r.came = r.begun + 2, r.taken = r.begun + 3;
  return r;
}

template <typename S, int TILES> __device__ __forceinline__ void ring_begin(const ring<S, TILES> &r) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < r.stages; i++) barrier_init(&r.full[i], 1), barrier_init(&r.empty[i], WARPS * 32);
    barrier_init(r.begun, WARPS * 32), barrier_init(r.scaled, scalers_of(TILES) * 32);
    barrier_init(r.came, 1), barrier_init(r.taken, 1);
    barriers_publish();
  }
  __syncthreads();
}

/* A place in the ring: its stage, and how often the ring has been gone round, modulo 2. */
struct turn {
  int slot;
  uint32_t phase;
};

template <typename S, int TILES> __device__ __forceinline__ turn turn_next(turn t) {
  return t.slot + 1 < stages_of<S>(TILES) ? turn{t.slot + 1, t.phase} : turn{0, t.phase ^ 1};
}

/* The copying thread's places: where the next run goes, and the last one that it has seen land. */
struct copier {
  turn at, landed;
  int out;
};

template <typename S, int TILES>
__device__ __forceinline__ void run_stream(const uint8_t *from, uint32_t bytes, uint64_t policy,
                                           const ring<S, TILES> &r, copier *c) {
  if (c->out++ >= S::in_flight)
    barrier_wait(&r.full[c->landed.slot], c->landed.phase), c->landed = turn_next<S, TILES>(c->landed);
  barrier_wait(&r.empty[c->at.slot], c->at.phase);
  barrier_expect(&r.full[c->at.slot], bytes);
  bulk_copy(r.bytes + c->at.slot * run_of<S>(), from, bytes, &r.full[c->at.slot], policy);
  c->at = turn_next<S, TILES>(c->at);
}

template <typename S, int TILES> __device__ void weights_stream(const streamed &w, const ring<S, TILES> &r, copier *c) {
  uint64_t policy = policy_evict_first();
  span s = span_of<TILES>(w);
  group g;
  for (int round = 0; (g = group_of<S, TILES>(w, round)).n > 0; round++)
    for (int piece = s.begin; piece < s.end; piece += WARPS)
      for (int i = 0; i < g.n; i++)
        run_stream<S, TILES>(w.data + strip_of(w, g, i) * w.strip_bytes + piece * S::piece,
                             min(WARPS, s.end - piece) * S::piece, policy, r, c);
}

} // namespace linear_ring

#endif
