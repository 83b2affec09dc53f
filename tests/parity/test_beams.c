/* Beam search and the scores of prompts against transformers (tools/make_beam_fixture.py): the same texts with the same
 * scores, on a device that runs ahead and one that does not, beside other requests, with and without prefix reuse.
 * SPATE_BACKEND names another backend than the CPU's. */
#include "parity_support.h"

#include <jansson.h>

enum { LENGTH = 128, BEAMS = 8, TOKENS_MAX = 128, SCORES_MAX = 64 };

static const double tolerance = 2e-5; /* of log-probabilities, which the fixture rounds to 1e-6 */

static char folder[] = "/tmp/spate-beams-XXXXXX", engine_path[64];

/* --- an engine ---------------------------------------------------------------------------------------------------- */

static void engine_build(const char *name) {
  char model[512];
  spate_error error = {0};
  spate_build_options build;
  spate_build_options_init(&build);
  snprintf(model, sizeof model, "%s/model/%s", FIXTURES, name);
  build.model = model;
  build.output = engine_path;
  build.quant_mode = "FP32";
  build.target = getenv("SPATE_BACKEND");
  build.max_batch_size = BEAMS;
  build.max_num_tokens = 24;
  build.max_seq_len = LENGTH;
  if (!spate_build(&build, &error)) fail_msg("%s: %s", name, error.text);
}

static spate_engine *engine_with(const char *backend, bool reuse) {
  spate_error error = {0};
  spate_open_options open;
  spate_open_options_init(&open);
  open.model = engine_path;
  open.backend = backend;
  open.block_size = 4;
  open.threads = 2;
  open.kv_cache_dtype = "fp32";
  open.no_block_reuse = !reuse;
  spate_engine *engine = spate_open(&open, &error);
  if (!engine) fail_msg("%s", error.text);
  return engine;
}

static spate_request request_with(const spate_engine *engine, const json_t *prompt, int32_t *tokens) {
  spate_request request;
  spate_request_init(engine, &request);
  request.n_token = (int)json_array_size(prompt);
  for (int i = 0; i < request.n_token; i++) tokens[i] = (int32_t)json_integer_value(json_array_get(prompt, (size_t)i));
  request.tokens = tokens;
  request.temperature = 0;
  request.ignore_eos = true;
  return request;
}

static double number(const json_t *object, const char *name) {
  return json_number_value(json_object_get(object, name));
}

static int integer(const json_t *object, const char *name) { return (int)number(object, name); }

/* --- beams -------------------------------------------------------------------------------------------------------- */

struct answers {
  int32_t token[BEAMS][TOKENS_MAX];
  int n_token[BEAMS], n_done;
  double score[BEAMS]; /* sum of log-probabilities */
};

static void answers_read(spate_inbox *inbox, uint64_t id, int n, struct answers *answers) {
  spate_event events[16];
  *answers = (struct answers){0};
  while (answers->n_done < n) {
    int count = spate_inbox_take(inbox, events, 16, -1);
    for (int i = 0; i < count; i++) {
      const spate_event *event = &events[i];
      if (event->id != id) continue; /* a neighbour's */
      if (event->kind == SPATE_FAILED) fail_msg("%.*s", (int)event->text_size, event->text);
      for (int k = 0; k < event->n_logprobs; k++) {
        answers->token[event->answer][answers->n_token[event->answer]++] = event->logprobs[k].token;
        answers->score[event->answer] += (double)event->logprobs[k].logprob;
      }
      answers->n_done += event->kind == SPATE_DONE;
    }
  }
}

static spate_early_stopping early_stopping_of(const json_t *c) {
  const char *name = json_string_value(json_object_get(c, "early_stopping"));
  if (strcmp(name, "never") == 0) return SPATE_EARLY_STOPPING_NEVER;
  return strcmp(name, "true") == 0 ? SPATE_EARLY_STOPPING_TRUE : SPATE_EARLY_STOPPING_FALSE;
}

static void answers_check(const json_t *c, int index, const struct answers *answers) {
  const json_t *texts = json_object_get(c, "texts"), *scores = json_object_get(c, "scores");
  double penalty = number(c, "length_penalty");
  for (int b = 0; b < integer(c, "beams"); b++) {
    const json_t *text = json_array_get(texts, (size_t)b);
    double expected = json_number_value(json_array_get(scores, (size_t)b));
    double score = answers->score[b] / pow(answers->n_token[b], penalty);
    if (answers->n_token[b] != (int)json_array_size(text))
      fail_msg("case %d, answer %d has %d tokens of %zu", index, b, answers->n_token[b], json_array_size(text));
    for (int i = 0; i < answers->n_token[b]; i++)
      if (answers->token[b][i] != json_integer_value(json_array_get(text, (size_t)i)))
        fail_msg("case %d, answer %d differs at token %d", index, b, i);
    if (!(fabs(score - expected) <= tolerance * fmax(1, fabs(expected) * 12)))
      fail_msg("case %d, answer %d: score %.7f, expected %.7f", index, b, score, expected);
  }
}

