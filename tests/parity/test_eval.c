/* spate_eval against lm-evaluation-harness over the numpy forward (tools/make_eval_fixture.py): perplexity and KL
 * divergence of two tiny networks, in windows that the text fills and that it does not; scores of choices. */
#include "../unit/model/model_variant.h"
#include "parity_support.h"

static const double tolerance = 1e-4; /* of the figures, which come from float and from double */
static const char text_path[] = FIXTURES "/eval/text.txt", model[] = FIXTURES "/model/smollm2";

static char engine_path[] = "/tmp/spate-eval-XXXXXX", other_path[] = "/tmp/spate-other-XXXXXX";
static json_t *expected;

static double number_of(const json_t *object, const char *name) {
  const json_t *value = json_object_get(object, name);
  if (!json_is_number(value)) fail_msg("there is no number \"%s\"", name);
  return json_number_value(value);
}

static void number_check(const json_t *actual, const char *name, double wanted) {
  double value = number_of(actual, name);
  if (!(fabs(value - wanted) <= tolerance * fmax(1, fabs(wanted))))
    fail_msg("%s is %.9g, expected %.9g", name, value, wanted);
}

static json_t *evaluate(spate_engine *engine, const spate_eval_options *options) {
  spate_text json;
  spate_error error = {0};
  if (!spate_eval(engine, options, &json, &error)) fail_msg("%s", error.text);
  json_t *root = json_loads(json.data, 0, NULL);
  assert_non_null(root);
  spate_text_free(&json);
  return root;
}

static void text_check(spate_engine *engine, const json_t *want) {
  spate_eval_options options;
  spate_open_options open;
  spate_open_options_init(&open);
  open.kv_cache_dtype = "fp32";
  open.kv_cache_memory = 64 << 20;
  spate_eval_options_init(&options);
  options.text = text_path;
  options.window = (int)number_of(want, "window");
  options.against = other_path;
  options.open = &open;
  json_t *root = evaluate(engine, &options);
  const json_t *text = json_object_get(root, "text"), *against = json_object_get(root, "against");
  assert_true(number_of(text, "tokens") == number_of(want, "tokens"));
  number_check(text, "loss", number_of(want, "loss"));
  number_check(text, "perplexity", number_of(want, "perplexity"));
  number_check(against, "perplexity", number_of(want, "other_perplexity"));
  number_check(against, "mean_kl", number_of(want, "mean_kl"));
  number_check(against, "p999_kl", number_of(want, "p999_kl"));
  number_check(against, "most_kl", number_of(want, "most_kl"));
  number_check(against, "same_top", number_of(want, "same_top"));
  json_decref(root);
}

static void test_text(void **state) {
  size_t i;
  json_t *want;
  (void)state;
  for (int threads = 1; threads <= 2; threads++) {
    spate_engine *engine = engine_start(engine_path, "cpu", 16, threads);
    json_array_foreach(json_object_get(expected, "texts"), i, want) text_check(engine, want);
    spate_close(engine);
  }
}

/* Nothing is lost between an engine and itself; of two vocabularies there is nothing to compare. */
static void test_against(void **state) {
  static char foreign[] = "/tmp/spate-foreign-XXXXXX";
  spate_eval_options options;
  spate_error error = {0};
  spate_text json;
  (void)state;
  spate_engine *engine = engine_start(engine_path, "cpu", 16, 1);
  spate_eval_options_init(&options);
  options.text = text_path;
  options.against = engine_path;
  json_t *root = evaluate(engine, &options);
  assert_true(number_of(json_object_get(root, "against"), "most_kl") == 0);
  assert_true(number_of(json_object_get(root, "against"), "same_top") == 1);
  json_decref(root);
  close(mkstemp(foreign));
  if (!engine_make(FIXTURES "/model/qwen2", "cpu", foreign, &error)) fail_msg("%s", error.text);
  options.against = foreign;
  assert_false(spate_eval(engine, &options, &json, &error));
  assert_non_null(strstr(error.text, ": only engines of the same vocabulary can be compared."));
  unlink(foreign);
  spate_close(engine);
}

/* --- tasks -------------------------------------------------------------------------------------------------------- */

