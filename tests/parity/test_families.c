/* The tiny checkpoints of each family (tools/make_model_fixtures.py): FP32 logits against those of transformers, on
 * each backend (SPATE_BACKEND names another than the CPU's), block size and chunking; and each feature switched off in
 * config.json must be refused or show. */
#include "../unit/model/model_variant.h"
#include "parity_support.h"

static const double tolerance = 1e-4, visible = 1e-3; /* parts of the logits' range */

static const char *const models[] = {
    "llama2",          "llama3",        "llama_bias_yarn", "mistral",       "smollm2",     "qwen2",
    "qwen3",           "gemma3",        "gemma",           "gemma2",        "phi3",        "phi4_mini",
    "granite",         "olmo2",         "olmo3",           "smollm3",       "glm",         "glm4",
    "cohere",          "cohere2",       "ministral",       "ministral3",    "gpt2",        "gpt_neox",
    "gpt_neox_serial", "starcoder2",    "falcon7b",        "falcon40b",     "falcon_rw",   "mpt",
    "gpt_oss",         "gpt_oss_mxfp4", "deepseek_v2",     "deepseek_lite", "deepseek_v3", "deepseek_dense",
    "deepseek_fp8",    "mixtral",       "mixtral_full",    "mixtral_apart", "olmoe_clip",  "mpt_clip",
    "mpt_norms",       "qwen3_moe",     "qwen3_moe_mixed", "olmoe",         "granite_moe", "granite_moe_shared",
    "phimoe",          "phimoe_plain",  "granite4"};

enum { MODEL_COUNT = sizeof models / sizeof *models, TWINS = 30 };

static char folder[] = "/tmp/spate-parity-XXXXXX", engine_path[64];

/* Logits of the fixture's tokens by one engine, open only meanwhile. */
static double engine_difference(const struct expected_logits *expected, const char *backend, int block_size,
                                int chunk) {
  spate_error error = {0};
  spate_engine *engine = engine_start(engine_path, backend, block_size, 2);
  float *logits = calloc((size_t)expected->n_token * (size_t)expected->vocab, sizeof *logits);
  if (!spate_logits(engine, expected->token, expected->n_token, chunk, logits, &error)) fail_msg("%s", error.text);
  double difference = logits_difference(expected, logits);
  free(logits);
  spate_close(engine);
  return difference;
}

static struct expected_logits fixture_expected(const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/model/%s/expected.logits", FIXTURES, name);
  return expected_read(path, false);
}

/* Of a fixture's numbers, and the checkpoint that should have them. */
static void model_check(const char *name, const char *model) {
  static const struct {
    const char *backend; /* NULL: the one to test */
    int block_size, chunk;
  } ways[] = {{"reference", 16, 72}, {"reference", 32, 7}, {NULL, 16, 72}, {NULL, 16, 1}, {NULL, 32, 23}};
  const char *tested = getenv("SPATE_BACKEND");
  spate_error error = {0};
  struct expected_logits expected = fixture_expected(name);
  const char *file = strrchr(model, '/') + 1;
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    const char *backend = ways[i].backend ? ways[i].backend : tested ? tested : "cpu";
    if (!engine_make(model, backend, engine_path, &error)) fail_msg("%s: %s", model, error.text);
    double difference = engine_difference(&expected, backend, ways[i].block_size, ways[i].chunk);
    printf("%s, %s, %s, blocks of %d, chunks of %d: %.1e of the range\n", name, file, backend, ways[i].block_size,
           ways[i].chunk, difference);
    if (!(difference <= tolerance)) fail_msg("more than %g", tolerance);
  }
  expected_release(&expected);
}

static void test_directories(void **state) {
  (void)state;
  for (int i = 0; i < MODEL_COUNT; i++) {
    char path[512];
    snprintf(path, sizeof path, "%s/model/%s", FIXTURES, models[i]);
    model_check(models[i], path);
  }
}

static void test_gguf_twins(void **state) {
  (void)state;
  int count = 0;
  for (int i = 0; i < MODEL_COUNT; i++) {
    char path[512];
    snprintf(path, sizeof path, "%s/model/%s/model.gguf", FIXTURES, models[i]);
    if (access(path, R_OK) != 0) continue; /* llama.cpp's converter does not know all of them */
    model_check(models[i], path);
    count++;
  }
  assert_true(count >= TWINS);
}

/* Those of SPATE_TEST_TWINS, a folder of NAME.gguf and NAME (tests/parity/test_twins.py). */
static void test_twins_of_a_folder(void **state) {
  (void)state;
  enum { MADE = 17 };
  static const char *const endings[] = {".gguf", ""};
  int count = 0;
  for (int i = 0; i < 2 * MODEL_COUNT; i++) {
    char path[512];
    snprintf(path, sizeof path, "%.400s/%.60s%s", getenv("SPATE_TEST_TWINS"), models[i / 2], endings[i % 2]);
    if (access(path, R_OK) != 0) continue;
    model_check(models[i / 2], path);
    count++;
  }
  assert_int_equal(count, MADE);
}

