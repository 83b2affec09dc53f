/* Products of linear_few.cuh as a loop over panels, of schemes that unpack weights: unrolled, their instructions came
 * three times as slowly as they can be issued. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_ROLL_CUH
#define SPATE_BACKEND_CUDA_LINEAR_ROLL_CUH

#include "backend/cuda/linear_finish.cuh"

namespace linear_chain {

/* The warp's pieces of n strips as soon as they are there; where there are fewer, the first again. */
template <typename S, int TILES>
__device__ __forceinline__ void pieces_await(const ring<S, TILES> &r, int n, turn t, const uint8_t **piece) {
#pragma unroll
  for (int i = 0; i < strips_of<S>(TILES); i++) {
    piece[i] = i < n ? r.bytes + t.slot * run_of<S>() + threadIdx.x / 32 * S::piece : piece[0];
    if (i < n) barrier_wait(&r.full[t.slot], t.phase);
    if (i < n) t = turn_next<S, TILES>(t);
  }
}

/* And when they are done with. */
template <typename S, int TILES> __device__ __forceinline__ turn pieces_free(const ring<S, TILES> &r, int n, turn t) {
#pragma unroll 1
  for (int i = 0; i < n; i++, t = turn_next<S, TILES>(t)) barrier_arrive(&r.empty[t.slot]);
  return t;
}

/* A group's products: a piece is S::units of two panels, and of each unit all strips are multiplied before the next. */
template <typename S, int TILES>
__device__ __forceinline__ void group_roll(const few &a, const uint4 *tokens, bool fresh, const ring<S, TILES> &r,
                                           int n, fragments<TILES> *b, const float *inverse,
                                           typename S::sum (*sum)[TILES][4], turn *at) {
  span s = span_of<TILES>(a.weights);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, panel = (s.begin + warp) * S::panels;
  typename S::template operand<TILES> x;
  S::template begin<TILES>(x, inverse);
#pragma unroll 1
  for (int run = s.begin; run < s.end; run += WARPS) {
    const uint8_t *piece[strips_of<S>(TILES)];
    pieces_await<S, TILES>(r, n, *at, piece);
#pragma unroll 1
    for (int unit = 0; unit < S::units; unit++) {
      while (fresh && !(fragments_there<TILES>(b[0]) && fragments_there<TILES>(b[1])))
        fragments_load<TILES>(b[0], a, tokens, panel), fragments_load<TILES>(b[1], a, tokens, panel + 1);
      S::template prepare<TILES>(x, b);
      panel += unit + 1 < S::units ? 2 : (WARPS - 1) * S::panels + 2;
      if (unit + 1 == S::units && run + WARPS >= s.end) panel = (s.begin + warp) * S::panels;
      fragments_load<TILES>(b[0], a, tokens, panel), fragments_load<TILES>(b[1], a, tokens, panel + 1);
#pragma unroll
      for (int i = 0; i < strips_of<S>(TILES); i += S::abreast)
        if (i < n && run + warp < s.end) S::template multiply<TILES>(sum + i, piece + i, x, unit, lane);
    }
    *at = pieces_free<S, TILES>(r, n, *at);
  }
  S::template end<TILES>(sum, x);
}

} // namespace linear_chain

#endif