static void choices_check(spate_engine *engine, const char *name, bool shots, const json_t *want) {
  spate_eval_options options;
  char path[256], first[] = "/tmp/spate-shots-XXXXXX", line[1024];
  snprintf(path, sizeof path, "%s/eval/%s.jsonl", FIXTURES, name);
  FILE *from = fopen(path, "rb"), *to = fdopen(mkstemp(first), "wb");
  if (!from || !to || !fgets(line, sizeof line, from) || fputs(line, to) < 0) abort();
  fclose(from);
  fclose(to);
  spate_eval_options_init(&options);
  options.task = path;
  options.shots = shots ? first : NULL;
  json_t *root = evaluate(engine, &options), *task = json_object_get(root, "task"), *scores;
  size_t i, k;
  json_t *value;
  number_check(task, "acc", number_of(want, "acc"));
  number_check(task, "acc_norm", number_of(want, "acc_norm"));
  json_array_foreach(json_object_get(want, "loglikelihoods"), i, scores) {
    const json_t *sample = json_array_get(json_object_get(task, "samples"), i);
    json_array_foreach(scores, k, value) {
      double actual = json_number_value(json_array_get(json_object_get(sample, "loglikelihoods"), k));
      double wanted = json_number_value(value);
      if (!(fabs(actual - wanted) <= tolerance * fabs(wanted)))
        fail_msg("%s, question %zu, choice %zu: %.9g, expected %.9g", name, i, k, actual, wanted);
    }
  }
  json_decref(root);
  unlink(first);
}

static void test_choices(void **state) {
  static const char *const names[] = {"mmlu", "arc"};
  (void)state;
  spate_engine *engine = engine_start(engine_path, "cpu", 16, 1);
  for (int i = 0; i < 2; i++)
    for (int shots = 0; shots < 2; shots++)
      choices_check(engine, names[i], shots, json_array_get(json_object_get(expected, names[i]), (size_t)shots));
  spate_close(engine);
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

/* What a cancelled evaluation leaves behind must not hold up the next. */
static bool cancel(void *user, const char *stage, uint64_t done, uint64_t total) {
  (void)user, (void)done, (void)total;
  return strcmp(stage, "text") != 0;
}

static void refused(spate_engine *engine, const spate_eval_options *options, const char *sentence) {
  spate_text json;
  spate_error error = {0};
  assert_false(spate_eval(engine, options, &json, &error));
  assert_string_equal(error.text, sentence);
}

static void test_refused(void **state) {
  spate_eval_options options;
  (void)state;
  spate_engine *engine = engine_start(engine_path, "cpu", 16, 1);
  spate_eval_options_init(&options);
  options.against = other_path;
  refused(engine, &options, "Two engines are compared on a text: name one, or leave against out.");
  options.against = NULL;
  options.text = text_path;
  options.window = 513;
  refused(engine, &options, "A window of 513 tokens; the engines allow 1 to 512 (max_seq_len).");
  options.window = 0;
  options.text = "/dev/null/text";
  refused(engine, &options, "/dev/null/text cannot be opened: Not a directory.");
  options.text = text_path;
  options.progress = cancel;
  refused(engine, &options, "Cancelled by the caller in the stage \"text\".");
  options.progress = NULL;
  json_decref(evaluate(engine, &options));
  spate_close(engine);
}

static int engines_make(void **state) {
  struct model_variant variant;
  spate_error error = {0};
  (void)state;
  close(mkstemp(engine_path));
  close(mkstemp(other_path));
  expected = json_load_file(FIXTURES "/eval/expected.json", 0, NULL);
  json_t *change = json_pack("{s:O}", "rope_theta", json_object_get(expected, "other_rope_theta"));
  variant_make(&variant, "smollm2", change);
  json_decref(change);
  bool made = engine_make(model, "cpu", engine_path, &error) && engine_make(variant.path, "cpu", other_path, &error);
  variant_remove(&variant);
  if (!made) printf("%s\n", error.text);
  return made ? 0 : 1;
}

static int engines_remove(void **state) {
  (void)state;
  json_decref(expected);
  unlink(engine_path);
  unlink(other_path);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_against),
                                     cmocka_unit_test(test_choices), cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, engines_make, engines_remove);
}
