/* SmolLM2 against the numpy forward over its dequantized weights (tools/greedy_oracle.py): logits of a prompt, and that
 * after each prefix of 20 greedy texts the highest logit is the expected token. By induction that is the same text; a
 * choice between two logits nearer than 1e-3 of the range may fall either way and is listed. SPATE_TEST_MODEL names the
 * model. */
#include "parity_support.h"

#include <jansson.h>

static const double tolerance = 1e-4, near_tie = 1e-3; /* parts of the logits' range */

static spate_engine *engine;

static float *logits_of(const int32_t *tokens, int count, int vocab) {
  spate_error error = {0};
  float *logits = calloc((size_t)count * (size_t)vocab, sizeof *logits);
  if (!spate_logits(engine, tokens, count, 128, logits, &error)) fail_msg("%s", error.text);
  return logits;
}

static void test_logits(void **state) {
  (void)state;
  struct expected_logits expected = expected_read(FIXTURES "/model/smollm2.logits", true);
  float *logits = logits_of(expected.token, expected.n_token, expected.vocab);
  double difference = logits_difference(&expected, logits);
  printf("logits differ by %.1e of the range\n", difference);
  assert_true(difference <= tolerance);
  free(logits);
  expected_release(&expected);
}

static int highest(const float *logits, int vocab) {
  int best = 0;
  for (int i = 1; i < vocab; i++)
    if (logits[i] > logits[best]) best = i;
  return best;
}

static void text_check(const json_t *text, int vocab) {
  int32_t tokens[512];
  int n_prompt = 0, count = 0;
  size_t i;
  json_t *token;
  json_array_foreach(json_object_get(text, "tokens"), i, token) tokens[n_prompt++] = (int32_t)json_integer_value(token);
  count = n_prompt;
  json_array_foreach(json_object_get(text, "greedy"), i, token) tokens[count++] = (int32_t)json_integer_value(token);
  float *logits = logits_of(tokens, count, vocab);
  for (int at = n_prompt; at < count; at++) {
    const float *row = logits + (size_t)(at - 1) * (size_t)vocab;
    int best = highest(row, vocab);
    if (best == tokens[at]) continue;
    double margin = (double)((row[best] - row[tokens[at]]) / logits_range(row, (size_t)vocab));
    printf("near tie after %d tokens of \"%s\": %d instead of %d, margin %.1e\n", at,
           json_string_value(json_object_get(text, "prompt")), best, tokens[at], margin);
    if (!(margin < near_tie)) fail_msg("that is no near tie");
  }
  free(logits);
}

static void test_greedy_texts(void **state) {
  (void)state;
  spate_engine_info info = {.size = sizeof info};
  spate_info(engine, &info);
  json_t *texts = json_load_file(FIXTURES "/model/smollm2_greedy.json", 0, NULL), *text;
  size_t i;
  assert_int_equal(json_array_size(texts), 20);
  json_array_foreach(texts, i, text) text_check(text, info.vocab_size);
  json_decref(texts);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_logits), cmocka_unit_test(test_greedy_texts)};
  const char *model = getenv("SPATE_TEST_MODEL");
  char output[] = "/tmp/spate-smollm2-XXXXXX";
  spate_error error = {0};
  if (!model) {
    printf("SKIPPED: SPATE_TEST_MODEL does not name the default model (scripts/get_model.sh prints its path)\n");
    return 77;
  }
  int descriptor = mkstemp(output);
  if (descriptor < 0) return 1;
  close(descriptor);
  if (!engine_make(model, "cpu", output, &error)) {
    printf("%s\n", error.text);
    return 1;
  }
  engine = engine_start(output, "cpu", 16, 0);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  spate_close(engine);
  unlink(output);
  return failed;
}
