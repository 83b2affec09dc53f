/* Options of programs that were compiled against another spate.h: shorter structs work, with defaults for what they do
 * not have; sizes that cannot be are refused. Structs are allocated at their exact size, for the sanitizer. */
#include "lib_fixture.h"

#include <limits.h>

static spate_engine *engine;

static int setup(void **state) {
  (void)state;
  engine_make(tiny_model, 2, 8);
  engine = engine_start(1);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  spate_close(engine);
  return 0;
}

/* The first `size` bytes of a struct, on their own. */
static void *shortened(const void *options, size_t size) {
  void *copy = malloc(size);
  assert_non_null(copy);
  memcpy(copy, options, size);
  memcpy(copy, &size, sizeof size);
  return copy;
}

static void test_short_open(void **state) {
  (void)state;
  spate_error error = {0};
  spate_open_options open;
  spate_open_options_init(&open);
  open.model = engine_path;
  open.kv_cache_dtype = "nonsense, but not read";
  spate_open_options *old = shortened(&open, offsetof(spate_open_options, kv_cache_dtype));
  spate_engine *second = spate_open(old, &error);
  if (!second) fail_msg("%s", error.text);
  spate_close(second);
  free(old);
}

static void test_short_build(void **state) {
  (void)state;
  spate_error error = {0};
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = tiny_model;
  build.output = engine_path;
  build.max_seq_len = -1; /* not read */
  spate_build_options *old = shortened(&build, offsetof(spate_build_options, max_seq_len));
  if (!spate_build(old, &error)) fail_msg("%s", error.text);
  spate_open_options open;
  spate_open_options_init(&open);
  char folder[] = "/tmp/spate-cache-XXXXXX", command[64];
  assert_non_null(mkdtemp(folder));
  open.model = tiny_model;
  open.build = old;
  open.cache_dir = folder;
  spate_engine *second = spate_open(&open, &error);
  if (!second) fail_msg("%s", error.text);
  spate_close(second);
  free(old);
  snprintf(command, sizeof command, "rm -r %s", folder);
  assert_int_equal(system(command), 0);
}

static void test_short_request(void **state) {
  (void)state;
  spate_error error = {0};
  spate_request request;
  spate_event event = {0};
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  spate_request_init(engine, &request);
  request.prompt = "short";
  request.prompt_size = 5;
  request.max_tokens = 2;
  request.n_stop = -1; /* not read */
  spate_request *old = shortened(&request, offsetof(spate_request, n_stop));
  if (!spate_submit(engine, inbox, old, &error)) fail_msg("%s", error.text);
  while (event.kind == SPATE_TEXT) assert_int_equal(spate_inbox_take(inbox, &event, 1, -1), 1);
  assert_int_equal(event.kind, SPATE_DONE);
  free(old);
  spate_inbox_free(inbox);
}

/* What the library fills it fills no further than the caller's struct goes. */
static void test_short_answers(void **state) {
  (void)state;
  spate_engine_info info;
  spate_request request;
  memset(&info, 'x', sizeof info);
  memset(&request, 'x', sizeof request);
  info.size = offsetof(spate_engine_info, max_input_len);
  request.size = offsetof(spate_request, n_stop);
  spate_info(engine, &info);
  spate_request_defaults(engine, &request);
  assert_string_equal(info.name, "Tiny");
  assert_int_equal(info.max_batch_size, 2);
  assert_int_equal(info.size, offsetof(spate_engine_info, max_input_len));
  assert_int_equal(info.max_input_len, 0x78787878);
  assert_int_equal(request.max_tokens, 64);
  assert_int_equal(request.n_stop, 0x78787878);
}

/* An older program's events are shorter: each is where that program looks for it, and nothing lies between them. */
static void test_short_events(void **state) {
  (void)state;
  enum { OLD = offsetof(spate_event, stop_string), REQUESTS = 3 };
  spate_error error = {0};
  spate_request request;
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  uint64_t id[REQUESTS];
  spate_request_init(engine, &request);
  request.prompt = "short";
  request.prompt_size = 5;
  request.max_tokens = 1;
  for (int i = 0; i < REQUESTS; i++)
    if (!(id[i] = spate_submit(engine, inbox, &request, &error))) fail_msg("%s", error.text);
  for (int seen = 0; seen < REQUESTS;) {
    uint8_t *events = calloc(REQUESTS, OLD); /* exactly as large as they are: a sanitizer sees one byte more */
    int count = spate_inbox_take_sized(inbox, events, OLD, REQUESTS, -1);
    for (int i = 0; i < count; i++) {
      spate_event event;
      memcpy(&event, events + (size_t)i * OLD, OLD);
      assert_int_equal(event.id, id[seen++]);
      assert_int_equal(event.kind, SPATE_DONE);
      assert_int_equal(event.generated_tokens, 1);
    }
    free(events);
  }
  spate_inbox_free(inbox);
}

static void sentence_check(const char *name, size_t size, size_t known, const spate_error *error) {
  char sentence[256];
  snprintf(sentence, sizeof sentence,
           "%s.size is %zu, expected at most %zu: let %s_init set it, and use a library that is not older than its "
           "header.",
           name, size, known, name);
  assert_string_equal(error->text, sentence);
  assert_int_equal(error->code, SPATE_INVALID);
}

