/* Types of KV caches on the matrix units: where a token's key or value is, and as what it is multiplied. Numbers of 16
 * bits are in panels (attend.cuh), and queries and weights are rounded to the same type. Codes of 8 bits are widened:
 * code × scale, rounded to fp16 (attend_codes.cuh), is what an fp16 cache would have held, and everything else is as
 * there. */
#ifndef SPATE_BACKEND_CUDA_ATTEND_TYPE_CUH
#define SPATE_BACKEND_CUDA_ATTEND_TYPE_CUH

#include "backend/cuda/attend.cuh"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

template <bool BFLOAT> struct cache_panels {
  static constexpr bool bfloat = BFLOAT, coded = false;
  static __host__ __device__ constexpr int token_bytes(int dim) { return dim * 2; }

  static __device__ __forceinline__ uint32_t pair(float x, float y) {
    if constexpr (BFLOAT) {
      __nv_bfloat162 both = __floats2bfloat162_rn(x, y);
      return *(const uint32_t *)&both;
    } else {
      __half2 both = __floats2half2_rn(x, y);
      return *(const uint32_t *)&both;
    }
  }
  static __device__ __forceinline__ void multiply(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    if constexpr (BFLOAT)
      multiply_bf16(d, a, b0, b1);
    else
      multiply_f16(d, a, b0, b1);
  }
};

template <bool E4M3> struct cache_codes : cache_panels<false> {
  static constexpr bool coded = true;
  static constexpr float most = E4M3 ? 448 : 127, unit = E4M3 ? 256 : 128; /* the greatest code; of a scale */
  static __host__ __device__ constexpr int token_bytes(int dim) { return dim + 4; }

  static __device__ __forceinline__ uint32_t code(float x) {
    if constexpr (E4M3) return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
    return (uint32_t)(__float2int_rn(x) + 128);
  }
  /* Bytes 0 and 2, 1 and 3 of a word as pairs: codes, of E4M3 their 256th, of integers their 128th. */
  static __device__ __forceinline__ void widen(uint32_t word, uint32_t *even, uint32_t *odd) {
    if constexpr (E4M3) { /* exponents of fp16 begin 8 lower. (cvt.f16x2.e4m3x2 takes an H100 several times as long.) */
      *odd = signs_of(word) | (word >> 1 & 0x3f803f80);
      *even = signs_of(word << 8) | (word << 7 & 0x3f803f80);
    } else { /* the last 7 bits of fp16 numbers from 8 on are 128ths */
      *even = minus_9(__byte_perm(word, 0x48484848, 0x4240));
      *odd = minus_9(__byte_perm(word, 0x48484848, 0x4341));
    }
  }
  static __device__ __forceinline__ uint32_t scaled(uint32_t codes, uint32_t scales) {
    __half2 x = __hmul2(*(const __half2 *)&codes, *(const __half2 *)&scales);
    return *(const uint32_t *)&x;
  }

private:
  static __device__ __forceinline__ uint32_t signs_of(uint32_t x) { return x & 0x80008000; }
  static __device__ __forceinline__ uint32_t minus_9(uint32_t x) {
    __half2 y = __hsub2(*(const __half2 *)&x, __floats2half2_rn(9, 9));
    return *(const uint32_t *)&y;
  }
};

typedef cache_panels<false> cache_f16;
typedef cache_panels<true> cache_bf16;
typedef cache_codes<true> cache_e4m3;
typedef cache_codes<false> cache_int8;

/* A block's keys (0) or values (1), of heads as wide. */
template <typename T>
static __device__ __forceinline__ uint8_t *block_at(const cuda_attend &a, uint32_t block, int head, int which) {
  size_t place = (((size_t)block * a.n_layer + a.layer) * a.n_kv_head + head) * 2 + which;
  return a.cache + place * (a.block_size * T::token_bytes(a.dim_k));
}

#endif
