/* Compiled for speed (CMakeLists.txt): an adapter of a large model is tens of millions of numbers. Loops have no
 * branches within, so that they are vectorized for any machine. */
#include "engine/adapter_factor.h"

#include "base/half.h"

#include <math.h>
#include <stdlib.h>

enum {
  EXPONENT_MOST = 64,     /* of what goes into a gain */
  COPY_BYTES = 16 << 10,  /* that are looked at while they are in the cache of the first level */
  CHECK_NUMBERS = 1 << 10 /* after which a check stops, if it can */
};

/* --- magnitudes --------------------------------------------------------------------------------------------------- */

/* They are in the order of their bits. */
static float bits16_peak(const uint16_t *numbers, size_t count, uint8_t type) {
  int16_t peak = 0;
  for (size_t i = 0; i < count; i++) {
    int16_t magnitude = (int16_t)(numbers[i] & 0x7FFF);
    peak = magnitude > peak ? magnitude : peak;
  }
  return type == FACTOR_BF16 ? bfloat_to_float((uint16_t)peak) : half_to_float((uint16_t)peak);
}

static float bits32_peak(const float *floats, size_t count) {
  int32_t peak = 0;
  for (size_t i = 0; i < count; i++) {
    int32_t magnitude = (int32_t)(float_bits(floats[i]) & 0x7FFFFFFF);
    peak = magnitude > peak ? magnitude : peak;
  }
  return float_from_bits((uint32_t)peak);
}

float factor_peak(struct factor factor, size_t count) {
  return factor.type == FACTOR_F32 ? bits32_peak(factor.numbers, count)
                                   : bits16_peak(factor.numbers, count, factor.type);
}

/* Of two magnitudes; one that is no number wins. */
static float greater(float a, float b) { return float_bits(a) > float_bits(b) ? a : b; }

float factor_copy(const uint8_t *from, size_t count, uint8_t type, void *to) {
  size_t each = factor_bytes(type), bytes = count * each;
  float peak = 0;
  for (size_t at = 0; at < bytes; at += COPY_BYTES) {
    size_t n = bytes - at < COPY_BYTES ? bytes - at : COPY_BYTES;
    memcpy((uint8_t *)to + at, from + at, n);
    peak = greater(peak, factor_peak((struct factor){(uint8_t *)to + at, type}, n / each));
  }
  return peak;
}

/* --- in how many bits --------------------------------------------------------------------------------------------- */

/* To nearest, ties to even; magnitudes below 65,520. */
static uint16_t half_round(float value) {
  uint32_t bits = float_bits(value), magnitude = bits & 0x7FFFFFFF;
  uint32_t normal = (magnitude - (112u << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13;
  uint32_t subnormal = float_bits(float_from_bits(magnitude) + 0.5f) - float_bits(0.5f);
  return (uint16_t)((bits >> 16 & 0x8000) | (magnitude < 113u << 23 ? subnormal : normal));
}

/* Are all floats, which may lie anywhere, numbers of F16? Of BF16, if `bfloats`. */
static bool all_narrow(const uint8_t *from, size_t count, bool bfloats) {
  uint32_t lost = 0;
  for (size_t at = 0; at < count && !lost; at += CHECK_NUMBERS) {
    float floats[CHECK_NUMBERS];
    size_t n = count - at < CHECK_NUMBERS ? count - at : CHECK_NUMBERS;
    memcpy(floats, from + at * sizeof *floats, n * sizeof *floats);
    for (size_t i = 0; bfloats && i < n; i++) lost |= float_bits(floats[i]) & 0xFFFF;
    for (size_t i = 0; !bfloats && i < n; i++) lost |= half_to_float(half_from_float(floats[i])) != floats[i];
  }
  return !lost;
}

static bool tensors_narrow(const struct tensor *const *tensors, int n, bool bfloats) {
  bool all = true;
  for (int i = 0; i < n && all; i++) all = !tensors[i] || all_narrow(tensors[i]->data.data, tensors[i]->count, bfloats);
  return all;
}

bool factor_type_of(const struct tensor *const *tensors, int n, bool coded, uint8_t *type) {
  int of = -1;
  for (int i = 0; i < n; i++) {
    if (!tensors[i]) continue;
    if (tensors[i]->factor || (of >= 0 && of != (int)tensors[i]->type)) return false;
    of = (int)tensors[i]->type;
  }
  *type = of == TENSOR_BF16 ? FACTOR_BF16 : of == TENSOR_F16 ? FACTOR_F16 : FACTOR_F32;
  if (*type != FACTOR_F32) return true;
  return of == TENSOR_F32 && !coded && !tensors_narrow(tensors, n, true) && !tensors_narrow(tensors, n, false);
}

/* The greatest number becomes one in [0.5, 1): what is then less than 2^-14, where F16 loses bits, hardly counts beside
 * it. */
uint8_t factor_type_choose(const float *floats, size_t count, bool coded, int *exponent) {
  *exponent = 0;
  if (all_narrow((const uint8_t *)floats, count, true)) return FACTOR_BF16;
  if (all_narrow((const uint8_t *)floats, count, false)) return FACTOR_F16;
  frexpf(bits32_peak(floats, count), exponent);
  return coded && abs(*exponent) <= EXPONENT_MOST ? FACTOR_F16 : FACTOR_F32;
}

void factor_fill(const float *floats, size_t count, uint8_t type, int exponent, void *numbers) {
  uint16_t *narrow = numbers;
  float unit = ldexpf(1, -exponent);
  if (type == FACTOR_F32)
    memcpy(numbers, floats, count * sizeof *floats);
  else if (type == FACTOR_BF16)
    for (size_t i = 0; i < count; i++) narrow[i] = (uint16_t)(float_bits(floats[i]) >> 16);
  else
    for (size_t i = 0; i < count; i++) narrow[i] = half_round(floats[i] * unit);
}
