/* Mixtures of experts in every quant_mode: the CPU's logits against those of the reference on the same engine file, and
 * near the float network's; what overrides reach; what builds and adapters refuse. */
#include "../unit/model/model_variant.h"
#include "adapter_file.h"
#include "parity_support.h"

#include "backend/backends.h"
#include "backend/cpu/cpu_kernels.h"
#include "engine/adapter_read.h"
#include "engine/engine_file.h"

enum { TOKENS = 40 };

static char folder[] = "/tmp/spate-experts-XXXXXX", engine_path[64];

static const char *const models[] = {
    "qwen3_moe",   "granite_moe", "qwen3_moe_mixed", "mixtral_full/model.gguf", "deepseek_lite/model.gguf",
    "deepseek_fp8"};

static const char *merged; /* what engine_build merges; NULL: nothing */

static bool engine_build(const char *model, const char *mode, const char *algorithm, const char *overrides,
                         spate_error *error) {
  char path[512];
  spate_build_options build;
  spate_build_options_init(&build);
  build.merge_lora = merged;
  snprintf(path, sizeof path, "%s%s%s", *model == '/' ? "" : FIXTURES, *model == '/' ? "" : "/model/", model);
  build.model = path;
  build.output = engine_path;
  build.quant_mode = mode;
  build.quant_algo = algorithm;
  build.quant_override = overrides;
  build.emulate = true;
  build.max_batch_size = 2;
  build.max_num_tokens = 128;
  build.max_seq_len = 128;
  return spate_build(&build, error);
}

static void logits_of(const char *backend, const struct expected_logits *expected, float *logits) {
  spate_error error = {0};
  spate_open_options open;
  spate_open_options_init(&open);
  open.model = engine_path;
  open.no_fuse = strcmp(backend, "reference") == 0;
  open.threads = 2;
  open.kv_cache_dtype = "fp32";
  open.kv_cache_memory = 64 << 20;
  spate_engine *engine = spate_open(&open, &error);
  if (!engine || !spate_logits(engine, expected->token, expected->n_token, 7, logits, &error))
    fail_msg("%s", error.text);
  spate_close(engine);
}

/* Tokens whose logits differ by more than a part of the range: a choice that is as good as even may fall otherwise. */
static int tokens_far(const struct expected_logits *e, const float *logits, double part) {
  size_t vocab = (size_t)e->vocab;
  double range = (double)logits_range(e->logits, (size_t)e->n_token * vocab);
  int far = 0;
  for (int t = 0; t < e->n_token; t++) {
    double most = 0;
    for (size_t k = (size_t)t * vocab; k < (size_t)(t + 1) * vocab; k++) {
      double difference = fabs((double)logits[k] - (double)e->logits[k]);
      if (!(difference <= most)) most = difference;
    }
    far += !(most <= part * range);
  }
  return far;
}

static struct expected_logits fixture_expected(const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/model/%.*s/expected.logits", FIXTURES, (int)strcspn(name, "/"), name);
  return expected_read(path, false);
}

/* What is compared is how engines are built, by kernels that round no bf16: the first that there are. */
static int kernels_choose(void **state) {
  (void)state;
  int i = 0;
  while (kernel_sets[i]->rounds_bf16 || !kernel_sets[i]->available()) i++;
  return setenv("SPATE_ISA", kernel_sets[i]->name, 0);
}

/* Where inputs are rounded to 8 bits, one of them may lie between two codes, and from there on all differ a little: in
 * most of the engines none does. A third of the tokens may be far from the float network: these are tiny, and four bits
 * of 32 columns are little. */
static void test_modes(void **state) {
  (void)state;
  static const struct {
    const char *name;
    double part;
    bool floats;
  } modes[] = {{"FP32", 1e-4, true},        {"AS_FILE", 1e-4, true},     {"BF16", 0.02, true}, {"FP16", 0.01, true},
               {"INT8_WEIGHT", 0.1, false}, {"INT4_WEIGHT", 0.3, false}, {"W8A8", 0.1, false}, {"FP8", 0.2, false}};
  int alike = 0, coded = 0;
  for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
    struct expected_logits expected = fixture_expected(models[i]), same = expected;
    size_t count = (size_t)expected.n_token * (size_t)expected.vocab;
    float *cpu = calloc(count, sizeof *cpu), *reference = calloc(count, sizeof *reference);
    same.logits = reference;
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
      spate_error error = {0};
      if (!engine_build(models[i], modes[m].name, NULL, NULL, &error)) fail_msg("%s: %s", models[i], error.text);
      logits_of("cpu", &expected, cpu);
      logits_of("reference", &expected, reference);
      int apart = tokens_far(&same, cpu, 1e-4), far = tokens_far(&expected, cpu, modes[m].part);
      printf("%s, %s: %d of %d tokens apart from the reference, %d far from floats\n", models[i], modes[m].name, apart,
             expected.n_token, far);
      assert_true(tokens_far(&same, cpu, 0.1) <= 2 && (apart == 0 || !modes[m].floats));
      alike += !modes[m].floats && apart == 0;
      coded += !modes[m].floats;
      assert_true(far <= expected.n_token / 3);
    }
    free(cpu);
    free(reference);
    expected_release(&expected);
  }
  assert_true(2 * alike > coded);
}

