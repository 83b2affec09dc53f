/* Pages of metrics: what is read from them, and the exact sentence for each that is none. The percentiles are those of
 * Prometheus' histogram_quantile (promtool test rules 2.42, over the same buckets). */
#include "base/limits.h"
#include "doctor/metric_page.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct {
  const char *text, *sentence;
} refused[] = {
    {"a 1", "Line 1 of the metrics has no end: the page is cut short."},
    {"a 1\nb", "Line 2 of the metrics has no end: the page is cut short."},
    {"1a 1\n", "Line 1 of the metrics does not begin with a metric's name."},
    {"{a=\"b\"} 1\n", "Line 1 of the metrics does not begin with a metric's name."},
    {"<html>\n", "Line 1 of the metrics does not begin with a metric's name."},
    {"\xff 1\n", "Line 1 of the metrics does not begin with a metric's name."},
    {"a\n", "Line 1 of the metrics has no number where a value is expected."},
    {"a \n", "Line 1 of the metrics has no number where a value is expected."},
    {"a b\n", "Line 1 of the metrics has no number where a value is expected."},
    {"a 0x10\n", "Line 1 of the metrics has no number where a value is expected."},
    {"a infinity\n", "Line 1 of the metrics has no number where a value is expected."},
    {"a nan(1)\n", "Line 1 of the metrics has no number where a value is expected."},
    {"a 1-2\n", "Line 1 of the metrics has no number where a value is expected."},
    {"a 1\r\n", "Line 1 of the metrics has no number where a value is expected."},
    {"a 1111111111111111111111111111111111111111111111111111111111111111111111\n",
     "Line 1 of the metrics has no number where a value is expected."},
    {"a-b 1\n", "Line 1 of the metrics has no number where a value is expected."},
    {"a 1 b\n", "Line 1 of the metrics goes on after its value."},
    {"a 1 2 3\n", "Line 1 of the metrics goes on after its time."},
    {"# x\n\na{ 1\n", "Line 3 of the metrics has labels that are not name=\"value\" with commas."},
    {"a{b} 1\n", "Line 1 of the metrics has labels that are not name=\"value\" with commas."},
    {"a{b=c} 1\n", "Line 1 of the metrics has labels that are not name=\"value\" with commas."},
    {"a{b=\"c} 1\n", "Line 1 of the metrics has labels that are not name=\"value\" with commas."},
    {"a{b=\"c\\\"} 1\n", "Line 1 of the metrics has labels that are not name=\"value\" with commas."},
    {"a{b=\"c\" d=\"e\"} 1\n", "Line 1 of the metrics has labels that are not name=\"value\" with commas."},
    {"a{b=\"c\"\n", "Line 1 of the metrics has labels that are not name=\"value\" with commas."},
    {"a{,} 1\n", "Line 1 of the metrics has labels that are not name=\"value\" with commas."},
    {"a{=\"c\"} 1\n", "Line 1 of the metrics has labels that are not name=\"value\" with commas."},
    {"a{b=\"c\",\n", "Line 1 of the metrics has labels without an end."},
    {"a{\n", "Line 1 of the metrics has labels without an end."},
};

static void test_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    struct metric_page page;
    struct error error = {0};
    if (metric_page_read(&page, slice_text(refused[i].text), &error)) fail_msg("%s was read", refused[i].text);
    assert_string_equal(error.text, refused[i].sentence);
    assert_null(page.sample);
  }
}

static void test_limits(void **state) {
  (void)state;
  struct metric_page page;
  struct error error;
  size_t size = (size_t)LIMIT_METRIC_PAGE_BYTES + 1, lines = (size_t)LIMIT_METRIC_SAMPLES + 1;
  char *text = malloc(size);
  assert_non_null(text);
  memset(text, '\n', size);
  assert_false(metric_page_read(&page, slice_make(text, size), &error));
  assert_string_equal(error.text, "The metrics have 8388609 bytes, expected at most 8388608.");
  for (size_t i = 0; i < lines; i++) memcpy(text + 4 * i, "a 1\n", 4);
  assert_false(metric_page_read(&page, slice_make(text, 4 * lines), &error));
  assert_string_equal(error.text, "The metrics have more than 65536 samples.");
  assert_true(metric_page_read(&page, slice_make(text, 4 * (lines - 1)), &error));
  assert_int_equal(page.count, LIMIT_METRIC_SAMPLES);
  metric_page_release(&page);
  free(text);
}