static void feature_check(const char *name, const char *feature, const json_t *change) {
  struct model_variant variant;
  spate_error error = {0};
  struct expected_logits expected = fixture_expected(name);
  variant_make(&variant, name, change);
  if (engine_make(variant.path, "reference", engine_path, &error)) {
    double difference = engine_difference(&expected, "reference", 16, 72);
    printf("%s without %s: %.1e of the range\n", name, feature, difference);
    if (!(difference > visible)) fail_msg("the fixture does not show it");
  } else {
    printf("%s without %s: %s\n", name, feature, error.text);
  }
  variant_remove(&variant);
  expected_release(&expected);
}

static void test_features_switched_off(void **state) {
  (void)state;
  for (int i = 0; i < MODEL_COUNT; i++) {
    char path[512];
    snprintf(path, sizeof path, "%s/model/%s/off.json", FIXTURES, models[i]);
    json_t *off = json_load_file(path, 0, NULL), *change;
    const char *feature;
    assert_non_null(off);
    json_object_foreach(off, feature, change) feature_check(models[i], feature, change);
    json_decref(off);
  }
}

/* The bytes of a fixture's tensors, to be changed and given to variant_tensors_write. */
static uint8_t *variant_tensors(const char *name, size_t *size) {
  char source[512];
  struct file file;
  struct error error;
  snprintf(source, sizeof source, "%s/model/%s/model.safetensors", FIXTURES, name);
  assert_true(file_open(&file, source, &error));
  uint8_t *copy = malloc(file.size);
  *size = file.size;
  memcpy(copy, file.data, file.size);
  file_close(&file);
  return copy;
}

/* Beside the fixture's other files, in place of its own. */
static void variant_tensors_write(const struct model_variant *variant, uint8_t *bytes, size_t size) {
  char path[PATH_MAX + 32];
  snprintf(path, sizeof path, "%s/model.safetensors", variant->path);
  assert_int_equal(unlink(path), 0);
  FILE *stream = fopen(path, "wb");
  assert_true(stream && fwrite(bytes, 1, size, stream) == size && fclose(stream) == 0);
  free(bytes);
}

/* With the first byte of the named tensor changed. */
static void variant_spoil(const struct model_variant *variant, const char *name, const char *tensor, uint8_t byte) {
  uint64_t header, offset;
  size_t size;
  uint8_t *copy = variant_tensors(name, &size);
  memcpy(&header, copy, sizeof header);
  char *entry = memmem(copy, size, tensor, strlen(tensor));
  entry = strstr(entry, "data_offsets\":[");
  offset = strtoull(entry + strlen("data_offsets\":["), NULL, 10);
  copy[sizeof header + header + offset] = byte;
  variant_tensors_write(variant, copy, size);
}

/* MXFP4's scale that is none. */
static void test_scale_of_no_number(void **state) {
  (void)state;
  struct model_variant variant;
  spate_error error = {0};
  spate_build_options build;
  variant_make(&variant, "gpt_oss_mxfp4", NULL);
  variant_spoil(&variant, "gpt_oss_mxfp4", "layers.1.mlp.experts.down_proj_scales", 0xff);
  spate_build_options_init(&build);
  build.model = variant.path;
  build.target = "reference";
  build.output = engine_path;
  assert_false(spate_build(&build, &error));
  assert_string_equal(
      error.text, "Row 0 of tensor model.layers.1.mlp.experts.down_proj has numbers in columns 0 to 31 that are not "
                  "finite or too large for their scales; choose quant_mode BF16 or FP32.");
  variant_remove(&variant);
}

/* FP8 as AutoFP8 wrote it: the scales have another name. */
static void test_scales_by_another_name(void **state) {
  (void)state;
  static const char from[] = "weight_scale_inv\"", to[] = "weight_scale\"    ";
  struct model_variant variant;
  size_t size;
  int count = 0;
  uint8_t *copy = variant_tensors("deepseek_fp8", &size);
  for (uint8_t *at = copy; (at = memmem(at, size - (size_t)(at - copy), from, sizeof from - 1)); count++)
    memcpy(at, to, sizeof to - 1);
  assert_true(count > 10);
  variant_make(&variant, "deepseek_fp8", NULL);
  variant_tensors_write(&variant, copy, size);
  model_check("deepseek_fp8", variant.path);
  variant_remove(&variant);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_directories),
      cmocka_unit_test(test_gguf_twins),
      cmocka_unit_test(test_features_switched_off),
      cmocka_unit_test(test_scale_of_no_number),
      cmocka_unit_test(test_scales_by_another_name),
  };
  const struct CMUnitTest twins[] = {cmocka_unit_test(test_twins_of_a_folder)};
  if (!mkdtemp(folder)) return 1;
  snprintf(engine_path, sizeof engine_path, "%s/engine.spate", folder);
  bool given = getenv("SPATE_TEST_TWINS") != NULL;
  int failed = given ? cmocka_run_group_tests(twins, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
  unlink(engine_path);
  rmdir(folder);
  return failed;
}
