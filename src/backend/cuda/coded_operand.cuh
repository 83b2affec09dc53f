/* Weights of 4 and 8 bits as the A operand of a warpgroup's products, in registers: of a piece's 8 steps of 16 columns
 * two at a time. A warp has 16 rows; a lane's four words of a step are those of mma.m16n8k16.
 *
 * Codes become bf16 by a mask: the eight lowest bits of a bf16, the lowest of its exponent among them, are a whole
 * number of 2⁻¹³³ (numbers below the normal ones, and those of the exponent after them, go on in equal steps). A
 * product with 2⁶⁹ and a sum, one instruction, make an operand of it, which is 2⁻⁶⁴ of what it means: `up` is what
 * sums are multiplied by at the end. RUN: pieces of a copy. */
#ifndef SPATE_BACKEND_CUDA_CODED_OPERAND_CUH
#define SPATE_BACKEND_CUDA_CODED_OPERAND_CUH

#include "backend/cuda/coded_few.cuh"

namespace coded_wide {

/* How scales of groups lie in a piece, after the codes. */
struct scale_shape {
  int group_bytes, lane_bytes, high_at; /* of a group; of rows r and r + 8; from r's to that of r + 8 */
  uint32_t order;                       /* which halves are the two scales */
  bool has_min;                         /* or minima are 8 scales below 0 */
};

static inline scale_shape scale_shape_of(bool has_min) {
  if (has_min) return {64, 8, 4, 0x5410, true};
  return {32, 4, 0, 0x3210, false};
}

__device__ __forceinline__ uint32_t pair_twice(float x) {
  __nv_bfloat162 pair = __float2bfloat162_rn(x);
  return *(uint32_t *)&pair;
}

/* int8: 128 more than the code, in steps; exact. */
struct int8 {
  static constexpr float up = 0x1p64f;
  static __device__ __forceinline__ uint32_t even(uint32_t w) {
    uint32_t x; /* one instruction, which two constants keep the compiler from */
    asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(x) : "r"(w), "r"(0x00ff00ff), "r"(0x00800080)); /* (w & …) ^ … */
    return coded::pair_times_plus(x, 0x62006200, 0xa300a300); /* × 2⁶⁹ − 2⁻⁵⁷ */
  }
  static __device__ __forceinline__ uint32_t odd(uint32_t w) { return even(w >> 8); }
};

struct e4m3 : coded::e4m3 {
  static constexpr float up = 1;
};

/* Eight bits; the scales of rows come at the end. */
template <typename CODE> struct bytes {
  static constexpr int slot_bytes = BYTES_CODES, groups = 1, run = 1;
  static constexpr float up = CODE::up;
  struct scales {};
  struct words {
    uint32_t w[4];
  };

  static __device__ __forceinline__ void scales_load(scales &, const uint8_t *, const scale_shape &, int) {}

  static __device__ __forceinline__ void words_load(words &x, const uint8_t *piece, int two) {
    int lane = threadIdx.x % 32, row = lane % 8;
    matrices_load(x.w, shared_address(piece) + lane % 16 / 8 * 1024 + row * 128 + (((2 * two + lane / 16) ^ row) << 4));
  }

  static __device__ __forceinline__ void operand_make(uint32_t *a, const words &x, const scales &, int step) {
    a[0] = CODE::even(x.w[2 * step]), a[1] = CODE::even(x.w[2 * step + 1]);
    a[2] = CODE::odd(x.w[2 * step]), a[3] = CODE::odd(x.w[2 * step + 1]);
  }
};

/* E4M3 with a scale for each row of a piece, which is rounded to bf16, and its product with the code again. */
struct grouped : bytes<e4m3> {
  static constexpr int slot_bytes = BYTES_CODES + 64;
  static constexpr float up = 0x1p64f; /* so that no scale is too great */
  /* Of the lane's two rows. */
  struct scales {
    uint32_t scale[2];
  };

  static __device__ __forceinline__ void scales_load(scales &s, const uint8_t *piece, const scale_shape &, int) {
    const float *at = (const float *)(piece + BYTES_CODES) + threadIdx.x % 32 / 4;
    s.scale[0] = pair_twice(at[0] * 0x1p56f), s.scale[1] = pair_twice(at[8] * 0x1p56f);
  }

  static __device__ __forceinline__ void operand_make(uint32_t *a, const words &x, const scales &s, int step) {
#pragma unroll
    for (int k = 0; k < 2; k++) {
      a[k] = coded::pair_times(e4m3::even_bits(x.w[2 * step + k]), s.scale[k]);
      a[k + 2] = coded::pair_times(e4m3::odd_bits(x.w[2 * step + k]), s.scale[k]);
    }
  }
};

/* Eight bits above a minimum: from the middle code on, so that what is added is small, and rounding it too. */
struct least : bytes<int8> {
  static constexpr int slot_bytes = BYTES_CODES + 64;
  /* Of the lane's two rows. */
  struct scales {
    uint32_t scale[2], middle[2];
  };

