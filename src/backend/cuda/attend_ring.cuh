/* Shared memory of decode attention on Hopper, and how keys and values come into it: a ring of stages, each a tile's
 * keys or its values, which two warps keep full by bulk copies. */
#ifndef SPATE_BACKEND_CUDA_ATTEND_RING_CUH
#define SPATE_BACKEND_CUDA_ATTEND_RING_CUH

#include "backend/cuda/attend_codes.cuh"
#include "backend/cuda/attend_fresh.cuh"
#include "backend/cuda/attend_parts.cuh"

namespace attend_ring {

enum {
  COPIERS = 2, /* warps */
  THREADS = (WARPS + COPIERS) * 32,
  WEIGHT_STRIDE = ATTEND_TILE + 8, /* without bank conflicts */
};

template <typename T, int D> struct shape {
  static constexpr int blocks = D <= 128 ? 2 : 1;               /* a multiprocessor */
  static constexpr int bytes = ATTEND_TILE * T::token_bytes(D); /* of a stage: a tile's keys, or its values */
  static constexpr int stages = 192 * 1024 / blocks / bytes;
  static constexpr int eights =
      T::coded ? (D / 16 + WARPS - 1) / WARPS * 2 : panels_of(D); /* of dimensions, a warp's */
  static_assert(D % 64 == 0 || D % 64 == 16 || D % 64 == 32, "a last panel of 16 or 32 dimensions");
  static_assert(stages > 2, "a tile being worked on and more in flight");
  static_assert(stages * bytes >= JOIN_PIECES * (32 + PART_TAIL) * 4, "joining stages its rows of parts in the ring");
};

/* --- shared memory --------------------------------------------------------------------------------------------------
 */

/* What warps exchange about a tile. */
struct exchange {
  float highest[ATTEND_PACKED][WARPS];
  float total[WARPS][ATTEND_PACKED][4];
  uint16_t weight[ATTEND_PACKED][WEIGHT_STRIDE];
};

/* The key and value of a step's own token, and room for heads that are being made. */
template <typename T, int D> struct fresh {
  float head[WARPS][head_room(D)];
  static constexpr int bytes = T::coded ? CODE_TOKENS * T::token_bytes(D) : T::token_bytes(D);
  __align__(16) uint8_t key[bytes], value[bytes]; /* in panels of one token, or the first of a group */
};

template <typename T, int D> struct shared {
  uint8_t *ring, *query; /* [stages]; a panelled matrix of 16 rows */
  exchange *meet;
  fresh<T, D> *own;
  work *now;
  uint64_t *full, *empty; /* [stages] */
  static constexpr int bytes = shape<T, D>::stages * (shape<T, D>::bytes + 16) + ATTEND_PACKED * D * 2 +
                               (int)(sizeof(exchange) + sizeof(fresh<T, D>) + sizeof(work));
  static_assert(shape<T, D>::blocks * (bytes + 1024) <= 228 * 1024, "a multiprocessor's shared memory");
};

template <typename T, int D> __device__ shared<T, D> shared_lay(uint8_t *base) {
  shared<T, D> s;
  s.ring = base;
  s.query = base + shape<T, D>::stages * shape<T, D>::bytes;
  s.full = (uint64_t *)(s.query + ATTEND_PACKED * D * 2);
  s.empty = s.full + shape<T, D>::stages;
  s.meet = (exchange *)(s.empty + shape<T, D>::stages);
  s.own = (fresh<T, D> *)(s.meet + 1);
  s.now = (work *)(s.own + 1);
  return s;
}

/* A place in the ring: its stage, and how often the ring has been gone round, modulo 2. */
struct turn {
  int slot;
  uint32_t phase;
};

template <typename T, int D> __device__ __forceinline__ turn turn_next(turn t) {
  return t.slot + 1 < shape<T, D>::stages ? turn{t.slot + 1, t.phase} : turn{0, t.phase ^ 1};
}

/* First of the warp's i-th eight dimensions; from D on there are none. */
template <typename T> __device__ __forceinline__ int eight_of(int i) {
  int warp = threadIdx.x / 32;
  return T::coded ? (i / 2 * WARPS + warp) * 16 + i % 2 * 8 : i * 64 + warp * 8;
}

/* --- copies ------------------------------------------------------------------------------------------------------- */

/* One stage: the keys (which 0) or values (1) from `key` on that are in sight, block by block and panel by panel. */
template <typename T, int D>
__device__ void stage_copy(const cuda_attend &a, const segment &s, const uint32_t *table, int key, int which,
                           uint8_t *to, uint64_t *full, uint64_t policy) {
  constexpr int panels = T::coded ? 1 : panels_of(D), each = T::token_bytes(D);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32 - WARPS, run = min(a.block_size, (int)ATTEND_TILE);
  int begin = max(0, s.seen.begin - key) / run, end = (min((int)ATTEND_TILE, s.seen.end - key) + run - 1) / run;
  /* Each copier arrives, so that none falls behind by a round. */
  if (lane == 0) barrier_expect(full, warp == 0 ? (end - begin) * run * each : 0);
  __syncwarp();
  for (int i = warp + COPIERS * lane; i < (end - begin) * panels; i += COPIERS * 32) {
    int at = begin + i / panels, panel = i % panels, token = (key + at * run) % a.block_size;
    int width = T::coded ? each : panel_width(D, panel) * 2; /* bytes of a token */
    const uint8_t *from = block_at<T>(a, table[(key + at * run) / a.block_size], s.head, which);
    bulk_copy(to + panel * 128 * ATTEND_TILE + at * run * width, from + panel * 128 * a.block_size + token * width,
              run * width, full, policy);
  }
}

/* Tile by tile, keys before values. */
template <typename T, int D>
__device__ void keys_stream(const cuda_attend &a, const cuda_batch &batch, const shared<T, D> &m, walk w) {
  uint64_t policy = policy_evict_first();
  bool waited = a.fresh; /* then this step's keys are not read */
  turn at = {0, 1};      /* of a barrier's first phase the one before is over */
  for (segment s; segment_next(a, batch, &w, &s);) {
    const uint32_t *table = table_of(a, batch, s.r);
    for (int i = 0; i < s.tiles * 2; i++, at = turn_next<T, D>(at)) {
      int key = (s.first_tile + i / 2) * ATTEND_TILE;
      if (!waited && key + ATTEND_TILE > s.r.length) dependencies_wait(), waited = true; /* this step's own keys */
      barrier_wait(&m.empty[at.slot], at.phase);
      stage_copy<T, D>(a, s, table, key, i % 2, m.ring + at.slot * shape<T, D>::bytes, &m.full[at.slot], policy);
    }
  }
}

} // namespace attend_ring

#endif