/* The scheme that the manifest has of a weight. */
static void scheme_expect(const char *name, const char *scheme) {
  struct file file = {.descriptor = -1};
  char key[64];
  assert_true(file_open(&file, engine_path, NULL));
  snprintf(key, sizeof key, "\"name\":\"%s\"", name);
  const char *at = memmem(file.data, file.size, key, strlen(key));
  assert_non_null(at);
  const char *found = strstr(at, "\"scheme\":\"");
  assert_non_null(found);
  if (strncmp(found + 10, scheme, strlen(scheme)) != 0) fail_msg("%s is %.20s", name, found + 10);
  file_close(&file);
}

/* By the names of a part, of the weight; a router keeps the file's numbers unless it is named. */
static void test_overrides(void **state) {
  (void)state;
  spate_error error = {0};
  assert_true(engine_build("qwen3_moe", "INT4_WEIGHT", NULL, NULL, &error));
  scheme_expect("experts_gate_up.0", "int4");
  scheme_expect("router.0", "BF16");
  assert_true(engine_build("qwen3_moe", "INT4_WEIGHT", NULL,
                           "*.experts.*.down_proj=BF16,experts_gate_up.1=INT8_WEIGHT,router.2=INT8_WEIGHT", &error));
  scheme_expect("experts_down.0", "BF16");
  scheme_expect("experts_gate_up.0", "int4");
  scheme_expect("experts_gate_up.1", "int8");
  scheme_expect("router.1", "BF16");
  scheme_expect("router.2", "int8");
}

/* The mean divergence of the engine from the float network, over a text that it was not calibrated with. */
static double divergence_of(const char *exact) {
  spate_error error = {0};
  spate_text json;
  spate_open_options open;
  spate_eval_options eval;
  spate_open_options_init(&open);
  open.model = engine_path;
  open.kv_cache_memory = 16 << 20;
  spate_engine *engine = spate_open(&open, &error);
  if (!engine) fail_msg("%s", error.text);
  spate_eval_options_init(&eval);
  eval.text = FIXTURES "/eval/text.txt";
  eval.window = 64;
  eval.against = exact;
  eval.open = &open;
  if (!spate_eval(engine, &eval, &json, &error)) fail_msg("%s", error.text);
  const char *at = strstr(json.data, "\"mean_kl\":");
  assert_non_null(at);
  double kl = strtod(at + 10, NULL);
  spate_text_free(&json);
  spate_close(engine);
  return kl;
}

/* Experts by each method lose less than those that are rounded to nearest, all models together: these are tiny, and
 * their choices fall otherwise by chance. */
static void test_calibrated(void **state) {
  (void)state;
  static const char *const mixtures[] = {"mixtral",     "qwen3_moe",     "olmoe",       "granite_moe",
                                         "deepseek_v2", "deepseek_lite", "deepseek_v3", "deepseek_dense"};
  static const char *const methods[] = {"RTN", "AWQ", "GPTQ"};
  enum { MIXTURES = 8 };
  char exact[80];
  double part[3] = {0};
  spate_error error = {0};
  snprintf(exact, sizeof exact, "%s/exact.spate", folder);
  for (int i = 0; i < MIXTURES; i++) {
    if (!engine_build(mixtures[i], "FP32", NULL, NULL, &error)) fail_msg("%s", error.text);
    assert_int_equal(rename(engine_path, exact), 0);
    double kl[3];
    for (int m = 0; m < 3; m++) {
      if (!engine_build(mixtures[i], "INT4_WEIGHT", methods[m], NULL, &error)) fail_msg("%s", error.text);
      kl[m] = divergence_of(exact);
      part[m] += kl[m] / kl[0] / MIXTURES;
    }
    printf("%s: %.4f nats to nearest, %.4f by AWQ, %.4f by GPTQ\n", mixtures[i], kl[0], kl[1], kl[2]);
    unlink(exact);
  }
  printf("on average %.2f and %.2f of it\n", part[1], part[2]);
  assert_true(part[1] < 0.95 && part[2] < 0.9);
}

