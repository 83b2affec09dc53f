/* Numbers of an adapter that is merged: what is not finite is refused, whatever the matrix is rounded to afterwards.
 * That the others are peft's, e2e/test_lora.py shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "build/merge_adapter.h"

static const float shift[] = {1, -2}, a[] = {3, 1}, b[] = {1, 2}, magnitude[] = {2, 2};

static void test_vector(void **state) {
  const struct adapter_op op = {.shift = shift};
  struct error error = {0};
  float fine[] = {5, 5}, great[] = {5, 5};
  (void)state;
  assert_true(merge_vector(&(struct weight_merge){.op = &op, .scale = 0.5f}, 2, fine, &error));
  assert_true(fine[0] == 5.5f && fine[1] == 4);
  assert_false(merge_vector(&(struct weight_merge){.op = &op, .scale = 3e38f}, 2, great, &error));
  assert_string_equal(error.text, "has with the adapter a number at 1 that is not finite; merge less of it.");
}

static bool row_merge(const struct adapter_op *op, float scale, float out[2], struct error *error) {
  const struct weight weight = {.rows = 2, .cols = 2};
  const struct weight_merge merge = {.op = op, .scale = scale, .embeds = true};
  out[0] = out[1] = 1;
  return merge_row(&merge, &weight, 0, out, error);
}

static void test_row(void **state) {
  const struct adapter_op op = {.rank = 1, .a = {.numbers = a}, .b = {.numbers = b}, .gain = {1}};
  struct error error = {0};
  float out[2];
  (void)state;
  assert_true(row_merge(&op, 2, out, &error));
  assert_true(out[0] == 7 && out[1] == 13);
  assert_false(row_merge(&op, 1e38f, out, &error));
  assert_string_equal(error.text, "has with the adapter a number at 1 that is not finite; merge less of it.");
}

/* Squares that rounding has made negative have a root. */
static void test_rounded_norm(void **state) {
  static const float w2[] = {1, 1}, wd[] = {1.0000001f, 1}, d2[] = {1, 1};
  const struct adapter_op op = {.rank = 1, .a = {.numbers = a}, .b = {.numbers = b}, .gain = {1}, .magnitude = magnitude, .w2 = w2, .wd = wd, .d2 = d2};
  struct error error = {0};
  float out[2];
  (void)state;
  assert_true(row_merge(&op, -1, out, &error));
  assert_true(isfinite(out[0]) && isfinite(out[1]));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_vector),
      cmocka_unit_test(test_row),
      cmocka_unit_test(test_rounded_norm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
