/* What a block of mixture_few.cu has in shared memory, and the ring of stages through which weights come: 8 pieces of a
 * strip each, one for each warp that multiplies. */
#ifndef SPATE_BACKEND_CUDA_MIXTURE_RING_CUH
#define SPATE_BACKEND_CUDA_MIXTURE_RING_CUH

#include "backend/cuda/linear_between.cuh"
#include "backend/cuda/mixture_kernels.h"

namespace {
namespace mixture {

enum {
  WARPS = MIXTURE_WARPS, /* that multiply; the next one copies */
  MULTIPLIERS = WARPS * 32,
  THREADS = MULTIPLIERS + 32,
  PIECE = 2048, /* bytes of 16 rows × 64 columns */
  STRIP = 16,
  PANEL = 64, /* columns */
  RUN = MIXTURE_RUN,
  IN_FLIGHT = 4, /* stages that are on their way */
};
static_assert((int)RUN == (int)WARPS * PIECE, "a stage has a piece for each warp");

struct work {
  struct cuda_mixture m;
  struct cuda_between between;
  int32_t before_pieces, up_pieces, down_pieces; /* of a strip */
  int32_t up_units, strips;                      /* of an expert: pairs of strips; of the result */
  int32_t slots, stages;                         /* slots: places for tokens, a power of 2 */
  struct mixture_words words;
};

struct block {
  uint8_t *stage;         /* [stages][RUN] */
  uint4 *token;           /* [panel][half][slot][4]: B fragments of two 16-column steps, without the norm's scale */
  float4 *sums;           /* [2 in turn][WARPS][2 strips][tile][32] */
  uint64_t *full, *empty; /* [stages] */
  struct mixture_chosen *chosen;
};

__host__ __device__ constexpr int sum_fours(int tiles) { return WARPS * 2 * tiles * 32; }

__device__ __forceinline__ void multipliers_meet() {
  asm volatile("bar.sync 1, %0;" ::"n"((int)MULTIPLIERS) : "memory");
}

/* A place in the ring: its stage, and how often the ring has been gone round, modulo 2. */
struct turn {
  int slot;
  uint32_t phase;
};

__device__ __forceinline__ void turn_step(turn &t, int stages) {
  if (++t.slot == stages) t.slot = 0, t.phase ^= 1;
}

template <int TILES> __device__ __forceinline__ block block_lay(const work &w, uint8_t *shared) {
  block b;
  b.stage = shared;
  b.token = (uint4 *)(shared + w.stages * RUN);
  b.sums = (float4 *)(b.token + w.slots * w.up_pieces * 8);
  b.full = (uint64_t *)(b.sums + 2 * sum_fours(TILES));
  b.empty = b.full + MIXTURE_STAGES_MOST;
  b.chosen = (struct mixture_chosen *)(b.empty + MIXTURE_STAGES_MOST);
  return b;
}

/* The copying thread's places: where the next run goes, and the last one that it has seen land. */
struct copier {
  const block &b;
  int stages, out;
  turn at, landed;
  uint64_t policy;

  __device__ copier(const block &of, int n) : b(of), stages(n), out(0), at{0, 1}, landed{0, 0} {
    policy = policy_evict_first();
  }

  __device__ __forceinline__ void run(const uint8_t *from, uint32_t bytes) {
    if (out++ >= IN_FLIGHT) barrier_wait(&b.full[landed.slot], landed.phase), turn_step(landed, stages);
    barrier_wait(&b.empty[at.slot], at.phase);
    barrier_expect(&b.full[at.slot], bytes);
    bulk_copy(b.stage + at.slot * RUN, from, bytes, &b.full[at.slot], policy);
    turn_step(at, stages);
  }
};

/* The pieces of n strips side by side, run by run. */
__device__ __forceinline__ void strips_copy(copier &c, const uint8_t *from, int pieces, int n) {
  for (int piece = 0; piece < pieces; piece += WARPS)
    for (int i = 0; i < n; i++)
      c.run(from + ((size_t)i * pieces + piece) * PIECE, (uint32_t)min((int)WARPS, pieces - piece) * PIECE);
}

/* All that the block multiplies of the experts, in its order: nothing waits for what the first of the two linears
 * makes. */
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
}

} // namespace mixture
} // namespace

#endif
