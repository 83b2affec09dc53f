/* What spate tune tries on a machine: which settings, which values, from where it starts, and what comes of a choice.
 */
#include "cli/tune_settings.h"

#include "cli/option_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const spate_engine_info on_cpu = {
    .device = "cpu: some kernels, 2 threads", .max_batch_size = 32, .max_num_tokens = 512};
static const spate_engine_info on_gpu = {.device = "cuda: some card", .max_batch_size = 48, .max_num_tokens = 2000};

static void assert_axis(const struct tune_settings *tune, int axis, const char *name, int count, const int *values,
                        int start) {
  assert_string_equal(tune_setting_name(tune, axis), name);
  assert_int_equal(tune->axis[axis].count, count);
  assert_memory_equal(tune->value[axis], values, (size_t)count * sizeof *values);
  assert_int_equal(tune->value[axis][tune->axis[axis].start], start);
}

static void test_values(void **state) {
  (void)state;
  struct settings given = {0};
  struct tune_settings tune;
  tune_settings_make(&tune, &given, &on_cpu, 6, 0);
  assert_int_equal(tune.count, 5);
  assert_axis(&tune, 0, "threads", 6, (const int[]){1, 2, 3, 4, 5, 6}, 6);
  assert_axis(&tune, 1, "max-num-tokens", 9, (const int[]){64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}, 512);
  assert_axis(&tune, 2, "max-batch-size", 10, (const int[]){2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}, 32);
  assert_axis(&tune, 3, "block-size", 5, (const int[]){16, 32, 64, 128, 256}, 16);
  assert_axis(&tune, 4, "opt-batch-size", 7, (const int[]){1, 2, 4, 8, 16, 32, 64}, 16);
  tune_settings_make(&tune, &given, &on_cpu, 1, 0);
  assert_axis(&tune, 0, "threads", 1, (const int[]){1}, 1);
  tune_settings_make(&tune, &given, &on_cpu, 256, 0);
  assert_axis(&tune, 0, "threads", 16, (const int[]){1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 255, 256}, 256);
}

/* Limits that are among no values, and a device whose threads and tactics are not this machine's. */
static void test_a_gpu(void **state) {
  (void)state;
  struct settings given = {0};
  struct tune_settings tune;
  tune_settings_make(&tune, &given, &on_gpu, 6, 0);
  assert_int_equal(tune.count, 3);
  assert_axis(&tune, 0, "max-num-tokens", 10, (const int[]){64, 128, 256, 512, 1024, 2000, 2048, 4096, 8192, 16384},
              2000);
  assert_axis(&tune, 1, "max-batch-size", 11, (const int[]){2, 4, 8, 16, 32, 48, 64, 128, 256, 512, 1024}, 48);
  assert_string_equal(tune_setting_name(&tune, 2), "block-size");
}

static void test_what_is_given_is_not_tried(void **state) {
  (void)state;
  struct settings given = {0};
  struct tune_settings tune;
  char text[512];
  char *line[] = {"tune", "m", "--threads", "2", "--block-size=64", "--max-num-tokens", "512", NULL};
  assert_true(options_parse(&given, FOR_SERVE, 7, line, text));
  tune_settings_make(&tune, &given, &on_cpu, 6, 0);
  assert_int_equal(tune.count, 2);
  assert_string_equal(tune_setting_name(&tune, 0), "max-batch-size");
  assert_string_equal(tune_setting_name(&tune, 1), "opt-batch-size");
}

/* An SLO between tokens has targets around it, before none at all. */
static void test_targets(void **state) {
  (void)state;
  struct settings given = {0}, best = {0};
  struct tune_settings tune;
  tune_settings_make(&tune, &given, &on_cpu, 2, 25);
  assert_int_equal(tune.count, 6);
  assert_axis(&tune, 4, "target-itl-ms", 4, (const int[]){13, 25, 50, 0}, 0);
  struct tune_choice choice = {{1, 3, 4, 0, 1, 4}};
  assert_true(tune_settings_fit(&tune, &choice));
  tune_settings_apply(&tune, &choice, &best);
  assert_true(best.target_itl_ms == 25);
  tune_settings_make(&tune, &given, &on_cpu, 2, 0.5);
  assert_axis(&tune, 4, "target-itl-ms", 2, (const int[]){1, 0}, 0);
  tune_settings_make(&tune, &given, &on_cpu, 2, 1e8);
  assert_axis(&tune, 4, "target-itl-ms", 1, (const int[]){0}, 0);
}

/* Defaults are not set: what follows from another setting goes on to. */
static void test_apply_and_fit(void **state) {
  (void)state;
  struct settings given = {0}, best = {0};
  struct tune_settings tune;
  tune_settings_make(&tune, &given, &on_cpu, 2, 0);
  struct tune_choice choice = {{1, 3, 4, 0, 4}};
  tune_settings_apply(&tune, &choice, &best);
  assert_memory_equal(&best, &given, sizeof best);
  assert_true(tune_settings_fit(&tune, &choice));
  choice = (struct tune_choice){{0, 1, 6, 2, 1}}; /* 128 tokens, 128 sequences */
  assert_true(tune_settings_fit(&tune, &choice));
  tune_settings_apply(&tune, &choice, &best);
  assert_int_equal(best.threads, 1);
  assert_int_equal(best.max_num_tokens, 128);
  assert_int_equal(best.max_batch_size, 128);
  assert_int_equal(best.block_size, 64);
  assert_int_equal(best.opt_batch_size, 2);
  assert_int_equal(best.origin[option_origin(option_named(FOR_SERVE, slice_text("threads")))].source, SOURCE_FLAG);
  choice.at[2] = 7; /* 256 sequences */
  assert_false(tune_settings_fit(&tune, &choice));
  choice.at[1] = 3; /* the default, which follows */
  assert_true(tune_settings_fit(&tune, &choice));
  choice.at[2] = 2, choice.at[4] = 5; /* 8 sequences, tactics for 32 */
  assert_false(tune_settings_fit(&tune, &choice));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values),
      cmocka_unit_test(test_a_gpu),
      cmocka_unit_test(test_what_is_given_is_not_tried),
      cmocka_unit_test(test_targets),
      cmocka_unit_test(test_apply_and_fit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
