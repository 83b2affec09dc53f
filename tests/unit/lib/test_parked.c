/* After an evaluation, a bench or logits, which use an engine's blocks and slots as they like, requests have the bytes
 * that they had before: with an adapter and without, whether they find their prefix again or not. */
#include "lib_fixture.h"

enum { PROMPT = 40, GENERATED = 12, TEXT_MAX = 512, VOCAB_MAX = 1 << 16 };

struct text {
  char text[TEXT_MAX];
  size_t size;
};

static spate_engine *engine_open_adapted(void) {
  spate_error error = {0};
  spate_build_options build;
  spate_open_options open;
  spate_build_options_init(&build);
  build.model = FIXTURES "/model/llama3";
  build.output = engine_path;
  build.quant_mode = "FP32";
  build.max_batch_size = 2;
  if (!spate_build(&build, &error)) fail_msg("%s", error.text);
  spate_open_options_init(&open);
  open.model = engine_path;
  open.threads = 2;
  open.backend = getenv("SPATE_TEST_BACKEND");
  open.lora_dir = FIXTURES "/adapter";
  open.max_loras = 1;
  spate_engine *engine = spate_open(&open, &error);
  if (!engine) fail_msg("%s", error.text);
  return engine;
}

static struct text ask(spate_engine *engine, const char *adapter, const char *salt) {
  int32_t tokens[PROMPT];
  spate_lora lora = {adapter, 1};
  spate_error error = {0};
  spate_request request;
  spate_event event;
  struct text all = {.size = 0};
  for (int i = 0; i < PROMPT; i++) tokens[i] = 3 + i * 7 % 90;
  spate_request_init(engine, &request);
  request.tokens = tokens;
  request.n_token = PROMPT;
  request.max_tokens = GENERATED;
  request.temperature = 0;
  request.ignore_eos = true;
  request.cache_salt = salt;
  request.loras = &lora;
  request.n_loras = adapter != NULL;
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  assert_non_null(inbox);
  if (!spate_submit(engine, inbox, &request, &error)) fail_msg("%s", error.text);
  do {
    assert_int_equal(spate_inbox_take(inbox, &event, 1, -1), 1);
    assert_true(all.size + event.text_size <= TEXT_MAX);
    if (event.text_size) memcpy(all.text + all.size, event.text, event.text_size);
    all.size += event.text_size;
  } while (event.kind == SPATE_TEXT);
  assert_int_equal(event.kind, SPATE_DONE);
  spate_inbox_free(inbox);
  return all;
}

static void as_before(const char *when, const struct text *before, struct text now) {
  if (now.size != before->size || memcmp(now.text, before->text, now.size) != 0) fail_msg("%s: other bytes", when);
}

static void evaluate(spate_engine *engine) {
  static const spate_lora other = {"dora", 1};
  spate_error error = {0};
  spate_eval_options options;
  spate_text json;
  spate_eval_options_init(&options);
  options.text = FIXTURES "/eval/text.txt";
  options.window = 32;
  options.max_tokens = 80;
  options.loras = &other;
  options.n_loras = 1;
  if (!spate_eval(engine, &options, &json, &error)) fail_msg("%s", error.text);
  spate_text_free(&json);
}

static void logits_take(spate_engine *engine) {
  static float logits[PROMPT * VOCAB_MAX];
  int32_t tokens[PROMPT];
  spate_error error = {0};
  for (int i = 0; i < PROMPT; i++) tokens[i] = 5 + i;
  if (!spate_logits(engine, tokens, PROMPT, 0, logits, &error)) fail_msg("%s", error.text);
}

static void bench(spate_engine *engine) {
  spate_error error = {0};
  spate_bench_options options;
  spate_text json;
  spate_bench_options_init(&options);
  options.batch = 2;
  options.prompt_tokens = 20;
  options.decode_tokens = 4;
  options.repeat = 1;
  if (!spate_bench(engine, &options, &json, &error)) fail_msg("%s", error.text);
  spate_text_free(&json);
}

static void test_same_bytes(void **state) {
  static void (*const uses[])(spate_engine * engine) = {evaluate, logits_take, bench};
  (void)state;
  spate_engine *engine = engine_open_adapted();
  struct text plain = ask(engine, NULL, NULL), adapted = ask(engine, "all", NULL);
  assert_true(plain.size != adapted.size || memcmp(plain.text, adapted.text, plain.size) != 0);
  for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
    char fresh[16];
    snprintf(fresh, sizeof fresh, "%zu", i);
    uses[i](engine);
    as_before("with the adapter", &adapted, ask(engine, "all", NULL));
    as_before("plain", &plain, ask(engine, NULL, NULL));
    uses[i](engine);
    as_before("with the adapter, of a new salt", &adapted, ask(engine, "all", fresh));
  }
  spate_close(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bytes)};
  engine_path_make();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(engine_path);
  return failed;
}
