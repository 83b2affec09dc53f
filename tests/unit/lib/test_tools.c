/* spate_inspect and spate_tokenize: the stages that their callers are told of, and cancelling in each. */
#include "lib_fixture.h"

enum { STAGES_MAX = 512 };

/* What a progress callback saw: "open plan …". */
struct report {
  char stages[STAGES_MAX];
  const char *cancel_in; /* NULL: go on */
};

static bool progress_note(void *user, const char *stage, uint64_t done, uint64_t total) {
  struct report *report = user;
  size_t size = strlen(report->stages);
  assert_int_equal(done, total);
  snprintf(report->stages + size, STAGES_MAX - size, "%s%s", size ? " " : "", stage);
  return !report->cancel_in || strcmp(stage, report->cancel_in) != 0;
}

static bool inspect_run(const char *path, spate_progress progress, void *user, spate_text *json, spate_error *error) {
  return spate_inspect(path, progress, user, json, error);
}

static bool tokenize_run(const char *path, spate_progress progress, void *user, spate_text *json, spate_error *error) {
  spate_tokenize_options options;
  spate_tokenize_options_init(&options);
  options.model = path;
  options.text = "Once upon";
  options.text_size = 9;
  options.progress = progress;
  options.user = user;
  return spate_tokenize(&options, json, error);
}

static const struct {
  bool (*run)(const char *path, spate_progress progress, void *user, spate_text *json, spate_error *error);
  bool of_engine;
  const char *stages;
} table[] = {
    {inspect_run, false, "open plan tokenizer describe"},
    {inspect_run, true, "open describe"},
    {tokenize_run, false, "open tokenizer encode"},
    {tokenize_run, true, "open tokenizer encode"},
};

enum { N_ROW = sizeof table / sizeof *table };

static const char *path_of(int row) { return table[row].of_engine ? engine_path : tiny_model; }

static void test_stages(void **state) {
  (void)state;
  for (int i = 0; i < N_ROW; i++) {
    struct report report = {"", NULL};
    spate_text told, untold;
    spate_error error = {0};
    if (!table[i].run(path_of(i), progress_note, &report, &told, &error)) fail_msg("%s", error.text);
    assert_string_equal(report.stages, table[i].stages);
    assert_true(table[i].run(path_of(i), NULL, NULL, &untold, &error));
    assert_string_equal(told.data, untold.data);
    spate_text_free(&told);
    spate_text_free(&untold);
  }
}

static void cancel_in(int row, const char *stage) {
  struct report report = {"", stage};
  spate_text json;
  spate_error error = {0};
  char sentence[128];
  snprintf(sentence, sizeof sentence, "Cancelled by the caller in the stage \"%s\".", stage);
  assert_false(table[row].run(path_of(row), progress_note, &report, &json, &error));
  assert_string_equal(error.text, sentence);
  assert_int_equal(error.code, SPATE_CANCELLED);
}

static void test_cancelled(void **state) {
  (void)state;
  for (int i = 0; i < N_ROW; i++) {
    char stages[STAGES_MAX], *rest;
    snprintf(stages, sizeof stages, "%s", table[i].stages);
    for (char *stage = strtok_r(stages, " ", &rest); stage; stage = strtok_r(NULL, " ", &rest)) cancel_in(i, stage);
  }
}

static void test_tokenize_refuses(void **state) {
  (void)state;
  spate_error error = {0};
  spate_text json;
  spate_tokenize_options options;
  spate_tokenize_options_init(&options);
  assert_false(spate_tokenize(&options, &json, &error));
  assert_string_equal(error.text, "Tokenizing needs a model and a text.");
  assert_int_equal(error.code, SPATE_INVALID);
}

static int setup(void **state) {
  (void)state;
  engine_make(tiny_model, 1, 8);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_stages), cmocka_unit_test(test_cancelled),
                                     cmocka_unit_test(test_tokenize_refuses)};
  engine_path_make();
  int failed = cmocka_run_group_tests(tests, setup, NULL);
  unlink(engine_path);
  return failed;
}
