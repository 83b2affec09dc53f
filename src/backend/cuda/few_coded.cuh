/* The schemes of weights of 4 and 8 bits of linear_few.cuh, 1 to 16 tokens in bf16, and which a matrix wants.
 *
 * Weights become bf16 in registers, exactly, by a mask: the eight lowest bits of a bf16, the lowest of its exponent
 * among them, are a whole number of 2⁻¹³³ (numbers below the normal ones, and those of the exponent after them, go on
 * in equal steps), and matrix units multiply such numbers as they are. Tokens are taken 2⁶⁴ times as great, so that
 * products stay far from the ends of a float's range. Four bits have 16 times what they mean where they are the upper
 * half of those eight: in a fragment's rows 8 to 15, whose scale makes good for it.
 *
 * Strips are multiplied two abreast, so that a matrix unit's results are not waited for, and a warp's panels are a loop
 * that the multiprocessor's cache of instructions holds: unrolled, they ran at a third of the rate at which
 * instructions can be issued (SPEED.md). */
#ifndef SPATE_BACKEND_CUDA_FEW_CODED_CUH
#define SPATE_BACKEND_CUDA_FEW_CODED_CUH

#include "backend/cuda/coded_few.cuh"
#include "backend/cuda/linear_few.cuh"

namespace {

enum { STEPS = 8 /* of 16 columns in a unit, which is two panels */ };

struct coded_scheme {
  typedef float sum;
  static constexpr int strips = 4, abreast = 2, buffers = 2, rolled = 1, in_flight = 3, tiles = 2;
  static constexpr bool rounded = false;
  static constexpr float top = 0, unit = 1;
};

/* The operand of a unit's k-th step of 16 columns. */
template <int TILES> __device__ __forceinline__ const uint32_t *step_of(const fragments<TILES> *b, int tile, int k) {
  return (k % 4 < 2 ? &b[k / 4].low[tile].x : &b[k / 4].high[tile].x) + k % 2 * 2;
}

/* A unit's tokens × 2⁶⁴, and sums of their columns as a matrix unit gives them of a matrix of ones. */
template <int TILES, int GROUPS> struct summed {
  fragments<TILES> b[2];
  float sum[GROUPS][TILES][4];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < GROUPS * TILES * 4; i++) sum[i / (TILES * 4)][i / 4 % TILES][i % 4] = 0;
  }

  template <bool SUMS> __device__ __forceinline__ void take(const fragments<TILES> *from) {
    const uint32_t ones[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};
#pragma unroll
    for (int i = 0; i < STEPS * TILES; i++) {
      int k = i / TILES, t = i % TILES;
      const uint32_t *pair = step_of<TILES>(from, t, k);
      if (SUMS) multiply_bf16(sum[k * GROUPS / STEPS][t], ones, pair[0], pair[1]);
      uint32_t *to = (uint32_t *)step_of<TILES>(b, t, k);
      to[0] = coded::pair_times(pair[0], 0x5f805f80), to[1] = coded::pair_times(pair[1], 0x5f805f80);
    }
  }
};

/* --- eight bits with one scale a row, which products get at the end ----------------------------------------------- */

/* From 128 below; products are 2⁻⁶⁹ of what they mean. */
struct int8_code {
  static constexpr float middle = 128, up = 0x1p69f;
  static __device__ __forceinline__ uint32_t even(uint32_t w) {
    uint32_t x; /* one instruction, which two constants keep the compiler from */
    asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(x) : "r"(w), "r"(0x00ff00ff), "r"(0x00800080)); /* (w & …) ^ … */
    return x;
  }
  static __device__ __forceinline__ uint32_t odd(uint32_t w) { return even(w >> 8); }
};

/* Its exponent as bf16's, which is 120 more. */
struct e4m3_code {
  static constexpr float middle = 0, up = 0x1p56f;
  static __device__ __forceinline__ uint32_t even(uint32_t w) { return odd(w << 8); }
  static __device__ __forceinline__ uint32_t odd(uint32_t w) { return (w >> 4 & 0x07f007f0) | (w & 0x80008000); }
};

