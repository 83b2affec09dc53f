/* AVX-512 on a machine without it: SIMDe in place of the compiler's intrinsics, and plain loops for those that SIMDe
 * lacks. For scripts/test_avx512.sh alone, which puts this folder before the compiler's. */
#ifdef SPATE_IMMINTRIN
#include_next <immintrin.h>
#else
#define SPATE_IMMINTRIN
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* NAME(v): each lane of a vector of ints or floats, from the bytes of v. */
#define LANES_FROM(name, from_vector, from, to_vector, to)                                                             \
  static inline to_vector name(from_vector v) {                                                                        \
    from lane[sizeof(from_vector) / sizeof(from)];                                                                     \
    to out[16];                                                                                                        \
    to_vector result;                                                                                                  \
    memcpy(lane, &v, sizeof lane);                                                                                     \
    for (int i = 0; i < 16; i++) out[i] = (to)lane[i];                                                                 \
    memcpy(&result, out, sizeof result);                                                                               \
    return result;                                                                                                     \
  }

LANES_FROM(lanes_u16, __m256i, uint16_t, __m512i, int32_t)
LANES_FROM(lanes_i8, __m128i, int8_t, __m512i, int32_t)
LANES_FROM(lanes_u8, __m128i, uint8_t, __m512i, int32_t)
LANES_FROM(lanes_float, __m512i, int32_t, __m512, float)
#define _mm512_cvtepu16_epi32         lanes_u16
#define _mm512_cvtepi8_epi32          lanes_i8
#define _mm512_cvtepu8_epi32          lanes_u8
#define _mm512_cvtepi32_ps            lanes_float

static inline __m512 half_lanes(__m256i half) {
  float lane[16];
  _mm256_storeu_ps(lane, _mm256_cvtph_ps(_mm256_castsi256_si128(half)));
  _mm256_storeu_ps(lane + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1)));
  return simde_mm512_loadu_ps(lane);
}
#define _mm512_cvtph_ps               half_lanes

static inline __m256i lanes_half(__m512 v) {
  float lane[16];
  simde_mm512_storeu_ps(lane, v);
  __m128i low = _mm256_cvtps_ph(_mm256_loadu_ps(lane), 0), high = _mm256_cvtps_ph(_mm256_loadu_ps(lane + 8), 0);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}
#define _mm512_cvtps_ph(v, rounding)  lanes_half(v)

static inline __mmask16 lanes_compare(__m512i a, __m512i b, bool not_less) {
  int32_t x[16], y[16];
  unsigned mask = 0;
  simde_mm512_storeu_si512(x, a);
  simde_mm512_storeu_si512(y, b);
  for (int i = 0; i < 16; i++) mask |= (unsigned)((x[i] < y[i]) != not_less) << i;
  return (__mmask16)mask;
}
#define _mm512_cmplt_epi32_mask(a, b) lanes_compare(a, b, false)
#define _mm512_cmpge_epi32_mask(a, b) lanes_compare(a, b, true)

static inline float lanes_max(__m512 v) {
  float lane[16];
  simde_mm512_storeu_ps(lane, v);
  for (int i = 1; i < 16; i++) lane[0] = lane[i] > lane[0] ? lane[i] : lane[0];
  return lane[0];
}
#define _mm512_reduce_max_ps          lanes_max

#endif
