/* Half floats (IEEE binary16), bfloats and E4M3 to and from float, in portable C. Widening is exact; narrowing rounds
 * to nearest, ties to even; overflow becomes infinity, of E4M3, which has none, the greatest number; a NaN stays a NaN
 * (quiet, with the upper bits of its payload). */
#ifndef SPATE_BASE_HALF_H
#define SPATE_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float float_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float half_to_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  uint32_t exponent = (half >> 10) & 31, fraction = half & 1023u;
  if (exponent == 0) { /* zero or subnormal: fraction × 2^-24, which a float holds exactly */
    float magnitude = (float)fraction * 0x1p-24f;
    return float_from_bits(sign | float_bits(magnitude));
  }
  if (exponent == 31) {
    uint32_t quiet = fraction ? 0x400000u : 0;
    return float_from_bits(sign | 0x7F800000u | quiet | fraction << 13);
  }
  return float_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/* value >> shift, rounded to nearest even. shift is 1 to 31. */
static inline uint32_t shift_round_even(uint32_t value, uint32_t shift) {
  uint32_t half_unit = 1u << (shift - 1), rest = value & ((1u << shift) - 1);
  uint32_t whole = value >> shift;
  return whole + (rest > half_unit || (rest == half_unit && (whole & 1)));
}

static inline uint16_t half_from_float(float value) {
  uint32_t bits = float_bits(value), magnitude = bits & 0x7FFFFFFFu;
  uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
  if (magnitude > 0x7F800000u) return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));
  if (magnitude >= 0x47800000u) return (uint16_t)(sign | 0x7C00); /* 2^16 and above, infinity */
  if (magnitude >= 0x38800000u) { /* normal; a carry may round up to infinity, rightly */
    return (uint16_t)(sign | shift_round_even(magnitude - (112u << 23), 13));
  }
  if (magnitude < 0x33000000u) return sign; /* below 2^-25: zero */
  uint32_t fraction = (magnitude & 0x7FFFFFu) | 0x800000u;
  return (uint16_t)(sign | shift_round_even(fraction, 126 - (magnitude >> 23)));
}

static inline float bfloat_to_float(uint16_t bfloat) { return float_from_bits((uint32_t)bfloat << 16); }

static inline uint16_t bfloat_from_float(float value) {
  uint32_t bits = float_bits(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(bits >> 16 | 0x40); /* NaN: keep it one */
  return (uint16_t)shift_round_even(bits, 16);
}

/* Eight bits: sign, 4 of exponent (bias 7), 3 of fraction; all ones is NaN ("E4M3FN", arXiv 2209.05433). */
#define E4M3_MAX 448.0f

/* Its bits, but for where they lie, are those of a half float that is smaller by so much. */
#define E4M3_UNIT 256.0f

static inline float e4m3_to_float(uint8_t e4m3) {
  uint32_t sign = (uint32_t)(e4m3 & 0x80) << 24, exponent = e4m3 >> 3 & 15, fraction = e4m3 & 7u;
  if ((e4m3 & 0x7F) == 0x7F) return float_from_bits(sign | 0x7FC00000u);
  if (exponent == 0) return float_from_bits(sign | float_bits((float)fraction * 0x1p-9f));
  return float_from_bits(sign | (exponent + 120) << 23 | fraction << 20);
}

static inline uint8_t e4m3_from_float(float value) {
  uint32_t bits = float_bits(value), magnitude = bits & 0x7FFFFFFFu;
  uint8_t sign = (uint8_t)(bits >> 24 & 0x80);
  if (magnitude > 0x7F800000u) return (uint8_t)(sign | 0x7F);
  if (magnitude >= 0x43E00000u) return (uint8_t)(sign | 0x7E);               /* 448 and above */
  if (magnitude >= 0x3C800000u)                                              /* normal: 2^-6 and above */
    return (uint8_t)(sign | shift_round_even(magnitude - (120u << 23), 20)); /* a carry ends at 448 at most */
  if (magnitude < 0x3A800000u) return sign;                                  /* below 2^-10: zero */
  return (uint8_t)(sign | shift_round_even((magnitude & 0x7FFFFFu) | 0x800000u, 141 - (magnitude >> 23)));
}

/* Eight bits of exponent alone: powers of two from 2^-127 to 2^127; all ones is NaN (OCP Microscaling Formats 1.0). */
static inline float e8m0_to_float(uint8_t e8m0) {
  if (e8m0 == 0xFF) return float_from_bits(0x7FC00000u);
  return float_from_bits(e8m0 ? (uint32_t)e8m0 << 23 : 0x400000u);
}

#endif
