/* The greatest magnitude of each token of a part's input (linear_few.cuh), of which the scale follows that it is
 * rounded with: from a word for each 16 columns, where the part before has left some, else from the fragments
 * themselves. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_PEAKS_CUH
#define SPATE_BACKEND_CUDA_LINEAR_PEAKS_CUH

#include "backend/cuda/linear_chain.cuh"
#include "backend/cuda/linear_sums.cuh"

namespace linear_chain {

/* A lane's share of words that may still be on their way. */
__device__ __forceinline__ float words_peak(const few &f, const float *peaks, int token) {
  int n = f.n_panel; /* uint4s */
  const uint4 *from = (const uint4 *)peaks + (size_t)token * n;
  float most;
  bool whole;
  do {
    most = 0, whole = true;
#pragma unroll 8
    for (int i = threadIdx.x % 32; i < n; i += 32) {
      uint4 x = strong_load(from + i);
      whole &= there(x);
      most = fmaxf(most, fmaxf(fmaxf(__uint_as_float(x.x), __uint_as_float(x.y)),
                               fmaxf(__uint_as_float(x.z), __uint_as_float(x.w))));
    }
  } while (!__all_sync(~0u, whole));
  return most;
}

/* Of a panel a token has 64 bytes in each of two places. */
__device__ __forceinline__ float panels_peak(const few &f, const uint4 *tokens, int token) {
  const uint4 *from = tokens + (size_t)(token / 8) * f.n_panel * 64 + token % 8 * 4;
  uint4 most = {0, 0, 0, 0}; /* pairs of bf16, whose bits but the sign are in the order of what they mean */
#pragma unroll 8
  for (int i = threadIdx.x % 32; i < f.n_panel * 8; i += 32) {
    uint4 x = strong_load(from + i / 8 * 64 + i % 8 / 4 * 32 + i % 4);
    most.x = __vmaxu2(most.x, x.x & 0x7fff7fff), most.y = __vmaxu2(most.y, x.y & 0x7fff7fff);
    most.z = __vmaxu2(most.z, x.z & 0x7fff7fff), most.w = __vmaxu2(most.w, x.w & 0x7fff7fff);
  }
  uint32_t pair = __vmaxu2(__vmaxu2(most.x, most.y), __vmaxu2(most.z, most.w));
  return __uint_as_float(max(pair << 16, pair & 0xffff0000));
}

/* All warps that multiply; a lane gets those of its tokens. */
template <typename S, int TILES>
__device__ __forceinline__ void peaks_find(const few &f, const input &in, const ring<S, TILES> &r,
                                           float inverse[TILES]) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    int token = t * 8 + warp;
    float peak = 0;
    if (token < f.linear.n_row) peak = in.peaks ? words_peak(f, in.peaks, token) : panels_peak(f, in.tokens, token);
#pragma unroll
    for (int step = 16; step > 0; step /= 2) peak = fmaxf(peak, __shfl_xor_sync(~0u, peak, step));
    if (lane > 0) continue;
    r.factor[token] = peak > 1e-30f ? __fdiv_rn(peak, S::top) * S::unit : 0;
    r.inverse[token] = peak > 1e-30f ? __fdiv_rn(S::top, peak) : 0;
  }
  warps_meet();
#pragma unroll
  for (int t = 0; t < TILES; t++) inverse[t] = r.inverse[t * 8 + lane / 4];
}

} // namespace linear_chain

#endif
