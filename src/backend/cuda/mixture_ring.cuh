/* What a block of mixture_few.cu has in shared memory, and the ring of stages through which weights come: 8 pieces of a
 * strip each, one for each warp that multiplies. */
#ifndef SPATE_BACKEND_CUDA_MIXTURE_RING_CUH
#define SPATE_BACKEND_CUDA_MIXTURE_RING_CUH

#include "backend/cuda/linear_between.cuh"
#include "backend/cuda/mixture_kernels.h"

namespace {
namespace mixture {

enum {
  WARPS = MIXTURE_WARPS, /* that multiply */
  MULTIPLIERS = WARPS * 32,
  COPIER = WARPS, /* the next two: one copies, one adds up the norm of the linear after */
  SCALER,
  THREADS = (SCALER + 1) * 32,
  PIECE = 2048, /* bytes of 16 rows × 64 columns */
  STRIP = 16,
  PANEL = 64, /* columns */
  RUN = MIXTURE_RUN,
  IN_FLIGHT = 3,     /* stages that are on their way */
  GENTLY = 1,        /* while others wait for words, or for what attention reads */
  NEAR_BYTES = 8192, /* come to the second-level cache at a time, */
  NEAR_TIMES = 8,
  NEAR_CYCLES = 700, /* so many after the last: words that are waited for go the same way */
};
static_assert((int)RUN == (int)WARPS * PIECE, "a stage has a piece for each warp");

struct work {
  struct cuda_mixture m;
  struct cuda_between between;
  int32_t before_pieces, up_pieces, down_pieces; /* of a strip */
  int32_t up_units, strips;                      /* of an expert: pairs of strips; of the result */
  int32_t slots, stages;                         /* slots: places for tokens, a power of 2 */
  int32_t after_pieces, after_strips;
  int32_t held, held_strips; /* stages that are a ring of their own, of the linear before and strips of the one after */
  struct mixture_words words;
};

struct block {
  uint8_t *stage;         /* [stages][RUN] */
  uint4 *token;           /* [panel][half][slot][4]: B fragments of two 16-column steps, without the norm's scale */
  float4 *sums;           /* [2 in turn][WARPS][2 strips][tile][32] */
  uint64_t *full, *empty; /* [stages] */
  uint64_t *scaled;       /* once: the norm of the linear after is there; */
  uint64_t *awaited;      /* what kernels before have left is there */
  struct mixture_chosen *chosen;
};

__host__ __device__ constexpr int sum_fours(int tiles) { return WARPS * 2 * tiles * 32; }

__device__ __forceinline__ void multipliers_meet() {
  asm volatile("bar.sync 1, %0;" ::"n"((int)MULTIPLIERS) : "memory");
}

/* A place in a ring of the stages from begin to end: a stage, and how often each stage has been filled, modulo 2. */
struct turn {
  int slot, begin, end;
  uint32_t phases;
};

__device__ __forceinline__ uint32_t phase_of(const turn &t) { return t.phases >> t.slot & 1; }

__device__ __forceinline__ void turn_step(turn &t) {
  t.phases ^= 1u << t.slot;
  if (++t.slot == t.end) t.slot = t.begin;
}

/* Of all but what is held of the linear after, and of that. */
__device__ __forceinline__ turn main_ring(const work &w) { return {0, 0, w.stages - w.held, 0}; }
__device__ __forceinline__ turn held_ring(const work &w) { return {w.stages - w.held, w.stages - w.held, w.stages, 0}; }

template <int TILES> __device__ __forceinline__ block block_lay(const work &w, uint8_t *shared) {
  block b;
  b.stage = shared;
  b.token = (uint4 *)(shared + w.stages * RUN);
  b.sums = (float4 *)(b.token + w.slots * w.up_pieces * 8);
  b.full = (uint64_t *)(b.sums + 2 * sum_fours(TILES));
  b.empty = b.full + MIXTURE_STAGES_MOST;
  b.scaled = b.empty + MIXTURE_STAGES_MOST;
  b.awaited = b.scaled + 1;
  b.chosen = (struct mixture_chosen *)(b.scaled + 2);
  return b;
}

/* The copying thread's places: where the next run goes, and the last one that it has seen land, which may be behind by
 * one turn of the ring: a barrier tells its last phase, not that it had two. */
struct copier {
  const block &b;
  uint64_t *until; /* what comes before many may be in flight */
  int most, out;   /* so many, of one turn of the ring at most; how many there may be */
  turn at, landed;
  uint64_t policy;

