/* The kernel set for x86-64 with AVX2 and the 256-bit dot product of AVX-VNNI (client CPUs without AVX-512). */
#include "backend/cpu/kernel_macros.h"
#include "backend/cpu/vector_math_avx2.h"

#include <cpuid.h>

/* Sums over 4n columns of unsigned codes times q. 32 bits hold any width. */
static inline vfloat vfloat_dot(const vbytes *codes, int n, const int8_t *q, int width) {
  (void)width;
  __m256i sum = _mm256_setzero_si256();
  UNROLL(8)
  for (int i = 0; i < n; i++) sum = _mm256_dpbusd_avx_epi32(sum, codes[i], quad_broadcast(q + 4 * i));
  return _mm256_cvtepi32_ps(sum);
}

#include "backend/cpu/kernels_template.h"

static bool avxvnni_available(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return false;
  bool avxvnni = a >> 4 & 1; /* by hand: the compiler's list of features has no name for it yet */
  return avxvnni && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const struct kernel_set kernel_set_avxvnni = KERNEL_SET("avxvnni", avxvnni_available);
