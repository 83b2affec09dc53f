/* More primitives for AVX-512: what attention and elementary functions want beyond products. */
#ifndef SPATE_BACKEND_CPU_VECTOR_MATH_AVX512_H
#define SPATE_BACKEND_CPU_VECTOR_MATH_AVX512_H

#include "backend/cpu/vector_avx512.h"

/* 24 sums and 4 columns of the 32 registers; a broadcast is an operand in memory. */
enum { PRODUCT_ROWS = 6, PRODUCT_VECTORS = 4 };

static inline vfloat vfloat_add(vfloat a, vfloat b) { return _mm512_add_ps(a, b); }
static inline vfloat vfloat_sub(vfloat a, vfloat b) { return _mm512_sub_ps(a, b); }
static inline vfloat vfloat_div(vfloat a, vfloat b) { return _mm512_div_ps(a, b); }
static inline vfloat vfloat_min(vfloat a, vfloat b) { return _mm512_min_ps(a, b); }
static inline vfloat vfloat_max(vfloat a, vfloat b) { return _mm512_max_ps(a, b); }
/* Within ±most; −most what is no number. */
static inline vfloat vfloat_bounded(vfloat x, float most) {
  return _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-most)), _mm512_set1_ps(most));
}
static inline vfloat vfloat_round(vfloat x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* 2^n of whole numbers from −126 to 127. */
static inline vfloat vfloat_pow2(vfloat n) { return _mm512_scalef_ps(_mm512_set1_ps(1), n); }

/* y where x ≥ limit, else 0. */
static inline vfloat vfloat_where_from(vfloat x, float limit, vfloat y) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_GE_OQ), y);
}

/* x in lanes [low, high), −∞ in the others. */
static inline vfloat vfloat_clip(vfloat x, int low, int high) {
  __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __mmask16 inside =
      _mm512_cmpge_epi32_mask(lane, _mm512_set1_epi32(low)) & _mm512_cmplt_epi32_mask(lane, _mm512_set1_epi32(high));
  return _mm512_mask_mov_ps(_mm512_set1_ps(-__builtin_inff()), inside, x);
}

static inline float vfloat_max_lanes(vfloat x) { return _mm512_reduce_max_ps(x); }

#define UNIT_VECTORS /* in place of the loops of row_template.h over a unit of 32 columns */

/* The largest magnitude, NaN above all; compared as integers, which order like the magnitudes do. */
static inline float unit_peak(const float *x) {
  __m512i mask = _mm512_set1_epi32(0x7FFFFFFF);
  __m512i low = _mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(x)), mask);
  __m512i high = _mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(x + LANES)), mask);
  uint32_t peak = _mm512_reduce_max_epu32(_mm512_max_epu32(low, high));
  float magnitude;
  memcpy(&magnitude, &peak, sizeof magnitude);
  return magnitude;
}

static inline void unit_round(const float *x, float factor, int8_t *q, int32_t half[2]) {
  for (int i = 0; i < 2; i++) {
    __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i * LANES), _mm512_set1_ps(factor)));
    _mm_storeu_si128((__m128i *)(void *)(q + i * LANES), _mm512_cvtepi32_epi8(code));
    half[i] = _mm512_reduce_add_epi32(code);
  }
}

static inline void vfloat_to_half(vfloat x, uint16_t *to) {
  _mm256_storeu_si256((__m256i *)to, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

#endif
