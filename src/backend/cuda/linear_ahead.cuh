/* Weights on their way to linear_few.cuh's ring that are brought into the second-level cache before there is room for
 * them: while the ring is full, and at a launch's end those of the next one. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_AHEAD_CUH
#define SPATE_BACKEND_CUDA_LINEAR_AHEAD_CUH

#include "backend/cuda/linear_finish.cuh"

namespace linear_chain {

/* A run among all that a block copies. */
struct cursor {
  int part, round, piece, i;
  group g;
};

template <typename S, int TILES> __device__ void cursor_settle(const chain &c, cursor *at) {
  while (at->part < c.n && (at->g = group_of<S, TILES>(c.part[at->part].weights, at->round)).n == 0)
    at->part++, at->round = 0;
}

template <typename S, int TILES> __device__ void cursor_next(const chain &c, cursor *at) {
  if (++at->i < at->g.n) return;
  at->i = 0, at->piece += WARPS;
  if (at->piece < c.part[at->part].weights.n_piece) return;
  at->piece = 0, at->round++;
  cursor_settle<S, TILES>(c, at);
}

struct run_bytes {
  const uint8_t *from;
  uint32_t bytes;
};

template <typename S> __device__ run_bytes run_at(const chain &c, const cursor &at) {
  const streamed &w = c.part[at.part].weights;
  return {w.data + strip_of(w, at.g, at.i) * w.strip_bytes + at.piece * S::piece,
          (uint32_t)min(WARPS, w.n_piece - at.piece) * S::piece};
}

/* Copies, and while the ring is full and nothing leaves it, asks for S::ahead runs beyond it to come as near as the
 * second-level cache. */
template <typename S, int TILES> __device__ void runs_stream(const chain &c, const ring<S, TILES> &r) {
  copier copies = {{0, 1}, {0, 0}, 0};
  uint64_t first = policy_evict_first(), last = policy_evict_last();
  cursor now = {}, far;
  int lead = 0; /* runs from now to far */
  cursor_settle<S, TILES>(c, &now);
  for (far = now; now.part < c.n;) {
    uint64_t *empty = &r.empty[copies.at.slot];
    while (lead < S::ahead && far.part < c.n && !barrier_test(empty, copies.at.phase)) {
      cursor_next<S, TILES>(c, &far);
      if (far.part == c.n) break;
      run_bytes run = run_at<S>(c, far);
      bulk_prefetch(run.from, run.bytes, last);
      lead++;
    }
    run_bytes run = run_at<S>(c, now);
    run_stream<S, TILES>(run.from, run.bytes, first, r, &copies);
    cursor_next<S, TILES>(c, &now);
    if (lead > 0)
      lead--;
    else
      far = now;
  }
}

/* What the next launch begins with. */
template <typename S> __device__ void next_prefetch(const chain &c) {
  enum { BYTES = 16 << 10 };
  uint64_t policy = policy_evict_last();
  for (int k = 0; k < BETWEEN_AHEAD; k++)
    for (uint32_t at = blockIdx.x * BYTES; at < c.between.ahead[k].bytes; at += gridDim.x * BYTES)
      bulk_prefetch(c.between.ahead[k].from + at, min(BYTES, c.between.ahead[k].bytes - at), policy);
}

} // namespace linear_chain

#endif
