/* More primitives for AVX2: what attention and elementary functions want beyond products. */
#ifndef SPATE_BACKEND_CPU_VECTOR_MATH_AVX2_H
#define SPATE_BACKEND_CPU_VECTOR_MATH_AVX2_H

#include "backend/cpu/vector_avx2.h"

/* 12 sums, 2 columns and a broadcast fit the 16 registers. */
enum { PRODUCT_ROWS = 6, PRODUCT_VECTORS = 2 };

static inline vfloat vfloat_add(vfloat a, vfloat b) { return _mm256_add_ps(a, b); }
static inline vfloat vfloat_sub(vfloat a, vfloat b) { return _mm256_sub_ps(a, b); }
static inline vfloat vfloat_div(vfloat a, vfloat b) { return _mm256_div_ps(a, b); }
static inline vfloat vfloat_min(vfloat a, vfloat b) { return _mm256_min_ps(a, b); }
static inline vfloat vfloat_max(vfloat a, vfloat b) { return _mm256_max_ps(a, b); }
/* Within ±most; −most what is no number. */
static inline vfloat vfloat_bounded(vfloat x, float most) {
  return _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(-most)), _mm256_set1_ps(most));
}
static inline vfloat vfloat_round(vfloat x) {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* 2^n of whole numbers from −126 to 127. */
static inline vfloat vfloat_pow2(vfloat n) {
  __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}

/* y where x ≥ limit, else 0. */
static inline vfloat vfloat_where_from(vfloat x, float limit, vfloat y) {
  return _mm256_and_ps(_mm256_cmp_ps(x, _mm256_set1_ps(limit), _CMP_GE_OQ), y);
}

/* x in lanes [low, high), −∞ in the others. */
static inline vfloat vfloat_clip(vfloat x, int low, int high) {
  __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256i inside = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(low), lane),
                                       _mm256_cmpgt_epi32(_mm256_set1_epi32(high), lane));
  return _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), x, _mm256_castsi256_ps(inside));
}

static inline float vfloat_max_lanes(vfloat x) {
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

static inline void vfloat_to_half(vfloat x, uint16_t *to) {
  _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

#endif