  static __device__ __forceinline__ void scales_load(scales &s, const uint8_t *piece, const scale_shape &, int) {
    const __half2 *at = (const __half2 *)(piece + BYTES_CODES) + threadIdx.x % 32 / 4;
#pragma unroll
    for (int k = 0; k < 2; k++) {
      float2 by = __half22float2(at[8 * k]);
      s.scale[k] = pair_twice(by.x), s.middle[k] = pair_twice(fmaf(128, by.x, by.y) * 0x1p-64f);
    }
  }

  static __device__ __forceinline__ void operand_make(uint32_t *a, const words &x, const scales &s, int step) {
#pragma unroll
    for (int k = 0; k < 2; k++) {
      a[k] = coded::pair_times_plus(int8::even(x.w[2 * step + k]), s.scale[k], s.middle[k]);
      a[k + 2] = coded::pair_times_plus(int8::odd(x.w[2 * step + k]), s.scale[k], s.middle[k]);
    }
  }
};

/* Four bits, GROUPS scales a piece. Codes of rows 8 to 15 are the upper half of the eight bits, 16 times what they
 * mean. What rounding takes from a scale its minimum gets, for codes in the middle. */
template <int GROUPS> struct nibbles {
  static constexpr int slot_bytes = NIBBLES_CODES + GROUPS * 64, groups = GROUPS, run = 2;
  static constexpr float up = 0x1p64f;
  /* Of the lane's two rows. */
  struct scales {
    uint32_t scale[2], min[2];
  };
  struct words {
    uint2 w;
  };

  static __device__ __forceinline__ void scale_make(uint32_t &scale, uint32_t &min, float s, float m, bool has_min,
                                                    float times) {
    float rounded = __uint_as_float(pair_twice(s) & 0xffff0000);
    scale = pair_twice(rounded * times);
    min = pair_twice((has_min ? fmaf(7.5f, s - rounded, m) : -8 * rounded) * 0x1p-64f);
  }

  static __device__ __forceinline__ void scales_load(scales &s, const uint8_t *piece, const scale_shape &shape,
                                                     int two) {
    const uint8_t *at =
        piece + NIBBLES_CODES + two * GROUPS / 4 * shape.group_bytes + threadIdx.x % 32 / 4 * shape.lane_bytes;
    uint32_t low = *(const uint32_t *)at, high = *(const uint32_t *)(at + shape.high_at);
    uint32_t both = __byte_perm(low, high, shape.order), minima = __byte_perm(low, high, 0x7632);
    float2 scale = __half22float2(*(__half2 *)&both), min = __half22float2(*(__half2 *)&minima);
    scale_make(s.scale[0], s.min[0], scale.x, min.x, shape.has_min, 0x1p69f);
    scale_make(s.scale[1], s.min[1], scale.y, min.y, shape.has_min, 0x1p65f);
  }

  static __device__ __forceinline__ void words_load(words &x, const uint8_t *piece, int two) {
    x.w = *(const uint2 *)(piece + two / 2 * 512 + threadIdx.x % 32 * 16 + two % 2 * 8);
  }

  static __device__ __forceinline__ void operand_make(uint32_t *a, const words &x, const scales &s, int step) {
    uint32_t w = step ? x.w.y : x.w.x;
#pragma unroll
    for (int k = 0; k < 4; k++)
      a[k] = coded::pair_times_plus((k < 2 ? w : w >> 8) & (k % 2 ? 0x00f000f0 : 0x000f000f), s.scale[k % 2],
                                    s.min[k % 2]);
  }
};

/* E2M1 in the place of four bits, with bf16 scales of 32 columns (MXFP4): a sign, two bits of an exponent and one of a
 * fraction, in the places where bf16 has them, are 2⁻¹²⁷ of what the codebook says. Exact, as scales are powers of two, of those from 2⁻⁶⁹ to
 * 2⁶⁴. */
struct e2m1 : nibbles<4> {
  static constexpr int slot_bytes = NIBBLES_CODES + 128;
  /* Of the lane's two rows. */
  struct scales {
    uint32_t scale[2];
  };

  static __device__ __forceinline__ void scales_load(scales &s, const uint8_t *piece, const scale_shape &, int two) {
    uint32_t both = *(const uint32_t *)(piece + NIBBLES_CODES + two * 32 + threadIdx.x % 32 / 4 * 4);
    s.scale[0] = coded::pair_times(__byte_perm(both, both, 0x1010), 0x5f005f00); /* × 2⁶³ */
    s.scale[1] = coded::pair_times(__byte_perm(both, both, 0x3232), 0x5f005f00);
  }

  static __device__ __forceinline__ void operand_make(uint32_t *a, const words &x, const scales &s, int step) {
    uint32_t w = step ? x.w.y : x.w.x;
    const uint32_t sign[4] = {w << 12, w << 8, w << 4, w}, rest[4] = {w << 6, w << 2, w >> 2, w >> 6};
#pragma unroll
    for (int k = 0; k < 4; k++)
      a[k] = coded::pair_times((sign[k] & 0x80008000) | (rest[k] & 0x01c001c0), s.scale[k % 2]);
  }
};

} // namespace coded_wide

#endif
