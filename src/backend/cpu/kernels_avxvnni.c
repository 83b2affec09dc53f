/* The kernel set for x86-64 with AVX2 and the 256-bit dot product of AVX-VNNI (client CPUs without AVX-512). */
#include "backend/cpu/kernel_macros.h"
#include "backend/cpu/vector_math_avx2.h"

#include <cpuid.h>

/* A running sum of codes × q; 32 bits hold any width. */
struct vdot {
  __m256i sum;
};

/* Adds quad i of unsigned codes below 2^width times the four q. */
static ALWAYS_INLINE struct vdot vdot_step(struct vdot dot, int i, vbytes codes, const int8_t *q, int width) {
  (void)i, (void)width;
  return (struct vdot){_mm256_dpbusd_avx_epi32(dot.sum, codes, quad_broadcast(q))};
}

/* The sum of n quads. */
static ALWAYS_INLINE vfloat vdot_float(struct vdot dot, int n, int width) {
  (void)n, (void)width;
  return _mm256_cvtepi32_ps(dot.sum);
}

#include "backend/cpu/kernels_template.h"

static bool avxvnni_available(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return false;
  bool avxvnni = a >> 4 & 1; /* by hand: the compiler's list of features has no name for it yet */
  return avxvnni && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const struct kernel_set kernel_set_avxvnni = KERNEL_SET("avxvnni", avxvnni_available);
