/* Weights of 4 and 8 bits as bf16 operands of a matrix unit, made in registers from what cuda_layout.h packs: exact, as
 * codes are small integers or have fewer bits than bf16. A `coding` multiplies a piece, 16 rows × 128 columns, with
 * fragments of tokens.
 *
 * Issue slots of 2,048 weights in a warp: some 90 (4 bits) and 170 (8 bits) instructions, of four a cycle that a
 * multiprocessor has while 40 and 20 weights come from memory: half of them at most. */
#ifndef SPATE_BACKEND_CUDA_CODED_FEW_CUH
#define SPATE_BACKEND_CUDA_CODED_FEW_CUH

#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/instructions.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace coded {

enum { STEPS = 8 /* of 16 columns in a piece */ };

/* The tokens' B fragments of a piece: a pair of steps in each. */
template <int TILES> struct fragments { uint4 pair[TILES][STEPS / 2]; };

template <int TILES>
__device__ __forceinline__ void step_multiply(float sum[TILES][4], const uint32_t w[4], const fragments<TILES> &b,
                                              int step) {
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    const uint32_t *x = &b.pair[t][step / 2].x + step % 2 * 2;
    multiply_bf16(sum[t], w, x[0], x[1]);
  }
}

__device__ __forceinline__ uint32_t pair_times(uint32_t a, uint32_t b) {
  __nv_bfloat162 x = __hmul2(*(__nv_bfloat162 *)&a, *(__nv_bfloat162 *)&b);
  return *(uint32_t *)&x;
}

__device__ __forceinline__ uint32_t pair_times_plus(uint32_t a, uint32_t b, uint32_t c) {
  __nv_bfloat162 x = __hfma2(*(__nv_bfloat162 *)&a, *(__nv_bfloat162 *)&b, *(__nv_bfloat162 *)&c);
  return *(uint32_t *)&x;
}

__device__ __forceinline__ uint32_t pair_minus(uint32_t a, uint32_t b) {
  __nv_bfloat162 x = __hsub2(*(__nv_bfloat162 *)&a, *(__nv_bfloat162 *)&b);
  return *(uint32_t *)&x;
}

/* The bits of a mask, and others set: one instruction. */
__device__ __forceinline__ uint32_t bits_merge(uint32_t w, uint32_t mask, uint32_t others) {
  uint32_t x;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(x) : "r"(w), "r"(mask), "r"(others));
  return x;
}

/* E4M3 in bytes 0 and 2: its exponent as bf16's, which is 120 more. */
struct e4m3 {
  static __device__ __forceinline__ uint32_t even_bits(uint32_t w) {
    return (w << 4 & 0x07f007f0) | (w << 8 & 0x80008000);
  }
  static __device__ __forceinline__ uint32_t odd_bits(uint32_t w) { return (w >> 4 & 0x07f007f0) | (w & 0x80008000); }
  static __device__ __forceinline__ uint32_t even(uint32_t w) { return pair_times(even_bits(w), 0x7b807b80); }
  static __device__ __forceinline__ uint32_t odd(uint32_t w) { return pair_times(odd_bits(w), 0x7b807b80); }
};

/* Two's complement in bytes 0 and 2: 128 + the low bits, less 128 or 256. */
struct int8 {
  static __device__ __forceinline__ uint32_t even(uint32_t w) {
    return pair_minus(bits_merge(w, 0x007f007f, 0x43004300), bits_merge(w, 0x00800080, 0x43004300));
  }
  static __device__ __forceinline__ uint32_t odd(uint32_t w) { return even(w >> 8); }
};

/* Eight bits, one scale a row: which products get at the end. */
template <typename CODE> struct bytes {
  static constexpr int slot_bytes = BYTES_CODES;
  template <int TILES> struct helpers {};

  template <int TILES> static __device__ __forceinline__ void prepare(helpers<TILES> &, const fragments<TILES> &) {}

  template <int TILES, int N>
  static __device__ __forceinline__ void multiply(float (*sum)[TILES][4], const uint8_t *const piece[N], bool,
                                                  const fragments<TILES> &b, const helpers<TILES> &, int lane) {
    int row = lane % 16;
    uint32_t at = row / 8 * 1024 + row % 8 * 128, w[N][4];
#pragma unroll
    for (int k = 0; k < STEPS / 2; k++) {
#pragma unroll
      for (int n = 0; n < N; n++)
        matrices_load(w[n], shared_address(piece[n]) + at + (((2 * k + lane / 16) ^ (row % 8)) << 4));
#pragma unroll
      for (int i = 0; i < 2 * N; i++) {
        const uint32_t *half = w[i % N] + i / N * 2;
        uint32_t a[4] = {CODE::even(half[0]), CODE::even(half[1]), CODE::odd(half[0]), CODE::odd(half[1])};
        step_multiply<TILES>(sum[i % N], a, b, 2 * k + i / N);
      }
    }
  }
};

/* Eight bits, a scale for each row of a piece. */
template <typename CODE> struct grouped : bytes<CODE> {
  static constexpr int slot_bytes = BYTES_CODES + 64;
  template <int TILES> using helpers = typename bytes<CODE>::template helpers<TILES>;

  template <int TILES, int N>
  static __device__ __forceinline__ void multiply(float (*total)[TILES][4], const uint8_t *const piece[N], bool,
                                                  const fragments<TILES> &b, const helpers<TILES> &h, int lane) {
    float sum[N][TILES][4] = {};
    bytes<CODE>::template multiply<TILES, N>(sum, piece, false, b, h, lane);
#pragma unroll
    for (int i = 0; i < N * TILES * 4; i++) {
      int n = i / (TILES * 4), t = i / 4 % TILES, j = i % 4;
      const float *scale = (const float *)(piece[n] + BYTES_CODES);
      total[n][t][j] = fmaf(scale[lane / 4 + j / 2 * 8], sum[n][t][j], total[n][t][j]);
    }
  }
};

