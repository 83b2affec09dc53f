/* The vector primitives of the kernel templates for AVX-512 (F, BW, VL): a vector is the 16 rows of a tile. */
#ifndef SPATE_BACKEND_CPU_VECTOR_AVX512_H
#define SPATE_BACKEND_CPU_VECTOR_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* FLOAT_ROWS sums hide the latency of two multiply-adds a cycle. The codes of two tiles stay in half of the 32
 * registers, beside the dots of four rows with both: each broadcast of activations serves two products, for two loads a
 * cycle are all there are. */
enum {
  LANES = 16,
  VECTOR_UNROLL = 1,
  FLOAT_ROWS = 8,
  ROWS_TOGETHER = 4,
  VECTORS_TOGETHER = 2,
  TILES_TOGETHER = 2,
  SHRINK_TOGETHER = 4
};

typedef __m512 vfloat;
typedef __m512i vbytes; /* four codes for each row */

static inline vfloat vfloat_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vfloat_store(float *p, vfloat v) { _mm512_storeu_ps(p, v); }
static inline vfloat vfloat_set(float x) { return _mm512_set1_ps(x); }
static inline vfloat vfloat_mul(vfloat a, vfloat b) { return _mm512_mul_ps(a, b); }
static inline vfloat vfloat_fma(vfloat a, vfloat b, vfloat c) { return _mm512_fmadd_ps(a, b, c); }

/* LANES rows become columns: 4 × 4 within quarters, then the quarters change places. */
static inline void vfloat_turn(vfloat v[LANES]) {
  vfloat t[LANES];
  UNROLL(16)
  for (int i = 0; i < LANES; i += 4) {
    vfloat low = _mm512_unpacklo_ps(v[i], v[i + 1]), high = _mm512_unpackhi_ps(v[i], v[i + 1]);
    vfloat low_next = _mm512_unpacklo_ps(v[i + 2], v[i + 3]), high_next = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
    t[i] = _mm512_shuffle_ps(low, low_next, 0x44);
    t[i + 1] = _mm512_shuffle_ps(low, low_next, 0xEE);
    t[i + 2] = _mm512_shuffle_ps(high, high_next, 0x44);
    t[i + 3] = _mm512_shuffle_ps(high, high_next, 0xEE);
  }
  UNROLL(16)
  for (int i = 0; i < 4; i++) {
    vfloat near = _mm512_shuffle_f32x4(t[i], t[4 + i], 0x44), far = _mm512_shuffle_f32x4(t[i], t[4 + i], 0xEE);
    vfloat near_next = _mm512_shuffle_f32x4(t[8 + i], t[12 + i], 0x44);
    vfloat far_next = _mm512_shuffle_f32x4(t[8 + i], t[12 + i], 0xEE);
    v[i] = _mm512_shuffle_f32x4(near, near_next, 0x88);
    v[4 + i] = _mm512_shuffle_f32x4(near, near_next, 0xDD);
    v[8 + i] = _mm512_shuffle_f32x4(far, far_next, 0x88);
    v[12 + i] = _mm512_shuffle_f32x4(far, far_next, 0xDD);
  }
}

static inline vfloat vfloat_from_half(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
static inline vfloat vfloat_from_bfloat(const void *p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}
static inline vfloat vfloat_from_int8(const void *p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}
static inline vfloat vfloat_from_uint8(const void *p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p)));
}

/* Of E4M3 numbers, divided by E4M3_UNIT (half.h). NaN has no place here. */
static inline vfloat vfloat_from_e4m3(const void *p) {
  __m256i byte = _mm256_cvtepi8_epi16(_mm_loadu_si128(p)), half = _mm256_slli_epi16(byte, 7);
  return _mm512_cvtph_ps(_mm256_and_si256(half, _mm256_set1_epi16((short)0xBFFF)));
}

/* vdpbf16ps takes the pairs as they are: kernels_avx512bf16.c, where it is faster. */
static inline vfloat vfloat_from_pairs(const void *p, int upper) { /* the lower or the upper half of each */
  __m512i pair = _mm512_loadu_si512(p), mask = _mm512_set1_epi32((int)0xFFFF0000);
  return _mm512_castsi512_ps(upper ? _mm512_and_si512(pair, mask) : _mm512_slli_epi32(pair, 16));
}

static inline vbytes vbytes_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
static inline vbytes vbytes_or(vbytes a, vbytes b) { return _mm512_or_si512(a, b); }

/* Each byte shifted right (left if negative), then masked. */
static inline vbytes vbytes_field(vbytes v, int shift, int mask) {
  vbytes shifted = shift >= 0 ? _mm512_srli_epi16(v, (unsigned)shift) : _mm512_slli_epi16(v, (unsigned)-shift);
  return _mm512_and_si512(shifted, _mm512_set1_epi8((char)mask));
}

static inline vbytes vbytes_lookup(const uint8_t table[16], vbytes v) {
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const void *)table)), v);
}

/* Byte j of each row. */
static inline vfloat vfloat_from_byte(vbytes v, int j) {
  return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(v, 8 * (unsigned)j), _mm512_set1_epi32(255)));
}

static inline __m512i quad_broadcast(const int8_t *q) {
  int32_t quad;
  memcpy(&quad, q, sizeof quad);
  return _mm512_set1_epi32(quad);
}

#endif
