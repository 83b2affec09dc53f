/* More primitives in portable C: what attention and elementary functions want beyond products. */
#ifndef SPATE_BACKEND_CPU_VECTOR_MATH_SCALAR_H
#define SPATE_BACKEND_CPU_VECTOR_MATH_SCALAR_H

#include "backend/cpu/vector_scalar.h"

#include <math.h>

enum { PRODUCT_ROWS = 6, PRODUCT_VECTORS = 2 };

static inline vfloat vfloat_add(vfloat a, vfloat b) { return a + b; }
static inline vfloat vfloat_sub(vfloat a, vfloat b) { return a - b; }
static inline vfloat vfloat_div(vfloat a, vfloat b) { return a / b; }
static inline vfloat vfloat_min(vfloat a, vfloat b) { return a < b ? a : b; }
static inline vfloat vfloat_max(vfloat a, vfloat b) { return a > b ? a : b; }
/* Within ±most; −most what is no number. */
static inline vfloat vfloat_bounded(vfloat x, float most) { return vfloat_min(vfloat_max(x, -most), most); }
static inline vfloat vfloat_round(vfloat x) { return rintf(x); }

/* 2^n of whole numbers from −126 to 127. */
static inline vfloat vfloat_pow2(vfloat n) { return float_from_bits((uint32_t)((int32_t)n + 127) << 23); }

/* y where x ≥ limit, else 0. */
static inline vfloat vfloat_where_from(vfloat x, float limit, vfloat y) { return x >= limit ? y : 0; }

/* x if its one lane, 0, is in [low, high), else −∞. */
static inline vfloat vfloat_clip(vfloat x, int low, int high) { return low <= 0 && high > 0 ? x : -INFINITY; }

static inline float vfloat_max_lanes(vfloat x) { return x; }

static inline void vfloat_to_half(vfloat x, uint16_t *to) { *to = half_from_float(x); }

#endif
