/* More primitives for 64-bit ARM: what attention and elementary functions want beyond products. */
#ifndef SPATE_BACKEND_CPU_VECTOR_MATH_NEON_H
#define SPATE_BACKEND_CPU_VECTOR_MATH_NEON_H

#include "backend/cpu/vector_neon.h"

/* 24 sums, 4 columns and a broadcast of the 32 registers. */
enum { PRODUCT_ROWS = 6, PRODUCT_VECTORS = 4 };

static inline vfloat vfloat_add(vfloat a, vfloat b) { return vaddq_f32(a, b); }
static inline vfloat vfloat_sub(vfloat a, vfloat b) { return vsubq_f32(a, b); }
static inline vfloat vfloat_div(vfloat a, vfloat b) { return vdivq_f32(a, b); }
static inline vfloat vfloat_min(vfloat a, vfloat b) { return vminq_f32(a, b); }
static inline vfloat vfloat_max(vfloat a, vfloat b) { return vmaxq_f32(a, b); }
/* Within ±most; −most what is no number. */
static inline vfloat vfloat_bounded(vfloat x, float most) {
  return vminnmq_f32(vmaxnmq_f32(x, vdupq_n_f32(-most)), vdupq_n_f32(most));
}
static inline vfloat vfloat_round(vfloat x) { return vrndnq_f32(x); }

/* 2^n of whole numbers from −126 to 127. */
static inline vfloat vfloat_pow2(vfloat n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}

/* y where x ≥ limit, else 0. */
static inline vfloat vfloat_where_from(vfloat x, float limit, vfloat y) {
  return vreinterpretq_f32_u32(vandq_u32(vcgeq_f32(x, vdupq_n_f32(limit)), vreinterpretq_u32_f32(y)));
}

/* x in lanes [low, high), −∞ in the others. */
static inline vfloat vfloat_clip(vfloat x, int low, int high) {
  static const int32_t lanes[4] = {0, 1, 2, 3};
  int32x4_t lane = vld1q_s32(lanes);
  uint32x4_t inside = vandq_u32(vcgeq_s32(lane, vdupq_n_s32(low)), vcltq_s32(lane, vdupq_n_s32(high)));
  return vbslq_f32(inside, x, vdupq_n_f32(-__builtin_inff()));
}

static inline float vfloat_max_lanes(vfloat x) { return vmaxvq_f32(x); }

static inline void vfloat_to_half(vfloat x, uint16_t *to) { vst1_u16(to, vreinterpret_u16_f16(vcvt_f16_f32(x))); }

#endif
