/* The vector primitives of the kernel templates for AVX2 with FMA and F16C: a vector is 8 rows, half a tile. */
#ifndef SPATE_BACKEND_CPU_VECTOR_AVX2_H
#define SPATE_BACKEND_CPU_VECTOR_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* FLOAT_ROWS × 2 vectors of sums fit the 16 registers with the weights of two columns; so do 8 quads of codes and the
 * dots of ROWS_TOGETHER rows. */
enum {
  LANES = 8,
  VECTOR_UNROLL = 2,
  FLOAT_ROWS = 5,
  ROWS_TOGETHER = 4,
  VECTORS_TOGETHER = 1,
  TILES_TOGETHER = 1,
  SHRINK_TOGETHER = 3
};

typedef __m256 vfloat;
typedef __m256i vbytes; /* four codes for each row */

static inline vfloat vfloat_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void vfloat_store(float *p, vfloat v) { _mm256_storeu_ps(p, v); }
static inline vfloat vfloat_set(float x) { return _mm256_set1_ps(x); }
static inline vfloat vfloat_mul(vfloat a, vfloat b) { return _mm256_mul_ps(a, b); }
static inline vfloat vfloat_fma(vfloat a, vfloat b, vfloat c) { return _mm256_fmadd_ps(a, b, c); }

/* LANES rows become columns: 4 × 4 within halves, then the halves change places. */
static inline void vfloat_turn(vfloat v[LANES]) {
  vfloat t[LANES];
  UNROLL(8)
  for (int i = 0; i < LANES; i += 4) {
    vfloat low = _mm256_unpacklo_ps(v[i], v[i + 1]), high = _mm256_unpackhi_ps(v[i], v[i + 1]);
    vfloat low_next = _mm256_unpacklo_ps(v[i + 2], v[i + 3]), high_next = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);
    t[i] = _mm256_shuffle_ps(low, low_next, 0x44);
    t[i + 1] = _mm256_shuffle_ps(low, low_next, 0xEE);
    t[i + 2] = _mm256_shuffle_ps(high, high_next, 0x44);
    t[i + 3] = _mm256_shuffle_ps(high, high_next, 0xEE);
  }
  UNROLL(8)
  for (int i = 0; i < 4; i++) {
    v[i] = _mm256_permute2f128_ps(t[i], t[4 + i], 0x20);
    v[4 + i] = _mm256_permute2f128_ps(t[i], t[4 + i], 0x31);
  }
}

static inline vfloat vfloat_from_half(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
static inline vfloat vfloat_from_bfloat(const void *p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}
static inline vfloat vfloat_from_int8(const void *p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)));
}
static inline vfloat vfloat_from_uint8(const void *p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p)));
}

/* Of E4M3 numbers, divided by E4M3_UNIT (half.h). NaN has no place here. */
static inline vfloat vfloat_from_e4m3(const void *p) {
  __m128i byte = _mm_cvtepi8_epi16(_mm_loadl_epi64(p)), half = _mm_slli_epi16(byte, 7);
  return _mm256_cvtph_ps(_mm_and_si128(half, _mm_set1_epi16((short)0xBFFF)));
}

/* The lower or the upper half of each pair. */
static inline vfloat vfloat_from_pairs(const void *p, int upper) {
  __m256i pair = _mm256_loadu_si256(p), mask = _mm256_set1_epi32((int)0xFFFF0000);
  return _mm256_castsi256_ps(upper ? _mm256_and_si256(pair, mask) : _mm256_slli_epi32(pair, 16));
}

static inline vbytes vbytes_load(const uint8_t *p) { return _mm256_loadu_si256((const void *)p); }
static inline vbytes vbytes_or(vbytes a, vbytes b) { return _mm256_or_si256(a, b); }

/* Each byte shifted right (left if negative), then masked. */
static inline vbytes vbytes_field(vbytes v, int shift, int mask) {
  vbytes shifted = shift >= 0 ? _mm256_srli_epi16(v, shift) : _mm256_slli_epi16(v, -shift);
  return _mm256_and_si256(shifted, _mm256_set1_epi8((char)mask));
}

static inline vbytes vbytes_lookup(const uint8_t table[16], vbytes v) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)table)), v);
}

/* Byte j of each row. */
static inline vfloat vfloat_from_byte(vbytes v, int j) {
  return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(v, 8 * j), _mm256_set1_epi32(255)));
}

static inline __m256i quad_broadcast(const int8_t *q) {
  int32_t quad;
  memcpy(&quad, q, sizeof quad);
  return _mm256_set1_epi32(quad);
}

#endif
