/* The greatest magnitude of each token of a part's input (linear_few.cuh), of which the scale follows that it is
 * rounded with: from a word for each 16 columns, where the part before has left some, else from the fragments
 * themselves. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_PEAKS_CUH
#define SPATE_BACKEND_CUDA_LINEAR_PEAKS_CUH

#include "backend/cuda/linear_chain.cuh"
#include "backend/cuda/linear_sums.cuh"
#include "backend/cuda/peak.cuh"

namespace linear_chain {

/* A lane's share of a token's words; ~0u where one is still on its way. */
__device__ __forceinline__ float words_peak(const few &f, const float *peaks, int token, bool *whole) {
  const uint4 *from = (const uint4 *)peaks + (size_t)token * f.n_panel;
  float most = 0;
#pragma unroll 8
  for (int i = threadIdx.x % 32; i < f.n_panel; i += 32) {
    uint4 x = strong_load(from + i);
    *whole &= there(x);
    most = peak_of(most, peak_of(peak_of(__uint_as_float(x.x), __uint_as_float(x.y)),
                                 peak_of(__uint_as_float(x.z), __uint_as_float(x.w))));
  }
  return most;
}

/* Of a panel a token has 64 bytes in each of two places. */
__device__ __forceinline__ float panels_peak(const few &f, const uint4 *tokens, int token) {
  const uint4 *from = tokens + (size_t)(token / 8) * f.n_panel * 64 + token % 8 * 4;
  uint32_t most = 0; /* a pair of bf16, whose bits but the sign are in the order of what they mean */
#pragma unroll 8
  for (int i = threadIdx.x % 32; i < f.n_panel * 8; i += 32) {
    uint4 x = strong_load(from + i / 8 * 64 + i % 8 / 4 * 32 + i % 4);
    most = __vmaxu2(
        most, __vmaxu2(__vmaxu2(x.x & 0x7fff7fff, x.y & 0x7fff7fff), __vmaxu2(x.z & 0x7fff7fff, x.w & 0x7fff7fff)));
  }
  return __uint_as_float(max(most << 16, most & 0xffff0000));
}

/* A part's first fragments, and of what their tokens are to be rounded with; both are asked for together, again and
 * again where the part before is still at them. All warps that multiply: each finds the peaks of some tokens. */
template <typename S, int TILES>
__device__ __forceinline__ void rounded_await(fragments<TILES> *b, const few &f, const input &in,
                                              const ring<S, TILES> &r, int piece, float inverse[TILES]) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float peak[TILES];
  fragments_begin<S, TILES>(b, f, in.tokens, piece);
  for (bool all = false; !all;) {
    all = true;
#pragma unroll
    for (int t = 0; t < TILES; t++) {
      int token = t * 8 + warp;
      peak[t] = 0;
      if (token >= f.linear.n_row) continue;
      peak[t] = in.peaks ? words_peak(f, in.peaks, token, &all) : panels_peak(f, in.tokens, token);
    }
    all = __all_sync(~0u, all);
#pragma unroll
    for (int d = 0; d < depth_of<S>(TILES); d++)
      if (!fragments_there<TILES>(b[d])) fragments_load<TILES>(b[d], f, in.tokens, panel_at<S>(piece, d)), all = false;
  }
#pragma unroll
  for (int t = 0; t < TILES; t++) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) peak[t] = peak_of(peak[t], __shfl_xor_sync(~0u, peak[t], step));
    if (lane == 0) r.inverse[t * 8 + warp] = peak[t] <= 1e-30f ? 0 : __fdividef(S::top, peak[t]);
  }
  warps_meet(); /* also with those that took the factors of the part before */
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    inverse[t] = r.inverse[t * 8 + lane / 4];
    if (lane == 0) r.factor[t * 8 + warp] = peak[t] <= 1e-30f ? 0 : peak[t] * (S::unit / S::top);
  }
}

} // namespace linear_chain

#endif
