/* Calibration that does not fit in memory is refused before it begins, and what would fit does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "backend/backends.h"
#include "build/calibration_fit.h"
#include "build/draft.h"
#include "build/network_walk.h"

struct fixture {
  struct draft draft;
  struct calibration_data data;
  struct calibration_job job;
};

/* The tiny model as it would be calibrated, with the text that Spate brings along. */
static void fixture_make(struct fixture *f, enum quant_method method) {
  const struct engine_config config = {.quant_mode = QUANT_INT4_WEIGHT, .quant_method = (uint8_t)method};
  struct error error;
  draft_init(&f->draft);
  if (!draft_open(&f->draft, FIXTURES "/build/tiny.gguf", &error) ||
      !draft_settle(&f->draft, &config, &backend_cpu, &error) || !draft_tokenizer(&f->draft, &error) ||
      !calibration_data_read(&f->data, NULL, f->draft.tokenizer, draft_plan(&f->draft)->max_position, &error))
    fail_msg("%s", error.text);
  f->job = (struct calibration_job){.plan = draft_plan(&f->draft), .data = &f->data, .method = method, .n_thread = 1};
}

static void fixture_release(struct fixture *f) {
  calibration_data_release(&f->data);
  draft_release(&f->draft);
}

static uint64_t memory_of(struct fixture *f, int windows) {
  int kept = f->data.n_window;
  f->data.n_window = windows;
  uint64_t need = calibration_memory(&f->job);
  f->data.n_window = kept;
  return need;
}

static void refusal_check(struct fixture *f, uint64_t available, const char *remedy) {
  struct error error = {0};
  char expected[ERROR_TEXT_MAX];
  assert_false(calibration_fit(&f->job, available, &error));
  snprintf(expected, sizeof expected,
           "Calibrating needs about %llu MiB of memory and %llu MiB are available: %s; free some, or choose quant_algo "
           "RTN, which needs none of it.",
           ((unsigned long long)calibration_memory(&f->job) >> 20) + 1, (unsigned long long)available >> 20, remedy);
  assert_string_equal(error.text, expected);
  assert_int_equal(error.code, ERROR_MEMORY);
}

/* Each number of windows is offered exactly where it and no more would be taken. */
static void method_check(enum quant_method method) {
  struct fixture f;
  fixture_make(&f, method);
  int most = f.data.n_window;
  struct error error;
  char remedy[96];
  assert_true(most > 2);
  assert_true(calibration_fit(&f.job, memory_of(&f, most), &error));
  for (int windows = 1; windows < most; windows++) {
    snprintf(remedy, sizeof remedy, "a calibration text of %d tokens would fit", windows * f.data.length);
    refusal_check(&f, memory_of(&f, windows), remedy);
    refusal_check(&f, memory_of(&f, windows + 1) - 1, remedy);
    f.data.n_window = windows;
    assert_true(calibration_fit(&f.job, memory_of(&f, windows), &error));
    f.data.n_window = most;
  }
  refusal_check(&f, memory_of(&f, 1) - 1, "no calibration text is short enough");
  refusal_check(&f, 0, "no calibration text is short enough");
  fixture_release(&f);
}

static void test_refusals(void **state) {
  (void)state;
  method_check(QUANT_AWQ);
  method_check(QUANT_GPTQ);
  method_check(QUANT_SMOOTH);
}

/* Beside what all hold, SmoothQuant keeps two factors a column of each site until the end, and AWQ a metric of the
 * columns within each group as well. */
static void test_methods_differ(void **state) {
  struct fixture f;
  struct walk_site site;
  uint64_t cols = 0, metrics = 0;
  (void)state;
  fixture_make(&f, QUANT_SMOOTH);
  for (int from = 0; walk_site_find(f.job.plan, from, &site); from = site.first + site.n_op) {
    uint64_t own = (uint64_t)walk_site_cols(f.job.plan, &site);
    cols += own;
    metrics += (own + 32) * 32;
  }
  uint64_t smooth = calibration_memory(&f.job);
  f.job.method = QUANT_AWQ;
  assert_int_equal(calibration_memory(&f.job) - smooth, metrics * sizeof(float));
  f.job.method = QUANT_GPTQ;
  assert_true(calibration_memory(&f.job) > smooth - 2 * cols * sizeof(float)); /* a site's sums */
  fixture_release(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_refusals), cmocka_unit_test(test_methods_differ)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
