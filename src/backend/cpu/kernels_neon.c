/* The kernel set for 64-bit ARM with the dot-product extension (Armv8.2 and later). */
#include "backend/cpu/kernel_macros.h"
#include "backend/cpu/vector_math_neon.h"

#include <sys/auxv.h>

/* Sums over 4n columns of unsigned codes below 2^width times q. The instruction takes signed codes: eight-bit ones are
 * brought down by 128, and the activations' own sum makes up for it. */
static inline vfloat vfloat_dot(const vbytes *codes, int n, const int8_t *q, int width) {
  const int8x16_t ones = vdupq_n_s8(1);
  int32x4_t sum = vdupq_n_s32(0), offset = sum;
  UNROLL(8)
  for (int i = 0; i < n; i++) {
    int32_t quad;
    memcpy(&quad, q + 4 * i, sizeof quad);
    int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(quad));
    vbytes code = width == 8 ? veorq_u8(codes[i], vdupq_n_u8(128)) : codes[i];
    sum = vdotq_s32(sum, vreinterpretq_s8_u8(code), x);
    if (width == 8) offset = vdotq_s32(offset, ones, x);
  }
  return vcvtq_f32_s32(width == 8 ? vaddq_s32(sum, vshlq_n_s32(offset, 7)) : sum);
}

#include "backend/cpu/kernels_template.h"

static bool neon_available(void) { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }

const struct kernel_set kernel_set_neon = KERNEL_SET("neon", neon_available);
