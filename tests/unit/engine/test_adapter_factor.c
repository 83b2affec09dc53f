/* Factors in 16 bits: which are kept as they are, what of floats is lost beside codes and beside nothing else. The
 * oracle of rounding is base/half.h, which unit/base/test_half holds against all floats. */
#include "base/half.h"
#include "engine/adapter_factor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { COUNT = 5000 };

/* In [−1, 1), with small ones among them. */
static void random_fill(float *floats, uint64_t seed) {
  for (int i = 0; i < COUNT; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    floats[i] = ldexpf((float)(seed >> 40) * 0x1p-23f - 1, -(int)(seed >> 20 & 31));
  }
  floats[COUNT - 1] = 0.9990234375f; /* the greatest but for its last bits */
}

static uint8_t keep(const float *floats, bool coded, float *kept, int *exponent) {
  static uint32_t numbers[COUNT];
  uint8_t type = factor_type_choose(floats, COUNT, coded, exponent);
  factor_fill(floats, COUNT, type, type == FACTOR_F32 ? 0 : *exponent, numbers);
  factor_floats((struct factor){numbers, type}, 0, COUNT, kept);
  return type;
}

static void test_exact(void **state) {
  static float floats[COUNT], kept[COUNT];
  int exponent;
  (void)state;
  random_fill(floats, 1);
  for (int i = 0; i < COUNT; i++) floats[i] = bfloat_to_float(bfloat_from_float(floats[i] * 1e30f));
  assert_int_equal(keep(floats, false, kept, &exponent), FACTOR_BF16);
  assert_memory_equal(floats, kept, sizeof floats);
  random_fill(floats, 2);
  for (int i = 0; i < COUNT; i++) floats[i] = half_to_float(half_from_float(floats[i] * 60000));
  assert_int_equal(keep(floats, true, kept, &exponent), FACTOR_F16);
  assert_memory_equal(floats, kept, sizeof floats);
  random_fill(floats, 3);
  assert_int_equal(keep(floats, false, kept, &exponent), FACTOR_F32);
  assert_memory_equal(floats, kept, sizeof floats);
}

/* As the table of half.h rounds them, whatever the greatest is; of great and of tiny ones floats stay. */
static void test_beside_codes(void **state) {
  static const int powers[] = {-63, -10, -1, 0, 1, 13, 64};
  static float floats[COUNT], scaled[COUNT], kept[COUNT];
  int exponent;
  (void)state;
  random_fill(floats, 4);
  for (size_t p = 0; p < sizeof powers / sizeof *powers; p++) {
    for (int i = 0; i < COUNT; i++) scaled[i] = ldexpf(floats[i], powers[p]);
    assert_int_equal(keep(scaled, true, kept, &exponent), FACTOR_F16);
    assert_int_equal(exponent, powers[p]);
    for (int i = 0; i < COUNT; i++) {
      assert_true(kept[i] == half_to_float(half_from_float(floats[i])));
      if (fabsf(floats[i]) >= 0x1p-14f) assert_true(fabsf(kept[i] - floats[i]) <= 0x1p-11f * fabsf(floats[i]));
    }
  }
  for (int i = 0; i < COUNT; i++) scaled[i] = ldexpf(floats[i], 65);
  assert_int_equal(keep(scaled, true, kept, &exponent), FACTOR_F32);
  assert_memory_equal(scaled, kept, sizeof kept);
}

static struct tensor tensor_of(enum tensor_type type, const void *data, size_t bytes) {
  return (struct tensor){.type = type, .count = COUNT, .data = {.data = data, .size = bytes}};
}

static void test_types(void **state) {
  static float fine[COUNT], coarse[COUNT];
  static uint8_t bytes[COUNT * 4 + 1];
  uint8_t type;
  (void)state;
  random_fill(fine, 5);
  for (int i = 0; i < COUNT; i++) coarse[i] = bfloat_to_float(bfloat_from_float(fine[i]));
  memcpy(bytes + 1, fine, sizeof fine); /* a file's numbers lie anywhere */
  struct tensor bf16 = tensor_of(TENSOR_BF16, fine, 2 * COUNT), f16 = tensor_of(TENSOR_F16, fine, 2 * COUNT);
  struct tensor f32 = tensor_of(TENSOR_F32, bytes + 1, sizeof fine), few = tensor_of(TENSOR_F32, coarse, sizeof fine);
  assert_true(factor_type_of((const struct tensor *[]){NULL, &bf16, &bf16}, 3, true, &type) && type == FACTOR_BF16);
  assert_true(factor_type_of((const struct tensor *[]){&f16}, 1, true, &type) && type == FACTOR_F16);
  assert_true(factor_type_of((const struct tensor *[]){&f32, &few}, 2, false, &type) && type == FACTOR_F32);
  assert_false(factor_type_of((const struct tensor *[]){&f32}, 1, true, &type));
  assert_false(factor_type_of((const struct tensor *[]){&few}, 1, false, &type)); /* 16 bits hold them */
  assert_false(factor_type_of((const struct tensor *[]){&f16, &bf16}, 2, false, &type));
  bf16.factor = &f32;
  assert_false(factor_type_of((const struct tensor *[]){&bf16}, 1, false, &type));
}

/* Wherever the number that is none lies, and whatever comes after it. */
static void test_peaks(void **state) {
  static const uint32_t none[] = {0x7F800000, 0xFF800000, 0x7FC00000, 0xFFFFFFFF};
  static float floats[COUNT], copy[COUNT];
  static uint16_t halves[COUNT], narrow[COUNT];
  (void)state;
  random_fill(floats, 6);
  for (int i = 0; i < COUNT; i++) halves[i] = half_from_float(floats[i]);
  assert_true(factor_copy((uint8_t *)floats, COUNT, FACTOR_F32, copy) == 0.9990234375f);
  assert_true(factor_copy((uint8_t *)halves, COUNT, FACTOR_F16, narrow) == 0.9990234375f);
  assert_memory_equal(floats, copy, sizeof floats);
  assert_memory_equal(halves, narrow, sizeof halves);
  for (int at = 0; at < COUNT; at += 617)
    for (int k = 0; k < 4; k++) {
      float was = floats[at];
      uint16_t half = halves[at];
      floats[at] = float_from_bits(none[k]);
      halves[at] = (uint16_t)(k == 0 ? 0x7C00 : k == 1 ? 0xFC00 : k == 2 ? 0x7E00 : 0xFFFF);
      assert_false(isfinite(factor_copy((uint8_t *)floats, COUNT, FACTOR_F32, copy)));
      assert_false(isfinite(factor_copy((uint8_t *)halves, COUNT, FACTOR_F16, narrow)));
      halves[at] = (uint16_t)(none[k] >> 16);
      assert_false(isfinite(factor_copy((uint8_t *)halves, COUNT, FACTOR_BF16, narrow)));
      floats[at] = was;
      halves[at] = half;
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_exact), cmocka_unit_test(test_beside_codes),
                                     cmocka_unit_test(test_types), cmocka_unit_test(test_peaks)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
