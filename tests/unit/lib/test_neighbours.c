/* A request's text and log-probabilities do not depend on what runs beside it: alone, among 64 others, in small chunks,
 * preempted for lack of KV blocks, with and without prefix reuse, on a device that runs ahead, under every policy. What
 * was executed is counted, so that a hit that is recomputed is seen. On the tiny fixture, and, among 16 others, on the
 * model that SPATE_TEST_MODEL names. */
#include "lib_fixture.h"

enum { REQUESTS = 65, FEW = 17, LENGTH = 64, SHARED = 24, TEXT_MAX = 1024, BLOCK = 4 };

static const char *model;
static const char *quant_mode; /* NULL: as the file is */

static int requests(void) { return model == tiny_model ? REQUESTS : FEW; }

static int max_tokens(int request) { return 8 + request % FEW; }

struct answers {
  char text[REQUESTS][TEXT_MAX];
  size_t size[REQUESTS];
  int32_t token[REQUESTS];     /* the last */
  uint64_t logprobs[REQUESTS]; /* a hash of them */
  long cached;
};

struct setting {
  const char *name;
  const char *backend, *scheduler;
  int spare;     /* tokens of a step beyond one for each sequence */
  int kv_blocks; /* of BLOCK tokens; 0: enough for all */
  bool reuse, together;
};

/* --- an engine for a setting -------------------------------------------------------------------------------------- */

static void engine_build(int spare) {
  spate_error error = {0};
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = model;
  build.output = engine_path;
  build.target = engine_target();
  build.quant_mode = quant_mode;
  build.emulate = true;
  build.max_batch_size = requests();
  build.max_num_tokens = requests() + spare;
  build.max_seq_len = LENGTH;
  if (!spate_build(&build, &error)) fail_msg("%s", error.text);
}

static spate_engine *engine_open_with(const struct setting *setting, uint64_t kv_bytes) {
  spate_error error = {0};
  spate_open_options open;
  spate_open_options_init(&open);
  open.model = engine_path;
  open.threads = 2;
  open.block_size = BLOCK;
  open.backend = engine_target() ? engine_target() : setting->backend;
  open.scheduler = setting->scheduler;
  open.no_block_reuse = !setting->reuse;
  open.kv_cache_memory = kv_bytes;
  open.batch_invariant = engine_target() != NULL; /* a GPU promises this of no other */
  spate_engine *engine = spate_open(&open, &error);
  if (!engine) fail_msg("%s: %s", setting->name, error.text);
  return engine;
}

/* The KV memory of so many blocks, from what all the blocks that the seats can use take. */
static spate_engine *engine_for(const struct setting *setting) {
  spate_engine *engine = engine_open_with(setting, 0);
  if (!setting->kv_blocks) return engine;
  spate_engine_info info = {.size = sizeof info};
  spate_info(engine, &info);
  spate_close(engine);
  uint64_t block = info.kv_bytes / ((uint64_t)requests() * LENGTH / BLOCK);
  return engine_open_with(setting, block * (uint64_t)setting->kv_blocks);
}

/* --- metrics ------------------------------------------------------------------------------------------------------ */

struct page {
  char text[64 << 10];
  size_t size;
};

static void page_write(void *user, const char *text, size_t size) {
  struct page *page = user;
  assert_true(page->size + size < sizeof page->text);
  memcpy(page->text + page->size, text, size);
  page->size += size;
}