/* Of a lane's two tokens, the sums of their columns in each of GROUPS runs of a piece. */
template <int GROUPS, int TILES> struct token_sums { float sum[GROUPS][TILES][2]; };

template <int GROUPS, int TILES>
__device__ __forceinline__ void tokens_sum(token_sums<GROUPS, TILES> &h, const fragments<TILES> &b) {
  const uint32_t ones[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};
#pragma unroll
  for (int g = 0; g < GROUPS; g++) {
    float sum[TILES][4] = {};
#pragma unroll
    for (int s = 0; s < STEPS / GROUPS; s++) step_multiply<TILES>(sum, ones, b, g * (STEPS / GROUPS) + s);
#pragma unroll
    for (int t = 0; t < TILES; t++) h.sum[g][t][0] = sum[t][0], h.sum[g][t][1] = sum[t][1];
  }
}

/* scale: of the lane's two rows, the scale and what is added for each 1 of a token's sum. */
template <int TILES>
__device__ __forceinline__ void scales_apply(float total[TILES][4], const float sum[TILES][4], float4 scale,
                                             const float (*tokens)[2]) {
#pragma unroll
  for (int t = 0; t < TILES; t++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      total[t][i] =
          fmaf(i < 2 ? scale.x : scale.z, sum[t][i], fmaf(i < 2 ? scale.y : scale.w, tokens[t][i % 2], total[t][i]));
}

/* Eight bits, an fp16 scale and minimum for each row of a piece. */
struct least : bytes<int8> {
  static constexpr int slot_bytes = BYTES_CODES + 64;
  template <int TILES> using helpers = token_sums<1, TILES>;

  template <int TILES> static __device__ __forceinline__ void prepare(helpers<TILES> &h, const fragments<TILES> &b) {
    tokens_sum<1, TILES>(h, b);
  }

  template <int TILES, int N>
  static __device__ __forceinline__ void multiply(float (*total)[TILES][4], const uint8_t *const piece[N], bool,
                                                  const fragments<TILES> &b, const helpers<TILES> &h, int lane) {
    float sum[N][TILES][4] = {};
    bytes<int8>::multiply<TILES, N>(sum, piece, false, b, {}, lane);
#pragma unroll
    for (int n = 0; n < N; n++) {
      const __half2 *at = (const __half2 *)(piece[n] + BYTES_CODES) + lane / 4;
      float2 low = __half22float2(at[0]), high = __half22float2(at[8]);
      float4 scale = {low.x, low.y + 128 * low.x, high.x, high.y + 128 * high.x};
      scales_apply<TILES>(total[n], sum[n], scale, h.sum[0]);
    }
  }
};

/* Four bits, GROUPS scales a piece, fp16, with minima or 8 below: each group has sums of its own, of 128 + the code,
 * and what is to be added for each token's sum. */
template <int GROUPS> struct nibbles {
  static constexpr int slot_bytes = 1024 + GROUPS * 64;
  template <int TILES> using helpers = token_sums<GROUPS, TILES>;

  template <int TILES> static __device__ __forceinline__ void prepare(helpers<TILES> &h, const fragments<TILES> &b) {
    tokens_sum<GROUPS, TILES>(h, b);
  }

  /* Of the lane's two rows, the scale and what is added for each 1 of a token's sum. */
  static __device__ __forceinline__ float4 scales_load(const uint8_t *piece, int group, bool has_min, int lane) {
    if (has_min) {
      uint2 x = *(const uint2 *)(piece + 1024 + group * 64 + lane / 4 * 8);
      float2 low = __half22float2(*(__half2 *)&x.x), high = __half22float2(*(__half2 *)&x.y);
      return {low.x, low.y - 128 * low.x, high.x, high.y - 128 * high.x};
    }
    float2 scale = __half22float2(*(const __half2 *)(piece + 1024 + group * 32 + lane / 4 * 4));
    return {scale.x, -136 * scale.x, scale.y, -136 * scale.y};
  }

  template <int TILES, int N>
  static __device__ __forceinline__ void multiply(float (*total)[TILES][4], const uint8_t *const piece[N], bool has_min,
                                                  const fragments<TILES> &b, const helpers<TILES> &h, int lane) {
    uint4 word[N][2];
#pragma unroll
    for (int i = 0; i < 2 * N; i++) word[i / 2][i % 2] = ((const uint4 *)piece[i / 2])[i % 2 * 32 + lane];
#pragma unroll
    for (int g = 0; g < GROUPS; g++) {
      float sum[N][TILES][4] = {};
      float4 scale[N];
#pragma unroll
      for (int n = 0; n < N; n++) scale[n] = scales_load(piece[n], g, has_min, lane);
#pragma unroll
      for (int i = g * (STEPS / GROUPS) * N; i < (g + 1) * (STEPS / GROUPS) * N; i++) {
        int n = i % N, s = i / N;
        uint32_t w = (&word[n][s / 4].x)[s % 4], a[4];
#pragma unroll
        for (int k = 0; k < 4; k++) a[k] = bits_merge(w >> 4 * k, 0x000f000f, 0x43004300);
        step_multiply<TILES>(sum[n], a, b, s);
      }
#pragma unroll
      for (int n = 0; n < N; n++) scales_apply<TILES>(total[n], sum[n], scale[n], h.sum[g]);
    }
  }
};

} // namespace coded

#endif