static void test_read(void **state) {
  (void)state;
  static const char text[] = "# HELP a What it is.\n"
                             "# TYPE a counter\n"
                             "\n"
                             "a{x=\"1\",y=\"2,}\\\"\\\\\"} 3\n"
                             "a{x=\"1\", y=\"5xx\" , } 4e2 1700000000000\n"
                             "  a:b\t-0.5\n"
                             "c{} NaN\n"
                             "d +Inf\n";
  struct metric_page page;
  struct error error;
  struct slice value;
  if (!metric_page_read(&page, slice_text(text), &error)) fail_msg("%s", error.text);
  assert_int_equal(page.count, 5);
  assert_true(metric_sample_label(&page.sample[0], "y", &value));
  assert_true(slice_is(value, "2,}\\\"\\\\"));
  assert_false(metric_sample_label(&page.sample[0], "z", &value));
  assert_true(metric_page_sum(&page, "a", NULL, "") == 403);
  assert_true(metric_page_sum(&page, "a", "y", "5") == 400);
  assert_true(metric_page_sum(&page, "a:b", NULL, "") == -0.5);
  assert_true(isnan(metric_page_sum(&page, "b", NULL, "")));
  assert_true(isinf(metric_page_sum(&page, "d", NULL, "")));
  metric_page_release(&page);
}

#define BUCKETS(a, b, c, d)                                                                                            \
  "h_bucket{le=\"0.1\"} " #a "\nh_bucket{le=\"0.5\"} " #b "\nh_bucket{le=\"1\"} " #c "\nh_bucket{le=\"+Inf\"} " #d "\n"

static double quantile_of(const char *text, const char *before, double quantile, double least) {
  struct metric_page page, earlier = {0};
  struct error error;
  assert_true(metric_page_read(&page, slice_text(text), &error));
  if (before) assert_true(metric_page_read(&earlier, slice_text(before), &error));
  double value = metric_page_quantile(&page, before ? &earlier : NULL, "h", quantile, least);
  metric_page_release(&page);
  metric_page_release(&earlier);
  return value;
}

static void test_quantile(void **state) {
  (void)state;
  static const struct {
    const char *text;
    double quantile, value;
  } cases[] = {
      {BUCKETS(10, 30, 80, 100), 0.05, 0.05}, {BUCKETS(10, 30, 80, 100), 0.2, 0.3},
      {BUCKETS(10, 30, 80, 100), 0.5, 0.7},   {BUCKETS(10, 30, 80, 100), 0.99, 1},
      {BUCKETS(0, 0, 40, 40), 0.5, 0.75},     {BUCKETS(0, 0, 0, 7), 0.5, 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_true(fabs(quantile_of(cases[i].text, NULL, cases[i].quantile, 1) - cases[i].value) < 1e-12);
  /* what came since */
  assert_true(fabs(quantile_of(BUCKETS(10, 30, 120, 140), BUCKETS(10, 30, 80, 100), 0.5, 1) - 0.75) < 1e-12);
  /* too few, or no histogram */
  assert_true(isnan(quantile_of(BUCKETS(10, 30, 80, 100), NULL, 0.5, 101)));
  assert_true(isnan(quantile_of(BUCKETS(10, 30, 80, 100), BUCKETS(10, 30, 80, 100), 0.5, 1)));
  assert_true(isnan(quantile_of(BUCKETS(0, 0, 1, 1), BUCKETS(10, 30, 80, 100), 0.5, 1)));
  assert_true(isnan(quantile_of(BUCKETS(10, 5, 80, 100), NULL, 0.5, 1)));
  assert_true(isnan(quantile_of(BUCKETS(NaN, 5, 80, 100), NULL, 0.5, 1)));
  assert_true(isnan(quantile_of("h_bucket{le=\"1\"} 5\nh_bucket{le=\"2\"} 6\n", NULL, 0.5, 1)));
  assert_true(isnan(quantile_of("h_bucket{le=\"+Inf\"} 5\n", NULL, 0.5, 1)));
  assert_true(isnan(quantile_of("h_bucket{le=\"x\"} 5\nh_bucket{le=\"+Inf\"} 6\n", NULL, 0.5, 1)));
  assert_true(isnan(quantile_of("h_bucket 5\nh_bucket{le=\"+Inf\"} 6\n", NULL, 0.5, 1)));
  assert_true(isnan(quantile_of("a 1\n", NULL, 0.5, 1)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_read),
      cmocka_unit_test(test_quantile),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
