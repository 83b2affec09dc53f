/* Factors of one expert, cut out of those of all. That they are the right ones parity/test_adapters shows. */
#include "engine/adapter_parameter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { EXPERTS = 3, RANK = 2, COLS = 4, ROWS = 6 };

static float a_numbers[EXPERTS * RANK * COLS], b_numbers[ROWS * RANK * EXPERTS];

static struct tensor tensor_make(float *numbers, int64_t rows, int64_t cols) {
  size_t count = (size_t)(rows * cols);
  for (size_t i = 0; i < count; i++) numbers[i] = (float)i;
  return (struct tensor){.type = TENSOR_F32,
                         .n_dim = 2,
                         .dim = {rows, cols},
                         .count = count,
                         .data = slice_make((const uint8_t *)numbers, count * sizeof *numbers)};
}

static float number_of(const struct tensor *tensor, size_t i) {
  return ((const float *)(const void *)tensor->data.data)[i];
}

/* Gate and up of one tensor ask for the same; halves of it for one each. */
static void test_once(void **state) {
  (void)state;
  struct tensor a = tensor_make(a_numbers, EXPERTS * RANK, COLS), b = tensor_make(b_numbers, ROWS, RANK * EXPERTS);
  struct expert_slice slice = {&a, &b, EXPERTS, 1, RANK, 0, ROWS};
  struct expert_factors *list = NULL, *whole = expert_factors_take(&list, &slice, NULL);
  assert_true(whole && list == whole);
  assert_true(whole->a.dim[0] == RANK && number_of(&whole->a, 0) == RANK * COLS);
  assert_true(whole->b.dim[0] == ROWS && number_of(&whole->b, 2 * RANK + 1) == 2 * RANK * EXPERTS + EXPERTS + 1);
  assert_ptr_equal(expert_factors_take(&list, &slice, NULL), whole);
  assert_null(whole->next);
  slice.first = ROWS / 2, slice.rows = ROWS / 2;
  struct expert_factors *up = expert_factors_take(&list, &slice, NULL);
  assert_true(up && up != whole && list == up && up->next == whole);
  assert_true(up->b.count == ROWS / 2 * RANK && number_of(&up->b, 0) == ROWS / 2 * RANK * EXPERTS + 1);
  slice.expert = 2;
  assert_ptr_not_equal(expert_factors_take(&list, &slice, NULL), up);
  while (list) {
    struct expert_factors *next = list->next;
    free(list);
    list = next;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_once)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
