/* Products that are subtracted: the bits of a plain loop, whatever instruction set the loop was built for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "build/product_subtract.h"

enum { ROWS = 9, DEPTH = 130, COLS = 48, STRIDE = 64 };

typedef void (*subtract)(const struct product_operands *operands);

#if defined(__x86_64__)
void product_subtract_avx2(const struct product_operands *operands);
void product_subtract_avx512(const struct product_operands *operands);
#endif

static void numbers_make(float *out, int count, uint32_t seed) {
  for (int i = 0; i < count; i++) {
    seed = seed * 1664525u + 1013904223u;
    out[i] = (float)(int32_t)seed / (float)(1 << 28);
  }
}

static void plain(const struct product_operands *o) {
  for (int r = 0; r < o->rows; r++)
    for (int c = 0; c < o->cols; c++)
      for (int i = 0; i < o->depth; i++)
        o->y[(size_t)r * o->y_stride + (size_t)c] -=
            o->e[(size_t)r * o->e_stride + (size_t)i] * o->x[(size_t)i * o->x_stride + (size_t)c];
}

static void shape_check(subtract run, int rows, int depth, int cols) {
  static float e[ROWS * DEPTH], x[DEPTH * STRIDE], truth[ROWS * STRIDE], found[ROWS * STRIDE];
  struct product_operands o = {truth, e, x, STRIDE, DEPTH, STRIDE, rows, depth, cols};
  numbers_make(e, ROWS * DEPTH, 1);
  numbers_make(x, DEPTH * STRIDE, 2);
  numbers_make(truth, ROWS * STRIDE, 3);
  memcpy(found, truth, sizeof found);
  plain(&o);
  o.y = found;
  run(&o);
  assert_memory_equal(truth, found, sizeof found); /* what lies beside the columns too */
}

static void shapes_check(subtract run) {
  for (int rows = 0; rows <= ROWS; rows++)
    for (int depth = 0; depth <= DEPTH; depth += 13)
      for (int cols = 0; cols <= COLS; cols += PRODUCT_LANES) shape_check(run, rows, depth, cols);
}

static void test_bits(void **state) {
  (void)state;
  shapes_check(product_subtract);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) shapes_check(product_subtract_avx2);
  if (__builtin_cpu_supports("avx512f")) shapes_check(product_subtract_avx512);
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