template <typename CODE> struct byte_scheme : coded_scheme {
  static constexpr int units = 1, panels = 2, head = BYTES_HEAD, piece = PIECE;
  template <int TILES> using operand = summed<TILES, 1>;

  template <int TILES> static __device__ __forceinline__ void begin(summed<TILES, 1> &x, const float *) { x.clear(); }

  template <int TILES> static __device__ __forceinline__ void prepare(summed<TILES, 1> &x, const fragments<TILES> *b) {
    x.template take<CODE::middle != 0>(b);
  }

  template <int TILES>
  static __device__ __forceinline__ void multiply(float (*sum)[TILES][4], const uint8_t *const *from,
                                                  const summed<TILES, 1> &x, int, int lane) {
    int row = lane % 16;
    uint32_t at = row / 8 * 1024 + row % 8 * 128;
#pragma unroll
    for (int pair = 0; pair < STEPS / 2; pair++) {
      uint32_t w[abreast][4];
#pragma unroll
      for (int n = 0; n < abreast; n++)
        matrices_load(w[n], shared_address(from[n]) + at + (((pair * 2 + lane / 16) ^ (row % 8)) << 4));
#pragma unroll
      for (int i = 0; i < 2 * abreast; i++) {
        uint32_t upper = w[i % abreast][i / abreast * 2], lower = w[i % abreast][i / abreast * 2 + 1];
        uint32_t a[4] = {CODE::even(upper), CODE::even(lower), CODE::odd(upper), CODE::odd(lower)};
#pragma unroll
        for (int t = 0; t < TILES; t++) {
          const uint32_t *token = step_of<TILES>(x.b, t, pair * 2 + i / abreast);
          multiply_bf16(sum[i % abreast][t], a, token[0], token[1]);
        }
      }
    }
  }

  template <int TILES> static __device__ __forceinline__ void end(float (*sum)[TILES][4], const summed<TILES, 1> &x) {
#pragma unroll
    for (int i = 0; i < strips * TILES * 4; i++) {
      float *to = &sum[i / (TILES * 4)][i / 4 % TILES][i % 4];
      *to = fmaf(*to, CODE::up, -CODE::middle * x.sum[0][i / 4 % TILES][i % 2]);
    }
  }
};

/* E4M3 with a scale for each row of a piece, whose products are sums of their own. */
struct grouped_scheme : byte_scheme<e4m3_code> {
  static constexpr int head = 0, piece = BYTES_CODES + 64;

  template <int TILES>
  static __device__ __forceinline__ void multiply(float (*total)[TILES][4], const uint8_t *const *from,
                                                  const summed<TILES, 1> &x, int unit, int lane) {
    float products[abreast][TILES][4] = {};
    byte_scheme::multiply<TILES>(products, from, x, unit, lane);
#pragma unroll
    for (int i = 0; i < abreast * TILES * 4; i++) {
      int n = i / (TILES * 4), t = i / 4 % TILES, j = i % 4;
      float scale = ((const float *)(from[n] + BYTES_CODES))[lane / 4 + j / 2 * 8];
      total[n][t][j] = fmaf(scale * e4m3_code::up, products[n][t][j], total[n][t][j]);
    }
  }

  template <int TILES> static __device__ __forceinline__ void end(float (*)[TILES][4], const summed<TILES, 1> &) {}
};

/* Eight bits above a minimum: products of codes from 0 on, and tokens' sums times the minimum. */
struct least_scheme : byte_scheme<int8_code> {
  static constexpr int head = 0, piece = BYTES_CODES + 64;

  template <int TILES> static __device__ __forceinline__ void begin(summed<TILES, 1> &, const float *) {}

  template <int TILES> static __device__ __forceinline__ void prepare(summed<TILES, 1> &x, const fragments<TILES> *b) {
    x.clear();
    x.template take<true>(b);
  }

  template <int TILES>
  static __device__ __forceinline__ void multiply(float (*total)[TILES][4], const uint8_t *const *from,
                                                  const summed<TILES, 1> &x, int unit, int lane) {
    float products[abreast][TILES][4] = {};
    byte_scheme::multiply<TILES>(products, from, x, unit, lane);
#pragma unroll
    for (int i = 0; i < abreast * 2; i++) { /* a strip's rows r or r + 8 */
      int n = i / 2, j = i % 2 * 2;
      float2 by = __half22float2(((const __half2 *)(from[n] + BYTES_CODES))[lane / 4 + j * 4]);
#pragma unroll
      for (int k = 0; k < TILES * 2; k++) {
        float *to = &total[n][k / 2][j + k % 2], least = fmaf(by.y, x.sum[0][k / 2][k % 2], *to);
        *to = fmaf(by.x * int8_code::up, products[n][k / 2][j + k % 2], least);
      }
    }
  }

  template <int TILES> static __device__ __forceinline__ void end(float (*)[TILES][4], const summed<TILES, 1> &) {}
};

/* FP8: tokens are E4M3 too, bf16 of three bits beside the first. That is what E4M3 makes of a token whose scale is a
 * power of two, whichever: none has to be known, and no token is too great or small. */
struct rounded_scheme : byte_scheme<e4m3_code> {
  static constexpr bool rounded = true;

  template <int TILES> static __device__ __forceinline__ void prepare(summed<TILES, 1> &x, const fragments<TILES> *b) {
    fragments<TILES> rounded[2];
#pragma unroll
    for (int i = 0; i < STEPS * TILES; i++) {
      const uint32_t *pair = step_of<TILES>(b, i % TILES, i / TILES);
      uint32_t *to = (uint32_t *)step_of<TILES>(rounded, i % TILES, i / TILES);
      to[0] = pair_shorten(pair[0]), to[1] = pair_shorten(pair[1]);
    }
    x.template take<false>(rounded);
  }

  /* Halves to even. What is no number stays so by its product with 0, which all others leave as they are. */
  static __device__ __forceinline__ uint32_t pair_shorten(uint32_t pair) {
    uint32_t x = (pair + 0x00070007 + (pair >> 4 & 0x00010001)) & 0xfff0fff0;
    return coded::pair_times_plus(pair, 0, x);
  }
};

