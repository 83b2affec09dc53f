/* How far the packed path of a quantized model (the file as it is, integer activations, KV in 16 bits), and each type
 * of KV cache alone, is from the FP32 engine of the same file, which test_smollm2 ties to another implementation: mean
 * KL divergence over 2,000 tokens of English prose, in windows. SPATE_TEST_MODEL names the model. */
#include "parity_support.h"

#include <jansson.h>

enum { WINDOW = 500, WINDOWS = 4, CHUNK = 125 };

static const char text_path[] = "/usr/share/common-licenses/GPL-3";
static const double most_nats = 0.005;

static char path[] = "/tmp/spate-kl-XXXXXX";
static const char *model;

static int32_t *tokens_read(void) {
  char text[32 << 10];
  spate_text json;
  spate_error error = {0};
  json_t *root, *token;
  size_t i, size;
  FILE *file = fopen(text_path, "rb");
  if (!file) fail_msg("%s cannot be opened", text_path);
  size = fread(text, 1, sizeof text, file);
  fclose(file);
  spate_tokenize_options options;
  spate_tokenize_options_init(&options);
  options.model = path;
  options.text = text;
  options.text_size = size;
  options.no_special = true;
  if (!spate_tokenize(&options, &json, &error)) fail_msg("%s", error.text);
  root = json_loadb(json.data, json.size, 0, NULL);
  assert_true(json_array_size(json_object_get(root, "tokens")) > WINDOW * WINDOWS);
  int32_t *tokens = calloc(WINDOW * WINDOWS + 1, sizeof *tokens);
  json_array_foreach(json_object_get(root, "tokens"), i, token) {
    if (i <= WINDOW * WINDOWS) tokens[i] = (int32_t)json_integer_value(json_object_get(token, "id"));
  }
  json_decref(root);
  spate_text_free(&json);
  return tokens;
}

/* Batches as large as a chunk, so that each chunk has the logits of all its tokens. */
static spate_engine *engine_of(const char *quant_mode, const char *kv) {
  spate_error error = {0};
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = model;
  build.output = path;
  build.quant_mode = quant_mode;
  build.max_batch_size = CHUNK;
  build.opt_batch_size = 1;
  build.max_num_tokens = CHUNK;
  build.max_seq_len = WINDOW;
  if (!spate_build(&build, &error)) fail_msg("%s", error.text);
  spate_open_options open;
  spate_open_options_init(&open);
  open.model = path;
  open.kv_cache_memory = 64 << 20;
  open.kv_cache_dtype = kv;
  spate_engine *engine = spate_open(&open, &error);
  if (!engine) fail_msg("%s", error.text);
  return engine;
}

/* Log-probabilities in place. */
static void normalize(float *row, int vocab) {
  double sum = 0;
  float most = row[0];
  for (int i = 1; i < vocab; i++) most = fmaxf(most, row[i]);
  for (int i = 0; i < vocab; i++) sum += (double)expf(row[i] - most);
  float shift = most + (float)log(sum);
  for (int i = 0; i < vocab; i++) row[i] -= shift;
}

static int highest(const float *row, int vocab) {
  int best = 0;
  for (int i = 1; i < vocab; i++)
    if (row[i] > row[best]) best = i;
  return best;
}

struct sums {
  double kl, exact_loss, packed_loss; /* nats */
  int count, agree;
};

static void row_add(struct sums *sums, const float *exact, const float *packed, int vocab, int next) {
  double kl = 0;
  for (int i = 0; i < vocab; i++) kl += (double)(expf(exact[i]) * (exact[i] - packed[i]));
  sums->kl += kl;
  sums->exact_loss -= (double)exact[next];
  sums->packed_loss -= (double)packed[next];
  sums->agree += highest(exact, vocab) == highest(packed, vocab);
  sums->count++;
}

/* Logits of WINDOWS windows as log-probabilities. */
static float *log_probabilities(spate_engine *engine, const int32_t *tokens, int vocab) {
  spate_error error = {0};
  size_t window = (size_t)WINDOW * (size_t)vocab;
  float *all = calloc(WINDOWS * window, sizeof *all);
  for (int w = 0; w < WINDOWS; w++)
    if (!spate_logits(engine, tokens + w * WINDOW, WINDOW, CHUNK, all + (size_t)w * window, &error))
      fail_msg("%s", error.text);
  for (size_t i = 0; i < WINDOWS * WINDOW; i++) normalize(all + i * (size_t)vocab, vocab);
  return all;
}

static int vocab_size;
static int32_t *tokens;
static float *exact; /* of the FP32 engine with its FP32 cache */

static int exact_make(void **state) {
  (void)state;
  spate_engine_info info = {.size = sizeof info};
  spate_engine *engine = engine_of("FP32", NULL);
  tokens = tokens_read();
  spate_info(engine, &info);
  vocab_size = info.vocab_size;
  exact = log_probabilities(engine, tokens, vocab_size);
  spate_close(engine);
  return 0;
}

static int exact_free(void **state) {
  (void)state;
  free(exact);
  free(tokens);
  return 0;
}

static void engine_check(const char *what, spate_engine *engine, double most) {
  struct sums sums = {0};
  float *packed = log_probabilities(engine, tokens, vocab_size);
  spate_close(engine);
  for (size_t i = 0; i < WINDOWS * WINDOW; i++) {
    size_t at = i * (size_t)vocab_size;
    row_add(&sums, exact + at, packed + at, vocab_size, tokens[i + 1]);
  }
  free(packed);
  double n = sums.count;
  printf("%s, over %d tokens: KL %.6f nats, the same first choice %.2f %%, perplexity %.3f exact, %.3f packed\n", what,
         sums.count, sums.kl / n, 100 * sums.agree / n, exp(sums.exact_loss / n), exp(sums.packed_loss / n));
  assert_true(sums.kl / n <= most);
}

static void test_kl(void **state) {
  (void)state;
  engine_check("as packed", engine_of(NULL, NULL), most_nats);
}

static void test_kv_types_alone(void **state) {
  (void)state;
  static const struct {
    const char *name;
    double most; /* nats */
  } types[] = {{"fp16", 0.001}, {"bf16", 0.001}, {"int8", 0.003}, {"fp8", 0.02}};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    engine_check(types[i].name, engine_of("FP32", types[i].name), types[i].most);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_kl), cmocka_unit_test(test_kv_types_alone)};
  model = getenv("SPATE_TEST_MODEL");
  if (!model) {
    printf("SKIPPED: SPATE_TEST_MODEL does not name the default model (scripts/get_model.sh prints its path)\n");
    return 77;
  }
  if (access(text_path, R_OK) != 0) {
    printf("SKIPPED: there is no %s\n", text_path);
    return 77;
  }
  int descriptor = mkstemp(path);
  if (descriptor < 0) return 1;
  close(descriptor);
  int failed = cmocka_run_group_tests(tests, exact_make, exact_free);
  unlink(path);
  return failed;
}
