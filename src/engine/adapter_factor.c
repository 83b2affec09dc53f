/* Compiled for speed (CMakeLists.txt): an adapter of a large model is tens of millions of numbers. */
#include "engine/adapter_factor.h"

#include "base/half.h"

#include <math.h>
#include <stdlib.h>

enum { EXPONENT_MOST = 64 }; /* of what goes into a gain */

uint8_t factor_type_of(const struct tensor *const *tensors, int n) {
  int type = -1;
  for (int i = 0; i < n; i++) {
    if (!tensors[i]) continue;
    if (tensors[i]->factor || (type >= 0 && type != (int)tensors[i]->type)) return FACTOR_F32;
    type = (int)tensors[i]->type;
  }
  return type == TENSOR_BF16 ? FACTOR_BF16 : type == TENSOR_F16 ? FACTOR_F16 : FACTOR_F32;
}

/* Magnitudes of 16 bits are in the order of their bits. */
static uint16_t bits_peak(const uint16_t *numbers, size_t count) {
  int16_t peak = 0;
  for (size_t i = 0; i < count; i++) {
    int16_t magnitude = (int16_t)(numbers[i] & 0x7FFF);
    peak = magnitude > peak ? magnitude : peak;
  }
  return (uint16_t)peak;
}

static float floats_peak(const float *floats, size_t count) {
  uint32_t peak = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t magnitude = float_bits(floats[i]) & 0x7FFFFFFF;
    peak = magnitude > peak ? magnitude : peak;
  }
  return float_from_bits(peak);
}

float factor_peak(struct factor factor, size_t count) {
  if (factor.type == FACTOR_F32) return floats_peak(factor.numbers, count);
  uint16_t peak = bits_peak(factor.numbers, count);
  return factor.type == FACTOR_BF16 ? bfloat_to_float(peak) : half_to_float(peak);
}

static bool all_bfloats(const float *floats, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (float_bits(floats[i]) & 0xFFFF) return false;
  return true;
}

static bool all_halves(const float *floats, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (half_to_float(half_from_float(floats[i])) != floats[i]) return false;
  return true;
}

/* The greatest number becomes one in [0.5, 1): what is then less than 2^-14, where F16 loses bits, hardly counts beside
 * it. */
uint8_t factor_type_choose(const float *floats, size_t count, bool coded, int *exponent) {
  *exponent = 0;
  if (all_bfloats(floats, count)) return FACTOR_BF16;
  if (all_halves(floats, count)) return FACTOR_F16;
  frexpf(floats_peak(floats, count), exponent);
  return coded && abs(*exponent) <= EXPONENT_MOST ? FACTOR_F16 : FACTOR_F32;
}

void factor_fill(const float *floats, size_t count, uint8_t type, int exponent, void *numbers) {
  uint16_t *narrow = numbers;
  if (type == FACTOR_F32)
    memcpy(numbers, floats, count * sizeof *floats);
  else if (type == FACTOR_BF16)
    for (size_t i = 0; i < count; i++) narrow[i] = bfloat_from_float(floats[i]);
  else if (exponent == 0)
    for (size_t i = 0; i < count; i++) narrow[i] = half_from_float(floats[i]);
  else
    for (size_t i = 0; i < count; i++) narrow[i] = half_from_float(ldexpf(floats[i], -exponent));
}
