/* The kernel set for x86-64 with AVX-512 and its VNNI. */
#include "backend/cpu/kernel_macros.h"
#include "backend/cpu/vector_math_avx512.h"

/* A running sum of codes × q; 32 bits hold any width. */
struct vdot {
  __m512i sum;
};

/* Adds quad i of unsigned codes below 2^width times the four q. */
static ALWAYS_INLINE struct vdot vdot_step(struct vdot dot, int i, vbytes codes, const int8_t *q, int width) {
  (void)i, (void)width;
  return (struct vdot){_mm512_dpbusd_epi32(dot.sum, codes, quad_broadcast(q))};
}

/* The sum of n quads. */
static ALWAYS_INLINE vfloat vdot_float(struct vdot dot, int n, int width) {
  (void)n, (void)width;
  return _mm512_cvtepi32_ps(dot.sum);
}

#include "backend/cpu/kernels_template.h"

static bool avx512_available(void) { /* these imply FMA and F16C */
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

const struct kernel_set kernel_set_avx512 = KERNEL_SET("avx512", avx512_available);
