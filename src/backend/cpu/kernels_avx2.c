/* The kernel set for x86-64 with AVX2, FMA and F16C. */
#include "backend/cpu/kernel_macros.h"
#include "backend/cpu/vector_math_avx2.h"

/* Settles a vector here and now: left alone, the compiler moves sums down to their use and spills what they are of. */
#define IN_ORDER(vector) __asm__ volatile("" : "+x"(vector))

/* A running sum of codes × q. Pairs of products are summed to 16 bits first: at most 2 × 127 × (2^width − 1), so 8
 * quads of 4 bits, 4 of 5 and 2 of 6 fit 32767 before they must be widened. Eight bits do not fit at all: `pairs` takes
 * the lower nibbles, `high` the upper ones, which weigh 16 when they are widened. (So it is for a lone row. More rows
 * multiply words, below.) */
struct vdot {
  __m256i pairs, high, total;
};

static ALWAYS_INLINE int quads_before_widening(int width) { return width <= 4 || width > 6 ? 8 : width == 5 ? 4 : 2; }

static ALWAYS_INLINE __m256i pairs_widen(__m256i pairs, short weight) {
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(weight));
}

/* Adds quad i of unsigned codes below 2^width times the four q. */
static ALWAYS_INLINE struct vdot vdot_step(struct vdot dot, int i, vbytes codes, const int8_t *q, int width) {
  const __m256i nibble = _mm256_set1_epi8(15), quad = quad_broadcast(q);
  int limit = quads_before_widening(width);
  if (width > 6) {
    __m256i upper = _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble);
    dot.high = _mm256_add_epi16(dot.high, _mm256_maddubs_epi16(upper, quad));
    IN_ORDER(dot.high);
    codes = _mm256_and_si256(codes, nibble);
  }
  dot.pairs = _mm256_add_epi16(dot.pairs, _mm256_maddubs_epi16(codes, quad));
  IN_ORDER(dot.pairs);
  if (i % limit == limit - 1) {
    dot.total = _mm256_add_epi32(dot.total, pairs_widen(dot.pairs, 1));
    dot.pairs = _mm256_setzero_si256();
  }
  return dot;
}

/* The sum of n ≤ 8 quads. */
static ALWAYS_INLINE vfloat vdot_float(struct vdot dot, int n, int width) {
  if (n % quads_before_widening(width)) dot.total = _mm256_add_epi32(dot.total, pairs_widen(dot.pairs, 1));
  if (width > 6) dot.total = _mm256_add_epi32(dot.total, pairs_widen(dot.high, 16));
  return _mm256_cvtepi32_ps(dot.total);
}

/* Words: the primitives of words_template.h. */
#define WORD_KERNELS

typedef __m256i vwords; /* 16 bits: two columns of each row */
typedef __m256i vpairs; /* 32 bits: sums of their products */

static ALWAYS_INLINE vwords vwords_even(vbytes codes, short less) {
  return _mm256_sub_epi16(_mm256_and_si256(codes, _mm256_set1_epi16(255)), _mm256_set1_epi16(less));
}
static ALWAYS_INLINE vwords vwords_odd(vbytes codes, short less) {
  return _mm256_sub_epi16(_mm256_srli_epi16(codes, 8), _mm256_set1_epi16(less));
}
static ALWAYS_INLINE vwords vwords_load(const int16_t *words) { return _mm256_load_si256((const void *)words); }
static ALWAYS_INLINE void vwords_store(int16_t *words, vwords v) { _mm256_store_si256((void *)words, v); }
static ALWAYS_INLINE vwords vwords_set_pair(const void *pair) { return quad_broadcast(pair); }
static ALWAYS_INLINE vfloat vpairs_float(vpairs sum) { return _mm256_cvtepi32_ps(sum); }

/* Adds pair i of codes times activations; sum is nothing yet at the first. */
static ALWAYS_INLINE vpairs vpairs_add(int i, vpairs sum, vwords codes, vwords x) {
  vpairs product = _mm256_madd_epi16(codes, x);
  sum = i ? _mm256_add_epi32(sum, product) : product;
  IN_ORDER(sum);
  return sum;
}

#include "backend/cpu/kernels_template.h"

/* Every CPU with AVX2 has F16C. */
static bool avx2_available(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

const struct kernel_set kernel_set_avx2 = KERNEL_SET("avx2", avx2_available);
