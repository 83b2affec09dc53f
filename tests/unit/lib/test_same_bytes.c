/* The same prompt gives the same bytes with one and two threads and on each chunking of its prefill: logits, and drawn
 * texts; with each KV cache. On the tiny fixture, and on the model that SPATE_TEST_MODEL names. */
#include "lib_fixture.h"

enum { PROMPT = 37, ANSWER = 20 };

static const char *model;

/* --- logits ------------------------------------------------------------------------------------------------------- */

static float *logits_of(spate_engine *engine, int chunk, size_t *count) {
  int32_t tokens[PROMPT];
  spate_error error = {0};
  spate_engine_info info = {.size = sizeof info};
  spate_info(engine, &info);
  for (int i = 0; i < PROMPT; i++) tokens[i] = (i * 7919 + 13) % info.vocab_size;
  *count = (size_t)PROMPT * (size_t)info.vocab_size;
  float *logits = calloc(*count, sizeof *logits);
  if (!spate_logits(engine, tokens, PROMPT, chunk, logits, &error)) fail_msg("%s", error.text);
  return logits;
}

static void logits_check(void) {
  static const int chunks[] = {PROMPT, 1, 7, 16, 36};
  float *first = NULL;
  size_t count;
  engine_make(model, PROMPT, PROMPT);
  for (int threads = 1; threads <= 2; threads++) {
    spate_engine *engine = engine_start(threads);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
      float *logits = logits_of(engine, chunks[i], &count);
      if (!first)
        first = logits;
      else if (memcmp(first, logits, count * sizeof *logits) != 0)
        fail_msg("logits with %d threads in chunks of %d differ", threads, chunks[i]);
      if (logits != first) free(logits);
    }
    spate_close(engine);
  }
  free(first);
}

/* --- texts -------------------------------------------------------------------------------------------------------- */

static size_t text_of(spate_engine *engine, char *text, size_t room) {
  spate_error error = {0};
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  spate_request request;
  spate_event event = {0};
  size_t size = 0;
  spate_request_init(engine, &request);
  request.prompt = "Once upon a time, in a land of steps,";
  request.prompt_size = strlen(request.prompt);
  request.max_tokens = ANSWER;
  request.temperature = 1;
  request.has_seed = true;
  request.seed = 7;
  request.ignore_eos = true;
  if (!inbox || !spate_submit(engine, inbox, &request, &error)) fail_msg("%s", error.text);
  while (event.kind == SPATE_TEXT) {
    assert_int_equal(spate_inbox_take(inbox, &event, 1, -1), 1);
    assert_true(size + event.text_size <= room);
    memcpy(text + size, event.text, event.text_size);
    size += event.text_size;
  }
  assert_int_equal(event.kind, SPATE_DONE);
  assert_int_equal(event.generated_tokens, ANSWER);
  spate_inbox_free(inbox);
  return size;
}

static void texts_check(void) {
  static const int chunks[] = {64, 5, 1};
  char first[1024], text[1024];
  size_t first_size = 0;
  for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
    engine_make(model, 1, chunks[i]);
    for (int threads = 1; threads <= 2; threads++) {
      spate_engine *engine = engine_start(threads);
      size_t size = text_of(engine, text, sizeof text);
      spate_close(engine);
      if (first_size == 0) {
        memcpy(first, text, size);
        first_size = size;
      }
      if (size != first_size || memcmp(first, text, size) != 0)
        fail_msg("the text with %d threads in chunks of %d differs: %.*s", threads, chunks[i], (int)size, text);
    }
  }
  assert_true(first_size > 0);
}

/* --- with each cache ---------------------------------------------------------------------------------------------- */

static const char *const kv_dtypes[] = {NULL, "fp16", "int8", "fp8"};

static void each_cache(void (*check)(void)) {
  for (size_t i = 0; i < sizeof kv_dtypes / sizeof *kv_dtypes; i++) {
    engine_kv_dtype = kv_dtypes[i];
    check();
  }
  engine_kv_dtype = NULL;
}

static void test_logits(void **state) {
  (void)state;
  each_cache(logits_check);
}

static void test_texts(void **state) {
  (void)state;
  each_cache(texts_check);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_logits), cmocka_unit_test(test_texts)};
  return models_run(tests, sizeof tests / sizeof *tests, &model);
}
