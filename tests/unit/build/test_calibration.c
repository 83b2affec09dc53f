/* The calibrated methods against an implementation of their own in numpy (tools/make_calibration_fixture.py): the codes
 * of GPTQ, the factors of AWQ and SmoothQuant; and the factor of an inverse by what it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/backends.h"
#include "base/json.h"
#include "build/channel_scale.h"
#include "build/gptq.h"
#include "build/inverse_factor.h"
#include "build/quantize.h"

#include <math.h>

enum { THREADS = 2 };

static json_t *fixture;

static int setup(void **state) {
  struct error error;
  (void)state;
  fixture = json_read(FIXTURES "/build/calibration.json", 1 << 20, &error);
  if (!fixture) printf("%s\n", error.text);
  return fixture ? 0 : 1;
}

static int teardown(void **state) {
  (void)state;
  json_decref(fixture);
  return 0;
}

/* The groups of the quant_modes, or W8A8. */
static struct scheme scheme_of(const json_t *layer) {
  struct scheme scheme = quantize_scheme((int)json_integer_value(json_object_get(layer, "bits")));
  scheme.group = (uint16_t)json_integer_value(json_object_get(layer, "group"));
  if (scheme.group) return scheme;
  scheme.scale = SCALE_F32;
  scheme.activation = ACTIVATION_INT8_TOKEN;
  return scheme;
}

static int integer_of(const json_t *object, const char *key) {
  return (int)json_integer_value(json_object_get(object, key));
}

static float *numbers_read(const json_t *array, size_t *count) {
  *count = json_array_size(array);
  float *out = calloc(*count + 1, sizeof *out);
  for (size_t i = 0; i < *count; i++) out[i] = (float)json_number_value(json_array_get(array, i));
  return out;
}

static float *numbers_of(const json_t *object, const char *key, size_t *count) {
  return numbers_read(json_object_get(object, key), count);
}

/* --- the factor ----------------------------------------------------------------------------------------------------
 */

static double number_random(uint32_t *state) {
  *state = *state * 1664525 + 1013904223;
  return (double)(*state >> 8) * 0x1p-24 - 0.5;
}

/* H = A Aᵀ + I, upper half. */
static float *definite_make(int n, size_t stride) {
  uint32_t random = 7;
  float *a = calloc((size_t)n * (size_t)n, sizeof *a), *h = calloc((size_t)n * stride, sizeof *h);
  for (int i = 0; i < n * n; i++) a[i] = (float)number_random(&random);
  for (int i = 0; i < n; i++)
    for (int k = i; k < n; k++) {
      double sum = i == k;
      for (int j = 0; j < n; j++) sum += (double)a[i * n + j] * (double)a[k * n + j];
      h[(size_t)i * stride + (size_t)k] = (float)sum;
    }
  free(a);
  return h;
}

/* UᵀU·H is the identity, for sizes around those of panels and runs; whatever the number of threads. */
static void test_factor(void **state) {
  (void)state;
  static const int sizes[] = {1, 15, 16, 64, 65, 150};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    int n = sizes[s];
    size_t stride = factor_stride(n), bytes = (size_t)n * stride * sizeof(float);
    float *h = definite_make(n, stride), *work = malloc(bytes);
    float *upper = calloc(1, bytes), *alone = calloc(1, bytes);
    memcpy(work, h, bytes);
    assert_true(inverse_factor(work, n, upper, THREADS));
    memcpy(work, h, bytes);
    assert_true(inverse_factor(work, n, alone, 1));
    assert_memory_equal(upper, alone, bytes);
    for (int i = 0; i < n; i++)
      for (int k = 0; k < n; k++) {
        double sum = 0; /* (UᵀU H)[i][k] */
        for (int j = 0; j < n; j++) {
          double inverse = 0;
          for (int m = 0; m < n; m++)
            inverse += (double)upper[(size_t)m * stride + (size_t)i] * (double)upper[(size_t)m * stride + (size_t)j];
          sum += inverse * (double)h[(size_t)(j < k ? j : k) * stride + (size_t)(j < k ? k : j)];
        }
        if (!(fabs(sum - (i == k)) < 1e-3)) fail_msg("size %d, [%d][%d]: %g", n, i, k, sum);
      }
    free(h), free(work), free(upper), free(alone);
  }
}

static void test_not_definite(void **state) {
  (void)state;
  float h[2 * FACTOR_ALIGN] = {1, 2}, upper[2 * FACTOR_ALIGN] = {0};
  h[FACTOR_ALIGN + 1] = 1;
  assert_false(inverse_factor(h, 2, upper, 1));
}

/* --- GPTQ ----------------------------------------------------------------------------------------------------------
 */

static float *sums_make(const float *inputs, size_t tokens, int cols) {
  float *sums = calloc((size_t)cols * (size_t)cols, sizeof *sums);
  for (int i = 0; i < cols; i++)
    for (int k = 0; k < cols; k++) {
      double sum = 0;
      for (size_t t = 0; t < tokens; t++)
        sum += (double)inputs[t * (size_t)cols + (size_t)i] * (double)inputs[t * (size_t)cols + (size_t)k];
      sums[i * cols + k] = (float)sum;
    }
  return sums;
}

