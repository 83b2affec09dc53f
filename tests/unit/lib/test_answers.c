/* A request of n answers gives what n requests give, seed by seed, and computes its prompt once: with and without
 * prefix reuse, with too few seats or blocks for all of them, on a device that runs ahead. */
#include "lib_fixture.h"

enum { ANSWERS = 5, PROMPT = 27, GENERATED = 12, TEXT_MAX = 1024, BLOCK = 4 };

static const char *model;

static const struct setting {
  const char *name, *backend;
  int seats, kv_blocks; /* blocks: 0: enough */
  bool reuse, contiguous;
  int computed; /* prompt tokens, where nobody waits: all but the last once, and that for each answer */
} settings[] = {
    {"all at once", "cpu", 8, 0, false, false, PROMPT - 1 + ANSWERS},
    {"all at once, with reuse", "cpu", 8, 0, true, false, PROMPT - 1 + ANSWERS},
    {"running ahead", "late", 8, 0, true, false, PROMPT - 1 + ANSWERS},
    {"contiguous", "cpu", 8, 0, false, true, PROMPT - 1 + ANSWERS},
    {"few seats", "cpu", 2, 0, false, false, 0},
    {"few seats, with reuse", "late", 2, 0, true, false, 0},
    {"few blocks", "cpu", 8, 17, false, false, 0},
    {"few blocks, running ahead", "late", 8, 17, true, false, 0},
};

struct texts {
  char text[ANSWERS][TEXT_MAX];
  size_t size[ANSWERS];
};

static spate_engine *open_with(const struct setting *setting, uint64_t kv_bytes) {
  spate_error error = {0};
  spate_open_options open;
  spate_open_options_init(&open);
  open.model = engine_path;
  open.backend = setting->backend;
  open.threads = 2;
  open.block_size = BLOCK;
  open.no_block_reuse = !setting->reuse;
  open.kv_cache_memory = kv_bytes;
  spate_engine *engine = spate_open(&open, &error);
  if (!engine) fail_msg("%s: %s", setting->name, error.text);
  return engine;
}

static spate_engine *engine_with(const struct setting *setting) {
  spate_error error = {0};
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = model;
  build.output = engine_path;
  build.max_batch_size = setting->seats;
  build.max_num_tokens = 64;
  build.max_seq_len = 64;
  build.kv_cache_type = setting->contiguous ? "CONTIGUOUS" : "PAGED";
  if (!spate_build(&build, &error)) fail_msg("%s: %s", setting->name, error.text);
  spate_engine *engine = open_with(setting, 0);
  if (!setting->kv_blocks) return engine;
  spate_engine_info info = {.size = sizeof info};
  spate_info(engine, &info);
  spate_close(engine);
  return open_with(setting, info.kv_bytes / ((uint64_t)setting->seats * 64 / BLOCK) * (uint64_t)setting->kv_blocks);
}

static void ask(spate_engine *engine, spate_inbox *inbox, int n, int seed, struct texts *texts, int at) {
  int32_t tokens[PROMPT];
  spate_error error = {0};
  spate_request request;
  spate_request_init(engine, &request);
  for (int i = 0; i < PROMPT; i++) tokens[i] = 40 + i * 7 % 60;
  request.tokens = tokens;
  request.n_token = PROMPT;
  request.max_tokens = GENERATED;
  request.temperature = 1;
  request.has_seed = true;
  request.seed = (uint64_t)seed;
  request.ignore_eos = true;
  request.n = n;
  if (!spate_submit(engine, inbox, &request, &error)) fail_msg("%s", error.text);
  for (int left = n; left > 0;) {
    spate_event event;
    assert_int_equal(spate_inbox_take(inbox, &event, 1, -1), 1);
    assert_int_not_equal(event.kind, SPATE_FAILED);
    int i = at + event.answer;
    assert_true(texts->size[i] + event.text_size <= TEXT_MAX);
    if (event.text_size) memcpy(texts->text[i] + texts->size[i], event.text, event.text_size);
    texts->size[i] += event.text_size;
    left -= event.kind == SPATE_DONE;
  }
}

static void metrics_take(void *user, const char *text, size_t size) {
  char **end = user;
  memcpy(*end, text, size);
  *end += size;
}

static long computed(spate_engine *engine) {
  static char page[64 << 10];
  char *end = page;
  assert_true(spate_metrics(engine, metrics_take, &end));
  *end = '\0';
  const char *line = strstr(page, "\nllm_prompt_tokens_total ");
  assert_non_null(line);
  return strtol(line + strlen("\nllm_prompt_tokens_total "), NULL, 10);
}

static void test_answers(void **state) {
  (void)state;
  for (size_t s = 0; s < sizeof settings / sizeof *settings; s++) {
    static struct texts together, alone;
    memset(&together, 0, sizeof together);
    memset(&alone, 0, sizeof alone);
    spate_error error = {0};
    spate_engine *engine = engine_with(&settings[s]);
    spate_inbox *inbox = spate_inbox_new(engine, &error);
    ask(engine, inbox, ANSWERS, 3, &together, 0);
    if (settings[s].computed) assert_int_equal(computed(engine), settings[s].computed);
    for (int i = 0; i < ANSWERS; i++) ask(engine, inbox, 1, 3 + i, &alone, i);
    for (int i = 0; i < ANSWERS; i++)
      if (together.size[i] != alone.size[i] || memcmp(together.text[i], alone.text[i], alone.size[i]) != 0)
        fail_msg("%s: answer %d differs", settings[s].name, i);
    spate_inbox_free(inbox);
    spate_close(engine);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_answers)};
  return models_run(tests, sizeof tests / sizeof *tests, &model);
}
