/* Half, bfloat and E4M3 conversions over all their patterns, and their roundings at the edges. */
#include "base/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka wants the four above */
#include <cmocka.h>

static void test_every_half_round_trips(void **state) {
  (void)state;
  for (uint32_t bits = 0; bits <= 0xFFFF; bits++) {
    float value = half_to_float((uint16_t)bits);
    uint16_t back = half_from_float(value);
    if (isnan(value)) {
      assert_int_equal(back, bits | 0x200); /* quiet */
    } else {
      assert_int_equal(back, bits);
    }
  }
}

static void test_every_half_has_its_value(void **state) {
  (void)state;
  for (uint32_t bits = 0; bits < 0x7C00; bits++) {
    int exponent = (int)(bits >> 10);
    double fraction = bits & 1023;
    double expected = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    assert_true((double)half_to_float((uint16_t)bits) == expected);
    assert_true((double)half_to_float((uint16_t)(bits | 0x8000)) == -expected);
  }
}

/* Between each two neighbours: a little under the middle goes down, a little over goes up, the middle to the even. */
static void test_half_rounds_to_nearest_even(void **state) {
  (void)state;
  for (uint32_t bits = 0; bits < 0x7BFF; bits++) {
    float middle = (half_to_float((uint16_t)bits) + half_to_float((uint16_t)(bits + 1))) / 2;
    assert_int_equal(half_from_float(middle), (bits + 1) & ~1u);
    assert_int_equal(half_from_float(nextafterf(middle, 0)), bits);
    assert_int_equal(half_from_float(nextafterf(middle, INFINITY)), bits + 1);
  }
}

static void test_half_edges(void **state) {
  (void)state;
  assert_int_equal(half_from_float(65519.996f), 0x7BFF);
  assert_int_equal(half_from_float(65520.0f), 0x7C00);
  assert_int_equal(half_from_float(-1e30f), 0xFC00);
  assert_int_equal(half_from_float(-INFINITY), 0xFC00);
  assert_int_equal(half_from_float(-0.0f), 0x8000);
  assert_true(isnan(half_to_float(half_from_float(float_from_bits(0x7F800001)))));
}

static void test_every_bfloat_round_trips(void **state) {
  (void)state;
  for (uint32_t bits = 0; bits <= 0xFFFF; bits++) {
    float value = bfloat_to_float((uint16_t)bits);
    assert_int_equal(bfloat_from_float(value), isnan(value) ? (bits | 0x40) : bits);
  }
}

static void test_bfloat_edges(void **state) {
  (void)state;
  assert_int_equal(bfloat_from_float(float_from_bits(0x3F808000)), 0x3F80); /* a tie, to even */
  assert_int_equal(bfloat_from_float(float_from_bits(0x3F818000)), 0x3F82);
  assert_int_equal(bfloat_from_float(float_from_bits(0x3F808001)), 0x3F81);
  assert_int_equal(bfloat_from_float(float_from_bits(0x7F7FFFFF)), 0x7F80); /* the largest float: infinity */
  assert_true(isnan(bfloat_to_float(bfloat_from_float(float_from_bits(0x7F800001)))));
}

/* The values of the paper's table: 2^-9 × fraction below 2^-6, (8 + fraction) × 2^(exponent − 10) above, 448 at most.
 */
static void test_every_e4m3(void **state) {
  (void)state;
  for (int bits = 0; bits < 0x7F; bits++) {
    int exponent = bits >> 3, fraction = bits & 7;
    double expected = exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
    assert_true((double)e4m3_to_float((uint8_t)bits) == expected);
    assert_true((double)e4m3_to_float((uint8_t)(bits | 0x80)) == -expected);
    assert_int_equal(e4m3_from_float((float)expected), bits);
    assert_int_equal(e4m3_from_float((float)-expected), bits | 0x80);
  }
  assert_true(isnan(e4m3_to_float(0x7F)) && isnan(e4m3_to_float(0xFF)));
}

static void test_every_e8m0(void **state) {
  (void)state;
  for (int bits = 0; bits < 255; bits++) assert_true((double)e8m0_to_float((uint8_t)bits) == ldexp(1, bits - 127));
  assert_true(isnan(e8m0_to_float(255)));
}

static void test_e4m3_rounds_to_nearest_even(void **state) {
  (void)state;
  for (int bits = 0; bits < 0x7E; bits++) {
    float middle = (e4m3_to_float((uint8_t)bits) + e4m3_to_float((uint8_t)(bits + 1))) / 2;
    assert_int_equal(e4m3_from_float(middle), (bits + 1) & ~1);
    assert_int_equal(e4m3_from_float(nextafterf(middle, 0)), bits);
    assert_int_equal(e4m3_from_float(nextafterf(middle, INFINITY)), bits + 1);
  }
  assert_int_equal(e4m3_from_float(E4M3_MAX), 0x7E);
  assert_int_equal(e4m3_from_float(1e9f), 0x7E);
  assert_int_equal(e4m3_from_float(-INFINITY), 0xFE);
  assert_int_equal(e4m3_from_float(NAN) & 0x7F, 0x7F);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_half_round_trips),
      cmocka_unit_test(test_every_half_has_its_value),
      cmocka_unit_test(test_half_rounds_to_nearest_even),
      cmocka_unit_test(test_half_edges),
      cmocka_unit_test(test_every_bfloat_round_trips),
      cmocka_unit_test(test_bfloat_edges),
      cmocka_unit_test(test_every_e4m3),
      cmocka_unit_test(test_every_e8m0),
      cmocka_unit_test(test_e4m3_rounds_to_nearest_even),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