  __device__ copier(const block &of, const turn &ring) : b(of), until(of.awaited), most(MIXTURE_STAGES_MOST) {
    policy = policy_evict_first();
    begin(ring);
  }

  /* Of a barrier's first phase the one before is over. */
  __device__ __forceinline__ void begin(const turn &ring) {
    out = 0, at = landed = ring;
    at.phases = ~ring.phases;
  }

  __device__ __forceinline__ void run(const uint8_t *from, uint32_t bytes) {
    while (out >= (barrier_passed(until, 0) ? min(most, at.end - at.begin) : GENTLY))
      if (barrier_passed(&b.full[landed.slot], phase_of(landed))) turn_step(landed), out--;
    barrier_wait(&b.empty[at.slot], phase_of(at));
    barrier_expect(&b.full[at.slot], bytes);
    bulk_copy(b.stage + at.slot * RUN, from, bytes, &b.full[at.slot], policy);
    turn_step(at), out++;
  }
};

/* The pieces of n strips side by side, run by run. */
__device__ __forceinline__ void strips_copy(copier &c, const uint8_t *from, int pieces, int n) {
  for (int piece = 0; piece < pieces; piece += WARPS)
    for (int i = 0; i < n; i++)
      c.run(from + ((size_t)i * pieces + piece) * PIECE, (uint32_t)min((int)WARPS, pieces - piece) * PIECE);
}

/* Strips of the linear after, from the block's i-th to the one before its n-th. */
__device__ __forceinline__ void after_stream(const work &w, copier &c, int i, int n) {
  for (int strip = blockIdx.x + i * gridDim.x; i < n && strip < w.after_strips; i++, strip += gridDim.x)
    strips_copy(c, w.m.after.matrix.data + (size_t)strip * w.after_pieces * PIECE, w.after_pieces, 1);
}

/* Those that are held, while memory has nothing else to do. */
__device__ __forceinline__ void held_stream(const work &w, copier &c) {
  turn next = c.at;
  c.begin(held_ring(w));
  after_stream(w, c, 0, w.held_strips);
  next.phases = ~next.phases;
  c.begin(next), c.most = IN_FLIGHT;
}

/* The first of those that are not held to the second-level cache, while tokens, logits and the choice are made, when
 * memory has nothing to do. */
__device__ __forceinline__ void after_bring_near(const work &w) {
  bool idle = w.m.router.matrix.data && w.m.after.matrix.data;
  int strip = blockIdx.x + w.held_strips * gridDim.x, bytes = w.after_pieces * PIECE, times = 0;
  for (; idle && strip < w.after_strips; strip += gridDim.x)
    for (int at = 0; at < bytes; at += NEAR_BYTES) {
      if (times++ == NEAR_TIMES) return;
      bulk_bring(w.m.after.matrix.data + (size_t)strip * bytes + at, min((int)NEAR_BYTES, bytes - at));
      for (int64_t until = clock64() + NEAR_CYCLES; clock64() < until;) {
      }
    }
}

/* All else that the block multiplies from the choice on, in its order: nothing waits for what the linears make. */
__device__ __forceinline__ void weights_stream(const work &w, const block &b, copier &c) {
  const struct mixture_chosen &e = *b.chosen;
  for (int u = blockIdx.x; u < e.n * w.up_units; u += gridDim.x) {
    const uint8_t *expert = w.m.up.matrix.data + e.active[u / w.up_units] * w.m.up_bytes;
    strips_copy(c, expert + (size_t)(u % w.up_units) * 2 * w.up_pieces * PIECE, w.up_pieces, 2);
  }
  for (int strip = blockIdx.x; strip < w.strips; strip += gridDim.x)
    for (int a = 0; a < e.n; a++)
      strips_copy(c, w.m.down.matrix.data + e.active[a] * w.m.down_bytes + (size_t)strip * w.down_pieces * PIECE,
                  w.down_pieces, 1);
  after_stream(w, c, w.held_strips, w.after_strips);
}

} // namespace mixture
} // namespace

#endif
