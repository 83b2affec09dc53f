/* Quantizers: never worse than plain rounding, close to the best that a brute-force search finds, exact on what is
 * exactly representable, and the sentences for numbers that do not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/half.h"
#include "build/quantize.h"

#include <math.h>
#include <stdlib.h>

enum { GROUP = 32 };

static uint32_t random_state = 1;

static float random_normal(void) {
  float sum = 0; /* of twelve uniform numbers: close enough */
  for (int i = 0; i < 12; i++) {
    random_state = random_state * 1664525 + 1013904223;
    sum += (float)(random_state >> 8) * 0x1p-24f;
  }
  return sum - 6;
}

/* Quantizes one row and returns its squared error. */
static double row_error(const struct scheme *scheme, const float *row, int cols) {
  struct code_rows rows;
  struct error error;
  if (!code_rows_init(&rows, scheme, 1, cols, &error) || !quantize_row(row, NULL, &rows, 0, &error))
    fail_msg("%s", error.text);
  struct codes codes = code_rows_view(&rows, 1);
  double sum = 0;
  for (int i = 0; i < cols; i++) sum += pow(codes_value(&codes, 0, i) - (double)row[i], 2);
  code_rows_release(&rows);
  return sum;
}

static double affine_squares(double scale, double min, double top, const float *x, int count) {
  double sum = 0;
  for (int i = 0; i < count; i++) {
    double code = scale > 0 ? fmin(fmax(nearbyint(((double)x[i] - min) / scale), 0), top) : 0;
    sum += pow(scale * code + min - (double)x[i], 2);
  }
  return sum;
}

/* The least error over a fine grid of both ends of the range, scales in double. */
static double brute_force(bool has_min, double top, const float *x, int count) {
  double low = INFINITY, high = -INFINITY, best = INFINITY;
  for (int i = 0; i < count; i++) low = fmin(low, (double)x[i]), high = fmax(high, (double)x[i]);
  double reach = fmax(-low, high), span = high - low;
  for (int i = 0; i <= 40; i++) {
    for (int k = 0; k <= (has_min ? 40 : 0); k++) {
      double scale = has_min ? span * (1 - 0.01 * (i + k)) / top : reach * (1 - 0.01 * i) / floor(top / 2);
      double min = has_min ? low + span * 0.01 * k : -scale * ceil(top / 2);
      best = fmin(best, affine_squares(scale, min, top, x, count));
    }
  }
  return best;
}

static void check_against_brute_force(int bits, double slack) {
  struct scheme scheme = quantize_scheme(bits);
  double top = pow(2, bits) - 1, ours = 0, plain = 0, best = 0;
  for (int trial = 0; trial < 200; trial++) {
    float x[GROUP], low = INFINITY, high = -INFINITY;
    for (int i = 0; i < GROUP; i++) {
      x[i] = 0.02f * random_normal() + (trial % 4 == 0 ? 0.03f : 0);
      if (trial % 3 == 0 && i == 7) x[i] *= 3;
      low = fminf(low, x[i]), high = fmaxf(high, x[i]);
    }
    ours += row_error(&scheme, x, GROUP);
    best += brute_force(scheme.has_min, top, x, GROUP);
    double reach = fmax(-(double)low, (double)high), step = (double)(high - low) / top;
    plain += scheme.has_min ? affine_squares(step, (double)low, top, x, GROUP)
                            : affine_squares(reach / 127, -128 * reach / 127, top, x, GROUP);
  }
  assert_true(ours <= plain * 1.001); /* rounding scales to 16 bits costs next to nothing */
  assert_true(ours <= best * slack);
}

static void test_int4(void **state) {
  (void)state;
  check_against_brute_force(4, 1.2);
}

static void test_int8(void **state) {
  (void)state;
  check_against_brute_force(8, 1.3);
}

/* Half a step at most, of the plain range: clipping may cost one element more only if the group gains. */
static void test_int8_bound(void **state) {
  (void)state;
  struct scheme scheme = quantize_scheme(8);
  for (int trial = 0; trial < 100; trial++) {
    float x[GROUP], reach = 0;
    for (int i = 0; i < GROUP; i++) x[i] = random_normal(), reach = fmaxf(reach, fabsf(x[i]));
    double half_step = (double)reach / 127 / 2;
    assert_true(row_error(&scheme, x, GROUP) <= GROUP * half_step * half_step * 1.01);
  }
}

static void test_exact(void **state) {
  (void)state;
  struct scheme int8 = quantize_scheme(8), int4 = quantize_scheme(4);
  float x[GROUP + 5], zero[GROUP] = {0}, same[GROUP];
  for (int i = 0; i < GROUP + 5; i++) x[i] = 0.25f * (float)(i % 2 ? 127 : (i * 7) % 100 - 50);
  assert_true(row_error(&int8, x, GROUP + 5) == 0); /* and a tail of five columns */
  for (int i = 0; i < GROUP; i++) x[i] = 0.5f * (float)(i % 16) - 3;
  assert_true(row_error(&int4, x, GROUP) == 0);
  for (int i = 0; i < GROUP; i++) same[i] = -1.5f;
  assert_true(row_error(&int4, same, GROUP) == 0);
  assert_true(row_error(&int4, zero, GROUP) == 0);
  assert_true(row_error(&int8, zero, GROUP) == 0);
}