/* Beside a neighbour that samples. */
static void case_check(spate_engine *engine, spate_inbox *inbox, const json_t *c, int index) {
  int32_t tokens[TOKENS_MAX], ends[8], other_tokens[] = {5, 6, 7};
  spate_error error = {0};
  struct answers answers;
  spate_request request = request_with(engine, json_object_get(c, "prompt"), tokens), other = request;
  other.tokens = other_tokens;
  other.n_token = 3;
  other.max_tokens = 10;
  request.max_tokens = integer(c, "max_tokens");
  request.n = integer(c, "beams");
  request.use_beam_search = true;
  request.length_penalty = (float)number(c, "length_penalty");
  request.early_stopping = early_stopping_of(c);
  request.logprobs = true;
  request.n_stop_token_ids = (int)json_array_size(json_object_get(c, "ends"));
  for (int i = 0; i < request.n_stop_token_ids; i++)
    ends[i] = (int32_t)json_integer_value(json_array_get(json_object_get(c, "ends"), (size_t)i));
  request.stop_token_ids = ends;
  if (!spate_submit(engine, inbox, &other, &error)) fail_msg("%s", error.text);
  uint64_t id = spate_submit(engine, inbox, &request, &error);
  if (!id) fail_msg("%s", error.text);
  answers_read(inbox, id, request.n, &answers);
  answers_check(c, index, &answers);
}

/* --- prompts ------------------------------------------------------------------------------------------------------ */

static int scores_read(spate_inbox *inbox, spate_logprob scores[SCORES_MAX][6]) {
  spate_event events[16];
  int n = 0;
  for (;;) {
    int count = spate_inbox_take(inbox, events, 16, -1);
    for (int i = 0; i < count; i++) {
      if (events[i].kind == SPATE_FAILED) fail_msg("%.*s", (int)events[i].text_size, events[i].text);
      if (events[i].kind == SPATE_DONE) return n;
      if (events[i].kind != SPATE_PROMPT) continue;
      assert_int_equal(events[i].top_logprobs, 5);
      memcpy(scores[n], events[i].logprobs, (size_t)events[i].n_logprobs * sizeof scores[0]);
      n += events[i].n_logprobs;
    }
  }
}

static void scores_check(const json_t *prompt, int n, spate_logprob scores[SCORES_MAX][6]) {
  const json_t *own = json_object_get(prompt, "logprobs"), *top = json_object_get(prompt, "top_logprobs");
  const json_t *tokens = json_object_get(prompt, "prompt"), *top_tokens = json_object_get(prompt, "top_tokens");
  assert_int_equal(n, json_array_size(tokens));
  assert_true(scores[0][0].token == json_integer_value(json_array_get(tokens, 0)) && isnan(scores[0][0].logprob));
  assert_int_equal(scores[0][1].token, -1);
  scores++;
  for (size_t i = 0; i + 1 < (size_t)n; i++) {
    assert_int_equal(scores[i][0].token, json_integer_value(json_array_get(tokens, i + 1)));
    assert_true(fabs((double)scores[i][0].logprob - json_number_value(json_array_get(own, i))) <= tolerance);
    for (size_t k = 0; k < 5; k++) {
      assert_int_equal(scores[i][1 + k].token, json_integer_value(json_array_get(json_array_get(top_tokens, i), k)));
      double expected = json_number_value(json_array_get(json_array_get(top, i), k));
      assert_true(fabs((double)scores[i][1 + k].logprob - expected) <= tolerance);
    }
  }
}

/* Twice, since the second finds the first one's blocks; with two answers, whose prompt is scored once. */
static void prompt_check(spate_engine *engine, spate_inbox *inbox, const json_t *prompt) {
  static spate_logprob scores[SCORES_MAX][6];
  int32_t tokens[TOKENS_MAX];
  spate_error error = {0};
  spate_request request = request_with(engine, json_object_get(prompt, "prompt"), tokens);
  request.max_tokens = 2;
  request.prompt_logprobs = true;
  request.top_prompt_logprobs = 5;
  for (int i = 0; i < 2; i++) {
    if (!spate_submit(engine, inbox, &request, &error)) fail_msg("%s", error.text);
    scores_check(prompt, scores_read(inbox, scores), scores);
  }
}

/* --- all ---------------------------------------------------------------------------------------------------------- */

static void model_check(const json_t *fixture, const char *name, const char *backend, bool reuse) {
  spate_error error = {0};
  spate_engine *engine = engine_with(backend, reuse);
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(fixture, "prompts"), i, item) {
    if (strcmp(json_string_value(json_object_get(item, "model")), name) == 0) prompt_check(engine, inbox, item);
  }
  json_array_foreach(json_object_get(fixture, "cases"), i, item) {
    if (strcmp(json_string_value(json_object_get(item, "model")), name) == 0) case_check(engine, inbox, item, (int)i);
  }
  spate_inbox_free(inbox);
  spate_close(engine);
}

static void test_beams(void **state) {
  (void)state;
  static const char *const models[] = {"llama3", "qwen3"};
  json_error_t error;
  json_t *fixture = json_load_file(FIXTURES "/model/beams.json", 0, &error);
  assert_non_null(fixture);
  for (int i = 0; i < 2; i++) {
    engine_build(models[i]);
    const char *tested = getenv("SPATE_BACKEND");
    model_check(fixture, models[i], tested ? tested : "cpu", true);
    if (!tested) model_check(fixture, models[i], "late", true);
    model_check(fixture, models[i], tested ? tested : "cpu", false);
  }
  json_decref(fixture);
}

static int setup(void **state) {
  (void)state;
  if (!mkdtemp(folder)) return -1;
  snprintf(engine_path, sizeof engine_path, "%s/engine.spate", folder);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  char tactics[80];
  snprintf(tactics, sizeof tactics, "%s/tactics.txt", folder);
  unlink(tactics);
  unlink(engine_path);
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_beams)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