static long metric_of(spate_engine *engine, const char *name) {
  static struct page page;
  char line[128];
  page = (struct page){0};
  assert_true(spate_metrics(engine, page_write, &page));
  snprintf(line, sizeof line, "\n%s ", name);
  const char *at = strstr(page.text, line);
  if (!at) fail_msg("there is no metric %s", name);
  return strtol(at + strlen(line), NULL, 10);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

/* Prompts of many lengths, every other with the same beginning, drawn and greedy, some with filters or rules. */
static uint64_t request_send(spate_engine *engine, spate_inbox *inbox, int i) {
  int32_t tokens[LENGTH];
  spate_error error = {0};
  spate_request request;
  spate_engine_info info = {.size = sizeof info};
  spate_info(engine, &info);
  spate_request_init(engine, &request);
  request.tokens = tokens;
  request.n_token = 2 + i * 37 % 39;
  for (int t = 0; t < request.n_token; t++)
    tokens[t] = ((i % 2 && t < SHARED ? 0 : i * 31) + t * 7919 + 13) % info.vocab_size;
  request.max_tokens = max_tokens(i);
  request.temperature = i % 3 ? 1 : 0;
  request.top_p = i % 5 ? 1 : 0.9f;
  request.top_k = i % 7 ? 0 : 30;
  request.repetition_penalty = i % 11 ? 1 : 1.2f;
  request.has_seed = true;
  request.seed = (uint64_t)i;
  request.ignore_eos = true;
  request.logprobs = true;
  request.top_logprobs = i % 4;
  uint64_t id = spate_submit(engine, inbox, &request, &error);
  if (!id) fail_msg("%s", error.text);
  return id;
}

/* FNV-1a. */
static uint64_t hash_extend(uint64_t hash, const void *data, size_t size) {
  for (size_t i = 0; i < size; i++) hash = (hash ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
  return hash;
}

/* Takes events until `count` of the requests are done. */
static void answers_take(spate_inbox *inbox, const uint64_t *id, int count, struct answers *answers) {
  while (count > 0) {
    spate_event event;
    assert_int_equal(spate_inbox_take(inbox, &event, 1, -1), 1);
    int i = 0;
    while (id[i] != event.id) i++;
    assert_true(event.kind != SPATE_FAILED && answers->size[i] + event.text_size <= TEXT_MAX);
    if (event.text_size) memcpy(answers->text[i] + answers->size[i], event.text, event.text_size);
    answers->size[i] += event.text_size;
    size_t rows = (size_t)event.n_logprobs * (size_t)(1 + event.top_logprobs) * sizeof *event.logprobs;
    answers->logprobs[i] = hash_extend(answers->logprobs[i], event.logprobs, rows);
    if (event.kind != SPATE_DONE) continue;
    assert_int_equal(event.generated_tokens, max_tokens(i));
    answers->token[i] = event.token;
    answers->cached += event.cached_tokens;
    count--;
  }
}

/* The order in which the requests are sent: another one for each seed; 0: as they are. */
static void order_draw(int order[REQUESTS], unsigned seed) {
  for (int i = 0; i < requests(); i++) order[i] = i;
  for (int i = requests() - 1; seed && i > 0; i--) {
    seed = seed * 1664525u + 1013904223u;
    int other = (int)((seed >> 8) % (unsigned)(i + 1)), kept = order[i];
    order[i] = order[other];
    order[other] = kept;
  }
}

static void answers_get(spate_engine *engine, bool together, unsigned seed, struct answers *answers) {
  spate_error error = {0};
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  if (!inbox) fail_msg("%s", error.text);
  uint64_t id[REQUESTS] = {0};
  int order[REQUESTS];
  order_draw(order, seed);
  memset(answers, 0, sizeof *answers);
  for (int i = 0; i < requests(); i++) {
    id[order[i]] = request_send(engine, inbox, order[i]);
    if (!together) answers_take(inbox, id, 1, answers);
  }
  if (together) answers_take(inbox, id, requests(), answers);
  spate_inbox_free(inbox);
}

/* --- the tests ---------------------------------------------------------------------------------------------------- */

static const struct setting settings[] = {
    {"alone", "cpu", NULL, 111, 0, false, false}, /* what the others are compared with */
    {"alone, with reuse", "cpu", NULL, 111, 0, true, false},
    {"together", "cpu", NULL, 111, 0, false, true},
    {"together, with reuse", "cpu", NULL, 111, 0, true, true},
    {"together, in small chunks", "cpu", NULL, 2, 0, true, true},
    {"together, preempted", "cpu", NULL, 111, 24, false, true},
    {"together, preempted, with reuse", "cpu", NULL, 47, 24, true, true},
    {"running ahead", "late", NULL, 111, 0, true, true},
    {"running ahead, preempted", "late", NULL, 23, 24, false, true},
    {"running ahead, preempted, with reuse", "late", NULL, 23, 24, true, true},
    {"dynamic", "cpu", "dynamic", 111, 0, true, true},
    {"static", "cpu", "static", 111, 40, true, true},
};

static void counts_check(spate_engine *engine, const struct setting *setting, const struct answers *answers) {
  long queried = metric_of(engine, "llm_prefix_cache_queried_tokens_total");
  long cached = metric_of(engine, "llm_prefix_cache_hit_tokens_total");
  long preemptions = metric_of(engine, "llm_preemptions_total");
  assert_int_equal(cached, answers->cached);
  assert_int_equal(metric_of(engine, "llm_prompt_tokens_total"), queried - cached);
  assert_true(setting->reuse == (cached > 0));
  if (preemptions == 0) assert_int_equal(metric_of(engine, "llm_recomputed_tokens_total"), 0);
  if (setting->kv_blocks == 24) assert_true(preemptions > 0);
}

static struct answers first; /* what each request gives alone */

static void answers_compare(const char *name, const struct answers *answers) {
  for (int k = 0; k < requests(); k++)
    if (answers->logprobs[k] != first.logprobs[k] || answers->size[k] != first.size[k] ||
        memcmp(answers->text[k], first.text[k], first.size[k]) != 0 || answers->token[k] != first.token[k])
      fail_msg("%s: request %d gives \"%.*s\", alone \"%.*s\"", name, k, (int)answers->size[k], answers->text[k],
               (int)first.size[k], first.text[k]);
}

static void test_same_bytes(void **state) {
  static struct answers answers;
  (void)state;
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
    const struct setting *setting = &settings[i];
    engine_build(setting->spare);
    spate_engine *engine = engine_for(setting);
    answers_get(engine, setting->together, 0, &answers);
    counts_check(engine, setting, &answers);
    spate_close(engine);
    if (i == 0) first = answers;
    answers_compare(setting->name, &answers);
  }
}

/* Many schedules: the requests in random order, with few blocks, on an engine that remembers the rounds before. */
static void test_random_orders(void **state) {
  static struct answers answers;
  (void)state;
  engine_build(23);
  for (size_t i = 5; i < 10; i++) {
    spate_engine *engine = engine_for(&settings[i]);
    unsigned rounds = model == tiny_model ? 60 : 2;
    for (unsigned seed = 1; seed <= rounds; seed++) {
      answers_get(engine, true, seed, &answers);
      answers_compare(settings[i].name, &answers);
    }
    spate_close(engine);
  }
}

/* In each mode: alone, in small chunks beside others, and preempted. */
static void modes_compare(const char *const *modes, size_t n) {
  static const int compared[] = {0, 4, 6};
  static struct answers answers;
  for (size_t m = 0; m < n; m++) {
    quant_mode = modes[m];
    for (size_t i = 0; i < sizeof compared / sizeof *compared; i++) {
      const struct setting *setting = &settings[compared[i]];
      char name[96];
      snprintf(name, sizeof name, "%s, %s", quant_mode, setting->name);
      engine_build(setting->spare);
      spate_engine *engine = engine_for(setting);
      answers_get(engine, setting->together, 0, &answers);
      spate_close(engine);
      if (i == 0) first = answers;
      answers_compare(name, &answers);
    }
  }
  quant_mode = NULL;
}

static void test_modes(void **state) {
  static const char *const modes[] = {"FP32", "FP16", "BF16", "INT8_WEIGHT", "INT4_WEIGHT", "FP8", "W8A8"};
  (void)state;
  if (model == tiny_model) modes_compare(modes, sizeof modes / sizeof *modes);
}

/* The same of mixtures of experts, whose products are of other rows in each step, one with latent attention. */
static void test_experts(void **state) {
  static const char *const modes[] = {"FP32", "BF16", "INT4_WEIGHT", "W8A8"};
  static const char *const mixtures[] = {FIXTURES "/model/qwen3_moe", FIXTURES "/model/deepseek_v3"};
  const char *kept = model;
  (void)state;
  if (model != tiny_model || engine_target()) return;
  for (size_t i = 0; i < sizeof mixtures / sizeof *mixtures; i++) {
    model = mixtures[i];
    modes_compare(modes, sizeof modes / sizeof *modes);
  }
  model = kept;
}

static int cached_with(spate_engine *engine, spate_inbox *inbox, const char *salt) {
  int32_t tokens[SHARED] = {1, 2, 3};
  spate_error error = {0};
  spate_request request;
  spate_event event = {0};
  spate_request_init(engine, &request);
  request.tokens = tokens;
  request.n_token = SHARED;
  request.max_tokens = 1;
  request.cache_salt = salt;
  if (!spate_submit(engine, inbox, &request, &error)) fail_msg("%s", error.text);
  while (event.kind != SPATE_DONE) assert_int_equal(spate_inbox_take(inbox, &event, 1, -1), 1);
  return event.cached_tokens;
}

/* Requests of different salts cannot tell what the others have sent. */
static void test_salt(void **state) {
  (void)state;
  spate_error error = {0};
  engine_build(111);
  spate_engine *engine = engine_open_with(&settings[3], 0);
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  assert_int_equal(cached_with(engine, inbox, NULL), 0);
  assert_int_equal(cached_with(engine, inbox, ""), SHARED - BLOCK);
  assert_int_equal(cached_with(engine, inbox, "a"), 0);
  assert_int_equal(cached_with(engine, inbox, "b"), 0);
  assert_int_equal(cached_with(engine, inbox, "a"), SHARED - BLOCK);
  spate_inbox_free(inbox);
  spate_close(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_random_orders),
                                     cmocka_unit_test(test_modes), cmocka_unit_test(test_experts),
                                     cmocka_unit_test(test_salt)};
  return models_run(tests, sizeof tests / sizeof *tests, &model);
}
