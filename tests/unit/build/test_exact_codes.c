/* "As the file is": for every GGML type, the scheme and codes that a build stores mean bit for bit the floats that the
 * type dequantizes to, in its own scheme and in one joined with every other type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/half.h"
#include "build/exact_codes.h"
#include "build/quantize.h"
#include "format/ggml_dequant.h"

#include <math.h>
#include <stdlib.h>

enum { COLS = 768, TRIALS = 20 };

static uint32_t random_state = 7;

static uint8_t random_byte(void) {
  random_state = random_state * 1664525 + 1013904223;
  return (uint8_t)(random_state >> 24);
}

/* A row of random blocks whose numbers are moderate (MXFP4's exponents alone reach 2^127), and its numbers. */
static uint8_t *row_make(enum tensor_type type, float *values) {
  size_t bytes;
  assert_true(tensor_type_bytes(type, COLS, &bytes));
  uint8_t *row = malloc(bytes);
  for (bool moderate = false; !moderate;) {
    for (size_t i = 0; i < bytes; i++) row[i] = random_byte();
    assert_true(tensor_dequantize(type, row, COLS, values));
    moderate = true;
    for (int i = 0; i < COLS; i++) moderate = moderate && fabsf(values[i]) < 1e30f;
  }
  return row;
}

static void row_check(enum tensor_type type, const struct scheme *scheme, const uint8_t *source, const float *values) {
  struct code_rows rows;
  struct exact_row row;
  struct error error;
  if (!scheme_check(scheme, &error)) fail_msg("%s", error.text);
  assert_true(exact_scheme_holds(scheme, type));
  assert_true(code_rows_init(&rows, scheme, 2, COLS, &error) && exact_row_init(&row, COLS, &error));
  exact_row_store(&row, type, source, &rows, 1);
  struct codes codes = code_rows_view(&rows, 2);
  for (int i = 0; i < COLS; i++) {
    float value = (float)codes_value(&codes, 1, i);
    if (value != values[i])
      fail_msg("%s, column %d: %.9g, expected %.9g", tensor_type_name(type), i, (double)value, (double)values[i]);
    assert_true(codes_value(&codes, 0, i) == 0); /* the row beside it is untouched */
    assert_true(codes.code[COLS + i] < 1 << scheme_width(scheme));
  }
  code_rows_clear(&rows, 1);
  codes = code_rows_view(&rows, 2);
  for (int i = 0; i < COLS; i++) assert_true(codes_value(&codes, 1, i) == 0);
  exact_row_release(&row);
  code_rows_release(&rows);
}

static void test_every_type(void **state) {
  (void)state;
  int n_type = 0;
  for (int i = 0; i < TENSOR_TYPE_COUNT; i++) {
    enum tensor_type type = (enum tensor_type)i;
    struct ggml_code_form form;
    if (!ggml_code_form(type, &form)) continue;
    n_type++;
    struct scheme own = exact_scheme(type);
    for (int trial = 0; trial < TRIALS; trial++) {
      float values[COLS];
      uint8_t *source = row_make(type, values);
      row_check(type, &own, source, values);
      struct scheme wide;
      assert_true(exact_scheme_wide(type, &wide));
      row_check(type, &wide, source, values);
      free(source);
    }
  }
  assert_int_equal(n_type, 23); /* Q4_0 … Q5_1 Q8_0 Q2_K … Q6_K IQ1_S … IQ4_XS TQ1_0 TQ2_0 MXFP4 NVFP4 */
}

static const struct {
  enum tensor_type type;
  const char *name;
} names[] = {
    {TENSOR_F32, "F32"},
    {TENSOR_F16, "F16"},
    {TENSOR_BF16, "BF16"},
    {TENSOR_Q4_0, "int4 g32 f16 a8"},
    {TENSOR_Q4_1, "int4 g32 f16 min a8"},
    {TENSOR_Q5_0, "int5 g32 f16 a8"},
    {TENSOR_Q5_1, "int5 g32 f16 min a8"},
    {TENSOR_Q8_0, "int8 g32 f16 a8"},
    {TENSOR_Q2_K, "int2 g16 two-level min a8"},
    {TENSOR_Q3_K, "int3 g16 two-level a8"},
    {TENSOR_Q4_K, "int4 g32 two-level min a8"},
    {TENSOR_Q5_K, "int5 g32 two-level min a8"},
    {TENSOR_Q6_K, "int6 g16 two-level a8"},
    {TENSOR_IQ4_NL, "int4 g32 f16 iq4 a8"},
    {TENSOR_IQ4_XS, "int4 g32 two-level iq4 a8"},
    {TENSOR_IQ1_S, "int3 g32 two-level iq1 a8"},
    {TENSOR_IQ1_M, "int3 g16 two-level iq1 a8"},
    {TENSOR_IQ2_XXS, "int3 g32 two-level iq2 a8"},
    {TENSOR_IQ2_XS, "int3 g16 two-level iq2 a8"},
    {TENSOR_IQ2_S, "int3 g16 two-level iq2 a8"},
    {TENSOR_IQ3_XXS, "int4 g32 two-level iq3 a8"},
    {TENSOR_IQ3_S, "int4 g32 two-level odd a8"},
    {TENSOR_MXFP4, "int4 g32 bf16 e2m1 a8"},
    {TENSOR_TQ1_0, "int2 g128 f16 a8"},
    {TENSOR_TQ2_0, "int2 g128 f16 min a8"},
    {TENSOR_NVFP4, "int4 g16 bf16 e2m1 a8"},
};

static void test_names(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct scheme scheme = exact_scheme(names[i].type);
    char name[48];
    assert_string_equal(scheme_name(&scheme, name), names[i].name);
  }
}

static void test_wide(void **state) {
  (void)state;
  char name[48];
  struct scheme scheme;
  assert_true(exact_scheme_wide(TENSOR_Q6_K, &scheme));
  assert_string_equal(scheme_name(&scheme, name), "int6 g16 f32 min a8");
  assert_true(exact_scheme_wide(TENSOR_Q4_K, &scheme));
  assert_string_equal(scheme_name(&scheme, name), "int4 g32 f32 min a8");
  assert_false(exact_scheme_holds(&scheme, TENSOR_Q6_K));
  assert_false(exact_scheme_wide(TENSOR_F16, &scheme));
  struct scheme quantized = quantize_scheme(8);
  assert_false(exact_scheme_holds(&quantized, TENSOR_Q4_0));
  assert_false(exact_scheme_holds(&quantized, TENSOR_BF16));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_type),
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_wide),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
