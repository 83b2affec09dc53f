/* How weights of 4 and 8 bits come into a multiprocessor in linear_coded.cu: which strips a block multiplies, and the
 * rings in shared memory through which the pieces of each warp come, each asked for by the warp that will use it. */
#ifndef SPATE_BACKEND_CUDA_CODED_RING_CUH
#define SPATE_BACKEND_CUDA_CODED_RING_CUH

#include "backend/cuda/coded_few.cuh"
#include "backend/cuda/cuda_kernels.h"

namespace coded {

enum {
  WARPS = 8,
  THREADS = WARPS * 32,
  STRIPS = 2,                     /* that share the tokens' fragments */
  TOKEN_STRIDE = STRIPS * 16 + 4, /* sums of a token: its distance to the next keeps lanes on banks of their own */
};

struct few {
  struct cuda_linear linear;
  const uint4 *tokens; /* [tile of 8][half piece][2][lane]: B fragments of two 16-column steps each */
  int n_strip, n_piece, n_half, unit;
  int piece_bytes, head_bytes; /* head: a strip's F32 scales of rows */
  bool has_min;
};

template <typename C, int TILES> struct shape {
  static constexpr int resident = TILES == 1 ? 2 : 1;   /* blocks on a multiprocessor */
  static constexpr int abreast = TILES == 1 ? 2 : 1;    /* strips whose sums do not wait for one another */
  static constexpr int sums = TILES * 8 * TOKEN_STRIDE; /* of a warp */
  static constexpr int room = (228 / resident - 1) * 1024 - 1024 - 2 * WARPS * sums * 4;
  static constexpr int most = room / (WARPS * C::slot_bytes), slots = most < 12 ? most : 12; /* of a warp */
  static constexpr int shared_bytes = 1024 + 2 * WARPS * sums * 4 + WARPS * slots * C::slot_bytes;
  static_assert(slots >= 4 && slots * WARPS * 8 + 32 * 4 <= 1024, "slots enough to hide a copy, room for barriers");
};

template <typename C, int TILES> struct ring {
  using S = shape<C, TILES>;
  uint64_t *full; /* [slots] of the warp */
  float *scale;   /* [token]: what products are multiplied by: of a norm that the input still lacks */
  float *sums;    /* [2][WARPS][token][TOKEN_STRIDE]: of strips in turn */
  uint8_t *slot;  /* [slots] of the warp */

  __device__ explicit ring(uint8_t *shared) {
    int warp = threadIdx.x / 32;
    full = (uint64_t *)shared + warp * S::slots;
    scale = (float *)(shared + S::slots * WARPS * 8);
    sums = (float *)(shared + 1024);
    slot = shared + 1024 + 2 * WARPS * S::sums * 4 + warp * S::slots * C::slot_bytes;
  }
};

/* Strips that a block multiplies together. */
struct group {
  int strip, n;
};

/* What a block multiplies: all have as many units, give or take one. */
struct share {
  int first, end; /* strips */
};

__device__ __forceinline__ share share_of(const few &f) {
  uint32_t units = f.n_strip / f.unit, block = blockIdx.x;
  return {(int)(units * block / gridDim.x) * f.unit, (int)(units * (block + 1) / gridDim.x) * f.unit};
}

/* A group of a share, from a strip on; n 0: there is none any more. */
__device__ __forceinline__ group group_at(const share &s, int strip) { return {strip, min(STRIPS, s.end - strip)}; }

/* The order in which a warp goes through the pieces of its columns: of each group, piece by piece, strip by strip. */
struct walk {
  share s;
  int first, end; /* pieces of the warp */
  int piece, i;
  group g;
};

__device__ __forceinline__ walk walk_begin(const few &f) {
  int warp = threadIdx.x / 32;
  walk w = {share_of(f), f.n_piece * warp / WARPS, f.n_piece * (warp + 1) / WARPS};
  w.piece = w.first, w.i = 0;
  w.g = group_at(w.s, w.s.first);
  if (w.first == w.end) w.g.n = 0; /* it has nothing */
  return w;
}

__device__ __forceinline__ void walk_next(walk *w) {
  if (++w->i < w->g.n) return;
  w->i = 0;
  if (++w->piece < w->end) return;
  w->piece = w->first;
  w->g = group_at(w->s, w->g.strip + STRIPS);
}

/* A thread: asks for the next piece, if there is one, into a slot. */
template <typename C, int TILES>
__device__ __forceinline__ void piece_ask(const few &f, const ring<C, TILES> &r, walk *w, int slot) {
  if (w->g.n <= 0) return;
  const struct cuda_matrix &m = f.linear.matrix;
  const uint8_t *from =
      m.data + (size_t)(w->g.strip + w->i) * m.strip_bytes + f.head_bytes + (size_t)w->piece * f.piece_bytes;
  barrier_expect(&r.full[slot], f.piece_bytes);
  bulk_copy(r.slot + slot * C::slot_bytes, from, f.piece_bytes, &r.full[slot], policy_evict_first());
  walk_next(w);
}

/* A place in a ring: its slot, and how often the ring has been gone round, modulo 2. */
struct place {
  int slot;
  uint32_t phase;
};

} // namespace coded

#endif
