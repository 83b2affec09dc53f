/* The vector primitives of the kernel templates in portable C: a "vector" is one row of a tile. */
#ifndef SPATE_BACKEND_CPU_VECTOR_SCALAR_H
#define SPATE_BACKEND_CPU_VECTOR_SCALAR_H

#include "base/half.h"

enum {
  LANES = 1,
  VECTOR_UNROLL = 1,
  FLOAT_ROWS = 1,
  ROWS_TOGETHER = 2,
  VECTORS_TOGETHER = 1,
  TILES_TOGETHER = 1,
  SHRINK_TOGETHER = 1
};

typedef float vfloat;
typedef uint32_t vbytes; /* four codes of a row */

static inline vfloat vfloat_load(const float *p) { return *p; }
static inline void vfloat_store(float *p, vfloat v) { *p = v; }
static inline vfloat vfloat_set(float x) { return x; }
static inline vfloat vfloat_mul(vfloat a, vfloat b) { return a * b; }
static inline vfloat vfloat_fma(vfloat a, vfloat b, vfloat c) { return a * b + c; }

/* Rows of LANES vectors become columns. */
static inline void vfloat_turn(vfloat v[LANES]) { (void)v; }

static inline uint16_t load_u16(const void *p) {
  uint16_t value;
  memcpy(&value, p, sizeof value);
  return value;
}

static inline vfloat vfloat_from_half(const void *p) { return half_to_float(load_u16(p)); }
static inline vfloat vfloat_from_bfloat(const void *p) { return bfloat_to_float(load_u16(p)); }
static inline vfloat vfloat_from_int8(const void *p) { return *(const int8_t *)p; }
static inline vfloat vfloat_from_uint8(const void *p) { return *(const uint8_t *)p; }

/* Of an E4M3 number, divided by E4M3_UNIT (half.h). NaN has no place here. */
static inline vfloat vfloat_from_e4m3(const void *p) {
  uint32_t byte = *(const uint8_t *)p;
  return half_to_float((uint16_t)((byte & 0x80) << 8 | (byte & 0x7F) << 7));
}

/* The lower or the upper half of each pair. */
static inline vfloat vfloat_from_pairs(const void *p, int upper) {
  return bfloat_to_float(load_u16((const uint8_t *)p + 2 * upper));
}

static inline vbytes vbytes_load(const uint8_t *p) {
  vbytes v;
  memcpy(&v, p, sizeof v);
  return v;
}

static inline vbytes vbytes_or(vbytes a, vbytes b) { return a | b; }

/* Each byte shifted right (left if negative), then masked. */
static inline vbytes vbytes_field(vbytes v, int shift, int mask) {
  return (shift >= 0 ? v >> shift : v << -shift) & (uint32_t)mask * 0x01010101u;
}

static inline vbytes vbytes_lookup(const uint8_t table[16], vbytes v) {
  uint8_t byte[4];
  memcpy(byte, &v, 4);
  for (int i = 0; i < 4; i++) byte[i] = table[byte[i]];
  memcpy(&v, byte, 4);
  return v;
}

/* Byte j of each row. */
static inline vfloat vfloat_from_byte(vbytes v, int j) {
  uint8_t byte[4];
  memcpy(byte, &v, 4);
  return byte[j];
}

/* A running sum of codes × q. */
struct vdot {
  int32_t sum;
};

/* Adds quad i of unsigned codes below 2^width times the four q. */
static inline struct vdot vdot_step(struct vdot dot, int i, vbytes codes, const int8_t *q, int width) {
  (void)i, (void)width;
  uint8_t byte[4];
  memcpy(byte, &codes, 4);
  for (int j = 0; j < 4; j++) dot.sum += byte[j] * q[j];
  return dot;
}

/* The sum of n quads. */
static inline vfloat vdot_float(struct vdot dot, int n, int width) {
  (void)n, (void)width;
  return (float)dot.sum;
}

#endif