/* --- four bits ---------------------------------------------------------------------------------------------------- */

/* GROUPS scales for each 128 columns, a unit, with minima or 8 below. A piece is two of cuda_layout.h's. */
template <int GROUPS, bool MIN> struct nibble_scheme : coded_scheme {
  static constexpr int unit_bytes = NIBBLES_CODES + GROUPS * (MIN ? 64 : 32);
  static constexpr int units = 2, panels = 4, head = 0, piece = 2 * unit_bytes;
  template <int TILES> using operand = summed<TILES, GROUPS>;

  template <int TILES> static __device__ __forceinline__ void begin(summed<TILES, GROUPS> &, const float *) {}

  template <int TILES>
  static __device__ __forceinline__ void prepare(summed<TILES, GROUPS> &x, const fragments<TILES> *b) {
    x.clear();
    x.template take<true>(b);
  }

  /* Of the lane's two rows, the scale of their products and the minimum. */
  static __device__ __forceinline__ float4 scales_load(const uint8_t *scales, int lane) {
    uint2 pairs;
    if (MIN) pairs = *(const uint2 *)(scales + lane / 4 * 8);
    if (!MIN) pairs.x = *(const uint32_t *)(scales + lane / 4 * 4);
    float2 low = __half22float2(*(__half2 *)&pairs.x);
    if (!MIN) return {low.x * 0x1p69f, low.x * -8, low.y * 0x1p65f, low.y * -8};
    float2 high = __half22float2(*(__half2 *)&pairs.y);
    return {low.x * 0x1p69f, low.y, high.x * 0x1p65f, high.y};
  }

  template <int TILES>
  static __device__ __forceinline__ void group_scale(float (*total)[4], const float (*products)[4],
                                                     const float (*tokens)[4], float4 by) {
#pragma unroll
    for (int i = 0; i < TILES * 4; i++) {
      int t = i / 4, j = i % 4;
      float least = fmaf(j < 2 ? by.y : by.w, tokens[t][j % 2], total[t][j]);
      total[t][j] = fmaf(j < 2 ? by.x : by.z, products[t][j], least);
    }
  }

  template <int TILES>
  static __device__ __forceinline__ void multiply(float (*total)[TILES][4], const uint8_t *const *from,
                                                  const summed<TILES, GROUPS> &x, int unit, int lane) {
    uint4 word[abreast][2];
#pragma unroll
    for (int i = 0; i < 2 * abreast; i++)
      word[i % abreast][i / abreast] =
          ((const uint4 *)(from[i % abreast] + unit * unit_bytes))[i / abreast * 32 + lane];
#pragma unroll
    for (int g = 0; g < GROUPS; g++) {
      float products[abreast][TILES][4] = {};
#pragma unroll
      for (int i = g * STEPS / GROUPS * abreast; i < (g + 1) * STEPS / GROUPS * abreast; i++) {
        int n = i % abreast, k = i / abreast;
        uint32_t w = (&word[n][k / 4].x)[k % 4], v = w >> 8;
        uint32_t a[4] = {w & 0x000f000f, w & 0x00f000f0, v & 0x000f000f, v & 0x00f000f0};
#pragma unroll
        for (int t = 0; t < TILES; t++) {
          const uint32_t *token = step_of<TILES>(x.b, t, k);
          multiply_bf16(products[n][t], a, token[0], token[1]);
        }
      }
#pragma unroll
      for (int n = 0; n < abreast; n++)
        group_scale<TILES>(total[n], products[n], x.sum[g],
                           scales_load(from[n] + unit * unit_bytes + NIBBLES_CODES + g * (MIN ? 64 : 32), lane));
    }
  }

  template <int TILES> static __device__ __forceinline__ void end(float (*)[TILES][4], const summed<TILES, GROUPS> &) {}
};

/* CHAINS: plain_chains or adapted_chains. */
template <template <typename> class CHAINS>
void coded_run(const struct cuda_linear *linear, int n, const struct cuda_adapted *adapted,
               const struct cuda_between *between, int multiprocessors, cuda_stream stream) {
  const struct cuda_matrix &m = linear->matrix;
  auto run = [=](auto chains) { chains.launch(linear, n, adapted, between, multiprocessors, stream); };
  if (m.kind == KIND_F8 && m.activation == ROUND_E4M3_TOKEN)
    run(CHAINS<rounded_scheme>());
  else if (m.kind == KIND_F8 && m.group)
    run(CHAINS<grouped_scheme>());
  else if (m.kind == KIND_F8)
    run(CHAINS<byte_scheme<e4m3_code>>());
  else if (m.bytes && m.has_min)
    run(CHAINS<least_scheme>());
  else if (m.bytes)
    run(CHAINS<byte_scheme<int8_code>>());
  else if (m.group == 128 && m.has_min)
    run(CHAINS<nibble_scheme<1, true>>());
  else if (m.group == 128)
    run(CHAINS<nibble_scheme<1, false>>());
  else if (m.has_min)
    run(CHAINS<nibble_scheme<4, true>>());
  else
    run(CHAINS<nibble_scheme<4, false>>());
}

} // namespace

#endif
