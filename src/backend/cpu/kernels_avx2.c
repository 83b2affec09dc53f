/* The kernel set for x86-64 with AVX2, FMA and F16C. */
#include "backend/cpu/kernel_macros.h"
#include "backend/cpu/vector_math_avx2.h"

/* Pairs of products summed to 16 bits: code × q + code × q, at most 2 × 127 × (2^width − 1), so 8 of 4 bits, 4 of 5 and
 * 2 of 6 still fit 32767 and one widening serves them all. */
static inline __m256i pairs_dot(const vbytes *codes, int n, const int8_t *q, int n_before_widening) {
  __m256i total = _mm256_setzero_si256(), pairs = total;
  UNROLL(8)
  for (int i = 0; i < n; i++) {
    __m256i pair = _mm256_maddubs_epi16(codes[i], quad_broadcast(q + 4 * i));
    pairs = i % n_before_widening ? _mm256_add_epi16(pairs, pair) : pair;
    if ((i + 1) % n_before_widening == 0 || i + 1 == n)
      total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  return total;
}

/* Eight bits do not fit at all: both nibbles by themselves, the upper weighed 16 when it is widened. */
static inline __m256i nibbles_dot(const vbytes *codes, int n, const int8_t *q) {
  const __m256i nibble = _mm256_set1_epi8(15);
  __m256i low = _mm256_setzero_si256(), high = _mm256_setzero_si256();
  UNROLL(8)
  for (int i = 0; i < n; i++) {
    __m256i quad = quad_broadcast(q + 4 * i);
    low = _mm256_add_epi16(low, _mm256_maddubs_epi16(_mm256_and_si256(codes[i], nibble), quad));
    high = _mm256_add_epi16(high, _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(codes[i], 4), nibble), quad));
  }
  return _mm256_add_epi32(_mm256_madd_epi16(low, _mm256_set1_epi16(1)), _mm256_madd_epi16(high, _mm256_set1_epi16(16)));
}

/* Sums over 4n ≤ 32 columns of unsigned codes below 2^width times q. */
static inline vfloat vfloat_dot(const vbytes *codes, int n, const int8_t *q, int width) {
  if (width > 6) return _mm256_cvtepi32_ps(nibbles_dot(codes, n, q));
  return _mm256_cvtepi32_ps(pairs_dot(codes, n, q, width <= 4 ? 8 : width == 5 ? 4 : 2));
}

#include "backend/cpu/kernels_template.h"

/* F16C comes with every AVX2, and not every compiler can ask for it by name. */
static bool avx2_available(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const struct kernel_set kernel_set_avx2 = KERNEL_SET("avx2", avx2_available);
