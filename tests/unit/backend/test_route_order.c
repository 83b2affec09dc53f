/* The order in which a GPU's routes prefer experts, against the comparison that the reference makes: the greater number
 * first, of equals the lower id, what is no number last. */
#include "backend/cuda/route_order.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

static const float numbers[] = {0.0f,     -0.0f,     1.0f,       -1.0f,    1.5f, 0x1p-149f, -0x1p-149f,
                                INFINITY, -INFINITY, 0x1.8p127f, -3.0e38f, NAN,  -NAN,      1.0f};

enum { COUNT = sizeof numbers / sizeof *numbers };

/* Is the one with the id i before the other? */
static bool comes_first(float a, int i, float b, int j) {
  if (isnan(a) || isnan(b)) return isnan(a) && isnan(b) ? i < j : isnan(b);
  return a == b ? i < j : a > b;
}

static void test_every_pair(void **state) {
  (void)state;
  for (int i = 0; i < COUNT; i++)
    for (int j = 0; j < COUNT; j++)
      for (int ids = 0; ids < 2; ids++) {
        int a = ids ? 4095 : 7, b = ids ? 7 : 4095;
        bool first = route_key(numbers[i], a) > route_key(numbers[j], b);
        if (first != comes_first(numbers[i], a, numbers[j], b))
          fail_msg("%g and %g", (double)numbers[i], (double)numbers[j]);
      }
}

/* A key is never 0, which is what a lane has that has none, and gives its id back. */
static void test_ids(void **state) {
  (void)state;
  for (int i = 0; i < COUNT; i++)
    for (int id = 0; id < 4096; id += 65) {
      assert_true(route_key(numbers[i], id) > 0);
      assert_int_equal(route_id(route_key(numbers[i], id)), id);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_pair), cmocka_unit_test(test_ids)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