/* One expert's matrix said to be F16 among others of BF16. */
static void test_unlike_refused(void **state) {
  (void)state;
  struct model_variant variant;
  struct file file = {.descriptor = -1};
  spate_error error = {0};
  char path[PATH_MAX];
  variant_make(&variant, "mixtral", NULL);
  snprintf(path, sizeof path, "%.40s/model.safetensors", variant.path);
  assert_true(file_open(&file, path, NULL));
  uint8_t *bytes = malloc(file.size);
  assert_non_null(bytes);
  memcpy(bytes, file.data, file.size);
  static const char name[] = "\"model.layers.1.block_sparse_moe.experts.3.w2.weight\"", type[] = "\"BF16\"";
  char *at = memmem(bytes, file.size, name, strlen(name));
  assert_non_null(at);
  at = memmem(at, 200, type, strlen(type));
  assert_non_null(at);
  memcpy(at, "\"F16\" ", 6);
  unlink(path);
  FILE *out = fopen(path, "wb");
  assert_true(out && fwrite(bytes, file.size, 1, out) == 1 && fclose(out) == 0);
  assert_false(engine_build(variant.path, "BF16", NULL, NULL, &error));
  assert_string_equal(error.text, "Tensor model.layers.1.block_sparse_moe.experts.3.w2.weight is stored otherwise than "
                                  "model.layers.1.block_sparse_moe.experts.4.w2.weight; experts must be alike.");
  free(bytes);
  file_close(&file);
  variant_remove(&variant);
}

/* For the backend of the file, or one that leaves experts alone. */
static bool adapter_reads(const char *module, int rows, int cols, bool experts, struct error *error) {
  char path[128];
  struct engine_file file;
  snprintf(path, sizeof path, "%s/adapter", folder);
  adapter_write(path, module, rows, cols);
  assert_true(engine_file_open(&file, engine_path, error));
  struct backend backend = *file.backend;
  backend.expert_adapters = experts;
  file.backend = &backend;
  struct adapter *adapter = adapter_read(path, &file, 16, error);
  bool read = adapter != NULL;
  adapter_free(adapter);
  engine_file_close(&file);
  snprintf(path, sizeof path, "%s/adapter", folder);
  adapter_remove(path);
  return read;
}

/* Where a backend has none of experts, those of the rest of the network are taken. */
static void test_adapters(void **state) {
  (void)state;
  spate_error built = {0};
  struct error error = {0};
  assert_true(engine_build("qwen3_moe", "BF16", NULL, NULL, &built));
  if (!adapter_reads("model.layers.1.self_attn.q_proj", 40, 32, false, &error)) fail_msg("%s", error.text);
  if (!adapter_reads("model.layers.1.mlp.experts.3.gate_proj", 20, 32, true, &error)) fail_msg("%s", error.text);
  assert_false(adapter_reads("model.layers.1.mlp.experts.3.gate_proj", 20, 32, false, &error));
  assert_non_null(strstr(error.text,
                         "experts.3.gate_proj.lora_A.weight\" changes an expert, which the backend cpu does "
                         "not: merge the adapter while the engine is built (spate build --merge-lora)."));
  assert_false(adapter_reads("model.layers.1.mlp.experts.3.gate_proj", 21, 32, true, &error));
  assert_non_null(strstr(error.text, "experts.3.gate_proj.lora_B.weight\" has the shape [21, "));
}

/* What to do is told of experts that are modules of the base, not of any name with experts in it. */
static void test_no_experts(void **state) {
  (void)state;
  static const struct {
    const char *model, *module;
  } cases[] = {{"qwen3_moe", "model.layers.1.mlp.experts.7.gate_proj"},   /* it has seven */
               {"qwen3_moe", "model.layers.1.mlp.experts.33.gate_proj"},  /* whose name begins as the third's */
               {"granite_moe", "model.layers.1.mlp.experts.3.gate_proj"}, /* all experts are one tensor */
               {"llama2", "model.layers.1.mlp.experts.3.gate_proj"}};     /* none */
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    spate_error built = {0};
    struct error error = {0};
    char sentence[256];
    if (!engine_build(cases[i].model, "BF16", NULL, NULL, &built)) fail_msg("%s", built.text);
    assert_false(adapter_reads(cases[i].module, 20, 32, i % 2 == 0, &error));
    snprintf(sentence, sizeof sentence,
             "\"base_model.model.%s.lora_A.weight\" belongs to no module of the base model that adapters can change.",
             cases[i].module);
    if (!strstr(error.text, sentence)) fail_msg("%s: %s", cases[i].model, error.text);
  }
}