static void codes_check(const char *name) {
  const json_t *layer = json_object_get(fixture, name);
  int rows = integer_of(layer, "rows"), cols = integer_of(layer, "cols");
  size_t n, tokens, groups;
  float *weights = numbers_of(layer, "weights", &n), *inputs = numbers_of(layer, "inputs", &tokens);
  float *code = numbers_of(layer, "code", &n);
  float *scale = numbers_of(layer, "scale", &groups), *min = numbers_of(layer, "min", &groups);
  float *sums = sums_make(inputs, tokens / (size_t)cols, cols);
  struct scheme scheme = scheme_of(layer);
  struct gptq gptq;
  struct code_rows out;
  struct error error;
  if (!gptq_init(&gptq, sums, cols, scheme.group, THREADS, &error)) fail_msg("%s", error.text);
  assert_true(code_rows_init(&out, &scheme, rows, cols, &error));
  float *scratch = calloc(gptq_scratch(rows, cols), sizeof *scratch);
  assert_true(gptq_round(&gptq, weights, rows, &out, scratch, &error));
  for (size_t i = 0; i < groups; i++) {
    assert_float_equal(out.scale[i], scale[i], 1e-9);
    if (scheme.has_min) assert_float_equal(out.min[i], min[i], 1e-9);
  }
  struct codes codes = code_rows_view(&out, rows);
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < cols; c++) {
      int at = r * cols + c;
      if (out.code[at] != (int)code[at])
        fail_msg("%s [%d][%d]: %d, expected %g", name, r, c, out.code[at], (double)code[at]);
      assert_float_equal(weights[at], codes_value(&codes, r, c), 1e-6);
    }
  free(weights), free(inputs), free(code), free(scale), free(min), free(sums), free(scratch);
  code_rows_release(&out);
  gptq_release(&gptq);
}

static void test_gptq(void **state) {
  (void)state;
  codes_check("gptq");
  codes_check("gptq_row");
}

/* --- factors --------------------------------------------------------------------------------------------------------
 */

enum { MATRICES = 2, COLS_MOST = 64 };

static void record_fill(struct input_record *record, const float *inputs, size_t count, int cols) {
  *record = (struct input_record){.cols = cols, .n_sample = (int)(count / (size_t)cols)};
  record->mean = calloc((size_t)cols, sizeof(float));
  record->peak = calloc((size_t)cols, sizeof(float));
  record->sample = malloc(count * sizeof(float));
  memcpy(record->sample, inputs, count * sizeof(float));
  for (int c = 0; c < cols; c++) {
    double sum = 0;
    for (size_t i = (size_t)c; i < count; i += (size_t)cols) {
      sum += fabs((double)inputs[i]);
      record->peak[c] = fmaxf(record->peak[c], fabsf(inputs[i]));
    }
    record->mean[c] = (float)(sum / record->n_sample);
  }
}

static void factors_check(const char *name, scale_rule rule) {
  const json_t *layer = json_object_get(fixture, name), *matrices = json_object_get(layer, "matrices");
  int cols = integer_of(layer, "cols");
  size_t count, n_channel;
  float *inputs = numbers_of(layer, "inputs", &count), *expected = numbers_of(layer, "scale", &n_channel);
  float *matrix[MATRICES], channel[COLS_MOST], column[COLS_MOST];
  struct weight weight[MATRICES];
  const struct weight *list[MATRICES] = {&weight[0], &weight[1]};
  struct input_record record;
  struct float_device device;
  struct error error = {0};
  record_fill(&record, inputs, count, cols);
  for (int i = 0; i < MATRICES; i++) {
    matrix[i] = numbers_read(json_array_get(matrices, (size_t)i), &count);
    weight[i] = (struct weight){.rows = (int)count / cols, .cols = cols};
    weight[i].scheme = scheme_of(layer);
  }
  struct scale_fold fold = {
      .n_channel = (int)n_channel, .shared = integer_of(layer, "shared"), .dim = integer_of(layer, "dim")};
  struct scale_site site = {.fold = &fold,
                            .record = &record,
                            .device = &device,
                            .n_matrix = MATRICES,
                            .n_thread = THREADS,
                            .weight = list,
                            .matrix = matrix};
  const char *backend = getenv("SPATE_BACKEND"); /* cuda, where there is a GPU */
  if (!float_device_open(&device, backend_find(backend ? backend : "cpu"), THREADS, &error) ||
      !channel_scale_search(&site, rule, channel, column, &error))
    fail_msg("%s: %s", name, error.text);
  for (size_t i = 0; i < n_channel; i++)
    if (!(fabs((double)channel[i] / (double)expected[i] - 1) < 1e-4))
      fail_msg("%s, channel %zu: %g, expected %g", name, i, (double)channel[i], (double)expected[i]);
  for (int i = 0; i < cols; i++) assert_true(column[i] == channel[scale_fold_channel(&fold, i)]);
  float_device_close(&device);
  input_record_release(&record);
  for (int i = 0; i < MATRICES; i++) free(matrix[i]);
  free(inputs), free(expected);
}

static void test_awq(void **state) {
  (void)state;
  factors_check("awq", awq_scale);
  factors_check("awq_shared", awq_scale);
}

static void test_smooth(void **state) {
  (void)state;
  factors_check("smooth", smooth_scale);
  factors_check("smooth_row", smooth_scale);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_factor), cmocka_unit_test(test_not_definite),
                                     cmocka_unit_test(test_gptq), cmocka_unit_test(test_awq),
                                     cmocka_unit_test(test_smooth)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