static void test_floats(void **state) {
  (void)state;
  float x[3] = {1.0f, -0x1.008p0f, 3.0e38f};
  struct scheme f32 = {.kind = SCHEME_F32}, bf16 = {.kind = SCHEME_BF16};
  assert_true(row_error(&f32, x, 3) == 0);
  assert_true(row_error(&bf16, x, 1) == 0);
  assert_true(row_error(&bf16, x + 1, 1) == 0x1p-18); /* rounded from 1 + 2^-9 to 1 */
}

static const struct {
  int bits; /* 0: FP16 */
  float value;
  const char *sentence; /* NULL: accepted */
} refused[] = {
    {0, 65504.0f, NULL},
    {0, 65519.0f, NULL},
    {0, INFINITY, NULL}, /* the file's own */
    {0, 65520.0f, "has the value 65520 in column 34, and FP16 ends at 65504; choose quant_mode BF16 or FP32."},
    {0, -1e30f, "has the value -1e+30 in column 34, and FP16 ends at 65504; choose quant_mode BF16 or FP32."},
    {8, 8e6f, NULL},
    {8, 1e9f,
     "has numbers in columns 32 to 63 that are not finite or too large for their scales; choose quant_mode BF16 "
     "or FP32."},
    {8, NAN,
     "has numbers in columns 32 to 63 that are not finite or too large for their scales; choose quant_mode BF16 "
     "or FP32."},
    {4, -INFINITY,
     "has numbers in columns 32 to 63 that are not finite or too large for their scales; choose quant_mode "
     "BF16 or FP32."},
    {4, -7e4f,
     "has numbers in columns 32 to 63 that are not finite or too large for their scales; choose quant_mode BF16 "
     "or FP32."},
};

static void test_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    float x[2 * GROUP] = {0};
    x[34] = refused[i].value;
    struct scheme scheme = refused[i].bits ? quantize_scheme(refused[i].bits) : (struct scheme){.kind = SCHEME_F16};
    struct code_rows rows;
    struct error error = {0};
    assert_true(code_rows_init(&rows, &scheme, 1, 2 * GROUP, &error));
    bool done = quantize_row(x, NULL, &rows, 0, &error);
    code_rows_release(&rows);
    assert_int_equal(done, refused[i].sentence == NULL);
    if (!done) assert_string_equal(error.text, refused[i].sentence);
  }
}

/* E4M3: the greatest number is exact, the others within half a step of their exponent. One scale a row, or 128 columns.
 */
static void test_e4m3(void **state) {
  (void)state;
  enum { COLS = 200 };
  for (int group = 0; group <= 128; group += 128) {
    struct scheme scheme = {.kind = SCHEME_F8, .group = (uint16_t)group};
    struct code_rows rows;
    struct error error;
    float x[COLS];
    for (int i = 0; i < COLS; i++) x[i] = 0.02f * random_normal();
    x[70] = -0.5f;
    assert_true(code_rows_init(&rows, &scheme, 1, COLS, &error) && quantize_row(x, NULL, &rows, 0, &error));
    struct codes codes = code_rows_view(&rows, 1);
    assert_float_equal(codes_value(&codes, 0, 70), -0.5, 1e-7);
    for (int i = 0; i < COLS; i++) {
      double scale = (double)rows.scale[scheme_group_of(&scheme, i)];
      assert_true(fabs(codes_value(&codes, 0, i) - (double)x[i]) <=
                  fmax(fabs((double)x[i]) / 16, scale * 0x1p-10) * 1.001);
    }
    x[3] = NAN;
    assert_false(quantize_row(x, NULL, &rows, 0, &error));
    assert_string_equal(error.text, "has a number in column 3 that is not finite; repair the model.");
    code_rows_release(&rows);
  }
}

/* One scale a row: as good as a group of that width. */
static void test_row_scale(void **state) {
  (void)state;
  enum { COLS = 576 };
  struct scheme scheme = {.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN};
  float x[COLS], greatest = 0;
  for (int i = 0; i < COLS; i++) x[i] = 0.02f * random_normal(), greatest = fmaxf(greatest, fabsf(x[i]));
  double step = (double)greatest / 127;
  assert_true(row_error(&scheme, x, COLS) <= COLS * step * step / 12 * 1.2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_e4m3),   cmocka_unit_test(test_row_scale),  cmocka_unit_test(test_int4),
      cmocka_unit_test(test_int8),   cmocka_unit_test(test_int8_bound), cmocka_unit_test(test_exact),
      cmocka_unit_test(test_floats), cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
