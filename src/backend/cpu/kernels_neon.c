/* The kernel set for 64-bit ARM with the dot-product extension (Armv8.2 and later). */
#include "backend/cpu/kernel_macros.h"
#include "backend/cpu/vector_math_neon.h"

#include <sys/auxv.h>

/* A running sum of codes × q. The instruction takes signed codes: eight-bit ones are brought down by 128, and 128 times
 * the sum of q makes up for it. */
struct vdot {
  int32x4_t sum, activations;
};

/* Adds quad i of unsigned codes below 2^width times the four q. */
static ALWAYS_INLINE struct vdot vdot_step(struct vdot dot, int i, vbytes codes, const int8_t *q, int width) {
  (void)i;
  int32_t quad;
  memcpy(&quad, q, sizeof quad);
  int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(quad));
  if (width == 8) {
    codes = veorq_u8(codes, vdupq_n_u8(128));
    dot.activations = vdotq_s32(dot.activations, vdupq_n_s8(1), x);
  }
  dot.sum = vdotq_s32(dot.sum, vreinterpretq_s8_u8(codes), x);
  return dot;
}

/* The sum of n quads. */
static ALWAYS_INLINE vfloat vdot_float(struct vdot dot, int n, int width) {
  (void)n;
  return vcvtq_f32_s32(width == 8 ? vaddq_s32(dot.sum, vshlq_n_s32(dot.activations, 7)) : dot.sum);
}

#include "backend/cpu/kernels_template.h"

static bool neon_available(void) { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }

const struct kernel_set kernel_set_neon = KERNEL_SET("neon", neon_available);
