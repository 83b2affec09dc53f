/* Linears of few tokens one after the other (linear_few.cu): their arguments, and how their tokens come. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_CHAIN_CUH
#define SPATE_BACKEND_CUDA_LINEAR_CHAIN_CUH

#include "backend/cuda/adapter_kernels.h"
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/linear_between.cuh"
#include "backend/cuda/linear_ring.cuh"

namespace linear_chain {

using namespace linear_ring;
using namespace linear_between;

struct few {
  struct cuda_linear linear;
  const uint4 *tokens; /* [tile of 8][panel][2][lane]: B fragments of two 16-column steps each */
  int n_panel;         /* of 64 columns */
  uint32_t place;      /* where they are in a set, of parts but the first; squares, then peaks follow them */
  streamed weights;
  /* in steps with adapters */
  uint32_t shrunk; /* where h is in a set */
};

/* Linears one after the other, each taking what the one before it has left. */
struct chain {
  few part[LINEAR_CHAIN];
  int n, shift;  /* shift: of results' tokens, 2 to the shift of which a block makes */
  uint32_t used; /* units of a set */
  struct cuda_between between;
  /* in steps with adapters */
  const int8_t *first;
  const struct cuda_adapter_pair *pair;
  const int32_t *n_pair;
  uint4 *partial;         /* [part][partial_units] */
  uint32_t partial_units; /* of 16 bytes */
};

/* Where a part's input is, and where what it leaves goes. */
struct input {
  const uint4 *tokens;
  const float *squares; /* NULL: there is no norm */
  const float *peaks;   /* the greatest magnitude of each 16 columns; NULL: nobody has left them */
};

template <typename S, int TILES> __device__ __forceinline__ input input_of(const chain &c, const uint4 *set, int i) {
  const few &f = c.part[i];
  if (i == 0) return {f.tokens, f.linear.squares, nullptr};
  input in = {set + f.place, nullptr, nullptr};
  const uint4 *after = in.tokens + TILES * f.n_panel * 64;
  if (f.linear.squares) in.squares = (const float *)after, after += TILES * f.n_panel * 8;
  if (S::top > 0) in.peaks = (const float *)after;
  return in;
}

template <typename S, int TILES> __device__ __forceinline__ input output_of(const chain &c, const uint4 *set, int i) {
  const struct cuda_linear &a = c.part[i].linear;
  return i + 1 < c.n ? input_of<S, TILES>(c, set, i + 1)
                     : input{(const uint4 *)a.next_fragments, a.next_squares, nullptr};
}

/* Units of a set that a part's input takes. */
template <typename S, int TILES> uint32_t units_of(const few &f) {
  return TILES * f.n_panel * (64 + (f.linear.squares ? 8 : 0) + (S::top > 0 ? 8 : 0));
}

/* A warp: the scales of 8 tokens, of sums of squares that the linear before leaves; four lanes a token. */
__device__ __forceinline__ void scales_add(const struct cuda_linear &a, const float *squares, float *scale, int first) {
  int token = first + threadIdx.x % 32 / 4, n = squares && token < a.n_row ? a.n_square / 4 : 0;
  const uint4 *from = (const uint4 *)(squares + token * a.n_square);
  float sum;
  bool whole;
  do {
    sum = 0, whole = true;
#pragma unroll 8
    for (int i = threadIdx.x % 4; i < n; i += 4) {
      uint4 x = strong_load(from + i);
      whole &= there(x);
      sum += (__uint_as_float(x.x) + __uint_as_float(x.y)) + (__uint_as_float(x.z) + __uint_as_float(x.w));
    }
  } while (!__all_sync(~0u, whole));
  sum += __shfl_xor_sync(~0u, sum, 2);
  sum += __shfl_xor_sync(~0u, sum, 1);
  float given = a.scales && token < a.n_row ? a.scales[token] : 1; /* of codes */
  scale[token] = squares ? rsqrtf(sum / a.matrix.cols + a.eps) : given;
}

template <int TILES> struct fragments { uint4 low[TILES], high[TILES]; };

/* Of tokens that there are. */
template <int TILES>
__device__ __forceinline__ void fragments_load(fragments<TILES> &b, const few &a, const uint4 *tokens, int panel) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    const uint4 *from = tokens + ((size_t)t * a.n_panel + panel) * 64 + lane;
    bool has = panel < a.n_panel && t * 8 + lane / 4 < a.linear.n_row;
    b.low[t] = strong_load_if(from, has), b.high[t] = strong_load_if(from + 32, has);
  }
}

template <int TILES> __device__ __forceinline__ bool fragments_there(const fragments<TILES> &b) {
  bool all = true;
#pragma unroll
  for (int t = 0; t < TILES; t++) all = all && there(b.low[t]) && there(b.high[t]);
  return __all_sync(~0u, all);
}

/* The panel that a warp multiplies as the d-th from a piece of its own on. */
template <typename S> __device__ __forceinline__ int panel_at(int piece, int d) {
  return (piece + d / S::panels * WARPS) * S::panels + d % S::panels;
}

/* A part's first ones. */
template <typename S, int TILES>
__device__ __forceinline__ void fragments_begin(fragments<TILES> *b, const few &a, const uint4 *tokens, int piece) {
#pragma unroll
  for (int d = 0; d < depth_of<S>(TILES); d++) fragments_load<TILES>(b[d], a, tokens, panel_at<S>(piece, d));
}

/* The same as soon as they are there. Where they are many bytes, a few of them are
 * asked for alone until they are. */
template <typename S, int TILES>
__device__ __forceinline__ void fragments_await(fragments<TILES> *b, const few &a, const uint4 *tokens, int piece) {
  int first = piece * S::panels;
  bool has = first < a.n_panel && threadIdx.x % 32 / 4 < a.linear.n_row;
  while (TILES > 1 && !__all_sync(~0u, there(strong_load_if(tokens + first * 64 + threadIdx.x % 32, has)))) {
  }
  fragments_begin<S, TILES>(b, a, tokens, piece);
  for (bool all = false; !all;) {
    all = true;
#pragma unroll
    for (int d = 0; d < depth_of<S>(TILES); d++)
      if (!fragments_there<TILES>(b[d])) fragments_load<TILES>(b[d], a, tokens, panel_at<S>(piece, d)), all = false;
  }
}

} // namespace linear_chain

#endif
