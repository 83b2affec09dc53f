/* The kernel set for x86-64 with AVX-512 and its VNNI. */
#include "backend/cpu/kernel_macros.h"
#include "backend/cpu/vector_math_avx512.h"

/* Sums over 4n columns of unsigned codes times q. 32 bits hold any width. One chain: other rows fill its latency. */
static inline vfloat vfloat_dot(const vbytes *codes, int n, const int8_t *q, int width) {
  (void)width;
  __m512i sum = _mm512_setzero_si512();
  UNROLL(8)
  for (int i = 0; i < n; i++) sum = _mm512_dpbusd_epi32(sum, codes[i], quad_broadcast(q + 4 * i));
  return _mm512_cvtepi32_ps(sum);
}

#include "backend/cpu/kernels_template.h"

static bool avx512_available(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
}

const struct kernel_set kernel_set_avx512 = KERNEL_SET("avx512", avx512_available);