/* Adapters of experts, merged, against transformers with the sums of matrices; test_adapters.c has them beside one. */
static void test_merged(void **state) {
  (void)state;
  static const struct {
    const char *name, *model;
  } cases[] = {{"experts", "qwen3_moe"},
               {"experts_mixtral", "mixtral"},
               {"parameters_qwen3_moe", "qwen3_moe"}, /* by peft, of all experts at once */
               {"parameters_mixtral", "mixtral"},
               {"parameters_granite_moe", "granite_moe"},
               {"parameters_gpt_oss", "gpt_oss"},
               {"parameters_deepseek_v2", "deepseek_v2"}};
  static const int scales[] = {1, -2};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int k = 0; k < 2; k++) {
      char path[512], given[512];
      spate_error error = {0};
      snprintf(path, sizeof path, "%s/adapter/%s/%d.logits", FIXTURES, cases[i].name, scales[k]);
      snprintf(given, sizeof given, "%s/adapter/%s=%d", FIXTURES, cases[i].name, scales[k]);
      struct expected_logits expected = expected_read(path, false);
      float *logits = calloc((size_t)expected.n_token * (size_t)expected.vocab, sizeof *logits);
      merged = given;
      if (!engine_build(cases[i].model, "FP32", NULL, NULL, &error)) fail_msg("%s", error.text);
      merged = NULL;
      logits_of("cpu", &expected, logits);
      double difference = logits_difference(&expected, logits);
      printf("%s × %d, merged: %.1e of the range\n", cases[i].name, scales[k], difference);
      assert_true(difference <= 1e-4);
      free(logits);
      expected_release(&expected);
    }
}

/* Adapters of parameters on a backend that leaves experts alone, and merged into bases of other shapes and of no
 * experts. */
static void test_parameters_refused(void **state) {
  (void)state;
  static const struct {
    const char *adapter, *base, *sentence;
  } cases[] = {
      {"mixtral", "qwen3_moe",
       "merge_lora: " FIXTURES "/adapter/parameters_mixtral/adapter_model.safetensors: "
       "\"base_model.model.model.layers.0.mlp.experts.lora_A.weight\" has the shape [10, 40]; the base model and "
       "adapter_config.json want [14, 20]."},
      {"gpt_oss", "llama2",
       "merge_lora: " FIXTURES "/adapter/parameters_gpt_oss/adapter_model.safetensors: "
       "\"base_model.model.model.layers.0.mlp.experts.lora_A.weight\" belongs to no module of the base model "
       "that adapters can change."}};
  spate_error built = {0};
  struct error error = {0};
  struct engine_file file;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char given[512];
    snprintf(given, sizeof given, "%s/adapter/parameters_%s", FIXTURES, cases[i].adapter);
    merged = given;
    assert_false(engine_build(cases[i].base, "FP32", NULL, NULL, &built));
    merged = NULL;
    assert_string_equal(built.text, cases[i].sentence);
  }
  assert_true(engine_build("qwen3_moe", "BF16", NULL, NULL, &built));
  assert_true(engine_file_open(&file, engine_path, &error));
  struct backend without = *file.backend;
  without.expert_adapters = false;
  file.backend = &without;
  assert_null(adapter_read(FIXTURES "/adapter/parameters_qwen3_moe", &file, 16, &error));
  assert_non_null(strstr(
      error.text, "experts.base_layer.lora_A.weight\" changes an expert, which the backend cpu does not: merge the "
                  "adapter while the engine is built (spate build --merge-lora)."));
  engine_file_close(&file);
}

/* Factors of experts are rounded with them, whatever the method. */
static void test_merged_calibrated(void **state) {
  (void)state;
  spate_error error = {0};
  merged = FIXTURES "/adapter/experts";
  struct expected_logits expected = expected_read(FIXTURES "/adapter/experts/1.logits", false);
  float *logits = calloc((size_t)expected.n_token * (size_t)expected.vocab, sizeof *logits);
  if (!engine_build("qwen3_moe", "INT8_WEIGHT", "AWQ", NULL, &error)) fail_msg("%s", error.text);
  merged = NULL;
  logits_of("cpu", &expected, logits);
  int far = tokens_far(&expected, logits, 0.1);
  printf("experts, merged and calibrated: %d of %d tokens far\n", far, expected.n_token);
  assert_true(far <= expected.n_token / 3);
  free(logits);
  expected_release(&expected);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_modes),
                                     cmocka_unit_test(test_overrides),
                                     cmocka_unit_test(test_adapters),
                                     cmocka_unit_test(test_no_experts),
                                     cmocka_unit_test(test_calibrated),
                                     cmocka_unit_test(test_merged),
                                     cmocka_unit_test(test_parameters_refused),
                                     cmocka_unit_test(test_merged_calibrated),
                                     cmocka_unit_test(test_unlike_refused)};
  if (!mkdtemp(folder)) return 1;
  snprintf(engine_path, sizeof engine_path, "%s/engine.spate", folder);
  int failed = cmocka_run_group_tests(tests, kernels_choose, NULL);
  unlink(engine_path);
  rmdir(folder);
  return failed;
}
