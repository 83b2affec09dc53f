/* Counts of runtimes that come and go: what one page shows never falls, and nothing is counted twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/metric_totals.h"
#include "runtime/runtime_metrics.h"

static struct runtime_metrics *metrics_make(struct metric_totals *totals, double running) {
  struct runtime_metrics *m = calloc(1, sizeof *m);
  assert_non_null(m);
  runtime_metrics_define(m);
  metric_set(&m->running, running);
  metric_totals_join(totals, m);
  return m;
}

/* So many requests, of `seconds` each. */
static void count(struct runtime_metrics *m, int requests, double seconds) {
  metric_add(&m->finished_stop, (uint64_t)requests);
  for (int i = 0; i < requests; i++) metric_observe(&m->generation_seconds, seconds);
}

static void shows(struct runtime_metrics *m, int requests, int quick, const char *sum, int running) {
  char line[4][128];
  struct buffer page;
  buffer_init(&page, 1 << 20);
  assert_true(runtime_metrics_write(m, &page) && buffer_append(&page, "", 1));
  snprintf(line[0], sizeof line[0], "\nllm_requests_finished_total{reason=\"stop\"} %d\n", requests);
  snprintf(line[1], sizeof line[1], "\nllm_generation_seconds_bucket{le=\"1\"} %d\n", quick);
  snprintf(line[2], sizeof line[2], "\nllm_generation_seconds_sum %s\nllm_generation_seconds_count %d\n", sum,
           requests);
  snprintf(line[3], sizeof line[3], "\nllm_requests_running %d\n", running);
  for (int i = 0; i < 4; i++)
    if (!strstr(page.data, line[i])) fail_msg("the page has no line %s", line[i]);
  buffer_release(&page);
}

static void gone(struct runtime_metrics *m) {
  metric_totals_leave(m);
  free(m);
}

static void test_follow(void **state) {
  (void)state;
  struct metric_totals *totals = metric_totals_new();
  assert_non_null(totals);
  struct runtime_metrics *first = metrics_make(totals, 5);
  count(first, 3, 0.5);
  shows(first, 3, 3, "1.5", 5);
  struct runtime_metrics *second = metrics_make(totals, 1);
  shows(second, 3, 3, "1.5", 1); /* a new one begins where the others are */
  count(second, 2, 2);
  count(first, 1, 0.25); /* its last stream */
  shows(second, 6, 4, "5.75", 1);
  gone(first);
  shows(second, 6, 4, "5.75", 1);
  shows(second, 6, 4, "5.75", 1); /* a look changes nothing */
  gone(second);                   /* none for a while */
  struct runtime_metrics *third = metrics_make(totals, 0);
  count(third, 1, 4);
  shows(third, 7, 4, "9.75", 0);
  gone(third);
  metric_totals_free(totals);
}

/* 0.1 + 0.2 + 0.3 is more than 0.1 + (0.2 + 0.3): a sum stays when what it is of is closed. */
static void test_sum(void **state) {
  (void)state;
  struct metric_totals *totals = metric_totals_new();
  assert_non_null(totals);
  struct runtime_metrics *first = metrics_make(totals, 0);
  count(first, 1, 0.2);
  gone(first);
  struct runtime_metrics *second = metrics_make(totals, 0), *third = metrics_make(totals, 0);
  metric_totals_join(totals, third); /* once more: nothing */
  count(second, 1, 0.3);
  count(third, 1, 0.1);
  shows(third, 3, 3, "0.6000000000000001", 0);
  gone(second);
  shows(third, 3, 3, "0.6000000000000001", 0);
  gone(third);
  metric_totals_free(totals);
}

/* Nobody's: its own counts alone. */
static void test_alone(void **state) {
  (void)state;
  struct runtime_metrics *m = calloc(1, sizeof *m);
  assert_non_null(m);
  runtime_metrics_define(m);
  count(m, 2, 0.5);
  shows(m, 2, 2, "1", 0);
  gone(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_follow), cmocka_unit_test(test_sum),
                                     cmocka_unit_test(test_alone)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
