/* The vector primitives of the kernel templates for 64-bit ARM: a vector is 4 rows, a quarter of a tile. */
#ifndef SPATE_BACKEND_CPU_VECTOR_NEON_H
#define SPATE_BACKEND_CPU_VECTOR_NEON_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

/* FLOAT_ROWS × 4 vectors of sums stay in half of the 32 registers. */
enum {
  LANES = 4,
  VECTOR_UNROLL = 4,
  FLOAT_ROWS = 4,
  ROWS_TOGETHER = 4,
  VECTORS_TOGETHER = 2,
  TILES_TOGETHER = 1,
  SHRINK_TOGETHER = 4
};

typedef float32x4_t vfloat;
typedef uint8x16_t vbytes; /* four codes for each row */

static inline vfloat vfloat_load(const float *p) { return vld1q_f32(p); }
static inline void vfloat_store(float *p, vfloat v) { vst1q_f32(p, v); }
static inline vfloat vfloat_set(float x) { return vdupq_n_f32(x); }
static inline vfloat vfloat_mul(vfloat a, vfloat b) { return vmulq_f32(a, b); }
static inline vfloat vfloat_fma(vfloat a, vfloat b, vfloat c) { return vfmaq_f32(c, a, b); }

/* LANES rows become columns. */
static inline void vfloat_turn(vfloat v[LANES]) {
  float32x4x2_t even = vzipq_f32(v[0], v[2]), odd = vzipq_f32(v[1], v[3]);
  float32x4x2_t low = vzipq_f32(even.val[0], odd.val[0]), high = vzipq_f32(even.val[1], odd.val[1]);
  v[0] = low.val[0], v[1] = low.val[1], v[2] = high.val[0], v[3] = high.val[1];
}

static inline vfloat vfloat_from_half(const void *p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }
static inline vfloat vfloat_from_bfloat(const void *p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

static inline uint8x8_t four_bytes(const void *p) {
  uint32_t bytes;
  memcpy(&bytes, p, sizeof bytes);
  return vcreate_u8(bytes);
}

static inline vfloat vfloat_from_int8(const void *p) {
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(four_bytes(p))))));
}
static inline vfloat vfloat_from_uint8(const void *p) {
  return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four_bytes(p)))));
}

/* Of E4M3 numbers, divided by E4M3_UNIT (half.h). NaN has no place here. */
static inline vfloat vfloat_from_e4m3(const void *p) {
  int16x4_t byte = vget_low_s16(vmovl_s8(vreinterpret_s8_u8(four_bytes(p))));
  uint16x4_t half = vand_u16(vreinterpret_u16_s16(vshl_n_s16(byte, 7)), vdup_n_u16(0xBFFF));
  return vcvt_f32_f16(vreinterpret_f16_u16(half));
}

/* The lower or the upper half of each pair. */
static inline vfloat vfloat_from_pairs(const void *p, int upper) {
  uint32x4_t pair = vreinterpretq_u32_u8(vld1q_u8(p));
  return vreinterpretq_f32_u32(upper ? vandq_u32(pair, vdupq_n_u32(0xFFFF0000)) : vshlq_n_u32(pair, 16));
}

static inline vbytes vbytes_load(const uint8_t *p) { return vld1q_u8(p); }
static inline vbytes vbytes_or(vbytes a, vbytes b) { return vorrq_u8(a, b); }

/* Each byte shifted right (left if negative), then masked. */
static inline vbytes vbytes_field(vbytes v, int shift, int mask) {
  return vandq_u8(vshlq_u8(v, vdupq_n_s8((int8_t)-shift)), vdupq_n_u8((uint8_t)mask));
}

static inline vbytes vbytes_lookup(const uint8_t table[16], vbytes v) { return vqtbl1q_u8(vld1q_u8(table), v); }

/* Byte j of each row. */
static inline vfloat vfloat_from_byte(vbytes v, int j) {
  uint32x4_t shifted = vshlq_u32(vreinterpretq_u32_u8(v), vdupq_n_s32(-8 * j));
  return vcvtq_f32_u32(vandq_u32(shifted, vdupq_n_u32(255)));
}

#endif