static void test_wrong_sizes(void **state) {
  (void)state;
  static const size_t wrong[] = {0, sizeof(size_t), 4096, SIZE_MAX};
  spate_error error = {0};
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    spate_build_options build = {.size = wrong[i]};
    assert_false(spate_build(&build, &error));
    sentence_check("spate_build_options", wrong[i], sizeof build, &error);
    spate_open_options open = {.size = wrong[i]};
    assert_null(spate_open(&open, &error));
    sentence_check("spate_open_options", wrong[i], sizeof open, &error);
    spate_open_options_init(&open);
    open.model = tiny_model;
    open.build = &build;
    assert_null(spate_open(&open, &error));
    sentence_check("spate_build_options", wrong[i], sizeof build, &error);
    spate_request request = {.size = wrong[i]};
    assert_int_equal(spate_submit(engine, inbox, &request, &error), 0);
    sentence_check("spate_request", wrong[i], sizeof request, &error);
    spate_tokenize_options tokenize = {.size = wrong[i]};
    assert_false(spate_tokenize(&tokenize, NULL, &error));
    sentence_check("spate_tokenize_options", wrong[i], sizeof tokenize, &error);
    spate_bench_options bench = {.size = wrong[i]};
    assert_false(spate_bench(engine, &bench, NULL, &error));
    sentence_check("spate_bench_options", wrong[i], sizeof bench, &error);
  }
  spate_inbox_free(inbox);
}

static void test_arrays(void **state) {
  (void)state;
  spate_error error = {0};
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  spate_request request;
  spate_request_init(engine, &request);
  request.n_stop = 17;
  assert_int_equal(spate_submit(engine, inbox, &request, &error), 0);
  assert_string_equal(error.text,
                      "17 stop strings and 0 tokens were given; expected 0 to 16, 0 or more, and the arrays "
                      "that hold them.");
  static const char *const missing[2] = {"a", NULL};
  request.n_stop = 2;
  request.stop = missing;
  assert_int_equal(spate_submit(engine, inbox, &request, &error), 0);
  assert_string_equal(error.text, "2 stop strings and 0 tokens were given; expected 0 to 16, 0 or more, and the arrays "
                                  "that hold them.");
  spate_inbox_free(inbox);
}

static void test_texts(void **state) {
  (void)state;
  const char two[] = "A text is wanted, perhaps with a second one, or tokens, and not both.";
  const char per_doc[] = "max_tokens_per_doc cuts texts, not a conversation and not tokens: see truncate.";
  static const int32_t ids[2] = {1, 2};
  const struct {
    spate_embed_request request;
    const char *sentence;
  } refused[] = {
      {{.text = "a", .text_size = 1, .behind = -1}, "behind is -1, expected 0 or more."},
      {{.tokens = ids, .n_token = 2, .behind = INT_MIN}, "behind is -2147483648, expected 0 or more."},
      {{.behind = 0}, two},
      {{.text = "a", .text_size = 1, .max_tokens_per_doc = -1}, "max_tokens_per_doc is -1, expected 0 to 16777216."},
      {{.text = "a", .text_size = 1, .max_tokens_per_doc = INT_MAX},
       "max_tokens_per_doc is 2147483647, expected 0 to 16777216."},
      {{.text = "{}", .text_size = 2, .chat = true, .max_tokens_per_doc = 1}, per_doc},
      {{.tokens = ids, .n_token = 2, .max_tokens_per_doc = 1}, per_doc},
      {{.text = "a", .text_size = 1, .n_token = -1}, two},
      {{.n_token = 2}, two},
      {{.text = "a", .text_size = 1, .tokens = ids, .n_token = 2}, two},
  };
  spate_error error = {0};
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    spate_embed_request request = refused[i].request;
    request.size = sizeof request;
    assert_int_equal(spate_embed(engine, inbox, &request, &error), 0);
    assert_string_equal(error.text, refused[i].sentence);
    assert_int_equal(error.code, SPATE_INVALID);
  }
  spate_inbox_free(inbox);
}

static void test_no_logits(void **state) {
  (void)state;
  spate_error error = {0};
  spate_open_options open;
  spate_engine_info info = {.size = sizeof info};
  spate_open_options_init(&open);
  open.model = engine_path;
  open.backend = "null";
  spate_engine *null = spate_open(&open, &error);
  if (!null) fail_msg("%s", error.text);
  spate_info(null, &info);
  float *logits = calloc((size_t)info.vocab_size, sizeof *logits);
  int32_t token = 1;
  assert_false(spate_logits(null, &token, 1, 1, logits, &error));
  assert_string_equal(error.text, "The backend null computes no logits; open the engine with another.");
  free(logits);
  spate_close(null);
}

/* Refused before a network is made. */
static void test_random_experts(void **state) {
  (void)state;
  static const int batch[] = {1};
  spate_random_options random;
  spate_error error = {0};
  spate_text json;
  spate_random_options_init(&random);
  random.model = "smollm2-135m", random.device = "cpu", random.batch = batch, random.n_batch = 1;
  random.cpu_experts = -5;
  assert_false(spate_bench_random(&random, &json, &error));
  assert_string_equal(error.text, "cpu_experts is -5, expected 0 to 1024.");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_short_open),     cmocka_unit_test(test_short_build),  cmocka_unit_test(test_short_request),
      cmocka_unit_test(test_short_answers),  cmocka_unit_test(test_wrong_sizes),  cmocka_unit_test(test_arrays),
      cmocka_unit_test(test_no_logits),      cmocka_unit_test(test_short_events), cmocka_unit_test(test_texts),
      cmocka_unit_test(test_random_experts),
  };
  engine_path_make();
  int failed = cmocka_run_group_tests(tests, setup, teardown);
  unlink(engine_path);
  return failed;
}
