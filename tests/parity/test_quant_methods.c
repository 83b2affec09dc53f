/* What calibration is worth: mean KL divergence from the FP32 engine over 4,000 tokens held apart from the calibration
 * text, of INT4_WEIGHT rounded to nearest, by AWQ and by GPTQ. SPATE_TEST_PERMUTED names a model without quantized
 * groups of its own (tools/permute_model.py of the default model). Takes some minutes. */
#include "parity_support.h"

#include "backend/backends.h"
#include "build/build.h"

#include <jansson.h>

enum { WINDOW = 500, TOKENS = 4000, BATCH = 125 };

static const char text_path[] = "/usr/share/common-licenses/GPL-3";
static const double most_share = 0.7; /* of what rounding to nearest loses */

static char exact_path[] = "/tmp/spate-exact-XXXXXX", path[] = "/tmp/spate-method-XXXXXX";
static const char *model;

static void engine_build(const char *mode, const char *algo, const char *output) {
  spate_error error = {0};
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = model;
  build.output = output;
  build.quant_mode = mode;
  build.quant_algo = algo;
  if (strcmp(mode, "FP32") != 0) build.quant_override = "embed=FP16";
  build.emulate = true; /* FP8, on a CPU */
  build.max_batch_size = BATCH;
  build.opt_batch_size = 1;
  build.max_num_tokens = BATCH;
  build.max_seq_len = WINDOW;
  if (!spate_build(&build, &error)) fail_msg("%s", error.text);
}

/* Inputs as they are: what the weights lose alone. */
static void floats_prefer(struct scheme *s, bool exact) {
  (void)exact;
  if (s->kind == SCHEME_INT) s->activation = ACTIVATION_FLOAT;
}

/* Builds for the CPU as a backend would have it that prefers other schemes. */
static void engine_build_preferring(void (*prefer)(struct scheme *, bool), enum quant_mode mode,
                                    enum quant_method method) {
  struct backend backend = backend_cpu;
  struct error error = {0};
  backend.prefer = prefer;
  struct build_options build = {.model = model,
                                .output = path,
                                .backend = &backend,
                                .config = {.max_batch_size = BATCH,
                                           .opt_batch_size = 1,
                                           .max_num_tokens = BATCH,
                                           .max_seq_len = WINDOW,
                                           .quant_mode = (uint8_t)mode,
                                           .quant_method = (uint8_t)method},
                                .overrides = "embed=FP16"};
  if (!build_engine(&build, &error)) fail_msg("%s", error.text);
}

/* Of the engine at `path` from the exact one. */
static double divergence_of(const char *mode, const char *algo) {
  spate_error error = {0};
  spate_text json;
  spate_open_options open;
  spate_eval_options eval;
  spate_open_options_init(&open);
  open.model = path;
  open.kv_cache_memory = 64 << 20;
  open.max_outputs = BATCH;
  spate_engine *engine = spate_open(&open, &error);
  if (!engine) fail_msg("%s", error.text);
  spate_eval_options_init(&eval);
  eval.text = text_path;
  eval.window = WINDOW;
  eval.max_tokens = TOKENS;
  eval.against = exact_path;
  eval.open = &open;
  if (!spate_eval(engine, &eval, &json, &error)) fail_msg("%s", error.text);
  json_t *root = json_loads(json.data, 0, NULL), *against = json_object_get(root, "against");
  double kl = json_number_value(json_object_get(against, "mean_kl"));
  printf("%s %s: KL %.5f nats, the same first choice %.2f %%, perplexity %.3f, of FP32 %.3f\n", mode, algo, kl,
         100 * json_number_value(json_object_get(against, "same_top")),
         json_number_value(json_object_get(json_object_get(root, "text"), "perplexity")),
         json_number_value(json_object_get(against, "perplexity")));
  fflush(stdout);
  json_decref(root);
  spate_text_free(&json);
  spate_close(engine);
  return kl;
}

static double divergence(const char *mode, const char *algo) {
  engine_build(mode, algo, path);
  return divergence_of(mode, algo);
}

static void test_methods(void **state) {
  (void)state;
  static const struct {
    const char *mode, *algo;
    double most; /* nats */
  } bounds[] = {{"INT8_WEIGHT", "RTN", 0.005}, {"FP8", "RTN", 0.04}, {"W8A8", "SMOOTHQUANT", 0.015}};
  engine_build("FP32", "RTN", exact_path);
  engine_build_preferring(floats_prefer, QUANT_INT8_WEIGHT, QUANT_ROUND);
  assert_true(divergence_of("INT8_WEIGHT", "RTN, groups of 32, weights alone") <= 0.002);
  engine_build_preferring(backend_cuda.prefer, QUANT_INT8_WEIGHT, QUANT_ROUND);
  assert_true(divergence_of("INT8_WEIGHT", "RTN, as a GPU has it") <= 0.002);
  engine_build_preferring(backend_cuda.prefer, QUANT_INT4_WEIGHT, QUANT_ROUND);
  double wide = divergence_of("INT4_WEIGHT", "RTN, as a GPU has it");
  engine_build_preferring(backend_cuda.prefer, QUANT_INT4_WEIGHT, QUANT_AWQ);
  assert_true(divergence_of("INT4_WEIGHT", "AWQ, as a GPU has it") <= most_share * wide);
  engine_build_preferring(backend_cuda.prefer, QUANT_INT4_WEIGHT, QUANT_GPTQ);
  assert_true(divergence_of("INT4_WEIGHT", "GPTQ, as a GPU has it") <= most_share * wide);
  for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
    assert_true(divergence(bounds[i].mode, bounds[i].algo) <= bounds[i].most);
  double nearest = divergence("INT4_WEIGHT", "RTN");
  assert_true(divergence("INT4_WEIGHT", "AWQ") <= most_share * nearest);
  assert_true(divergence("INT4_WEIGHT", "GPTQ") <= most_share * nearest);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_methods)};
  model = getenv("SPATE_TEST_PERMUTED");
  if (!model || access(text_path, R_OK) != 0) {
    printf("SKIPPED: %s\n", model ? "there is no /usr/share/common-licenses/GPL-3"
                                  : "SPATE_TEST_PERMUTED does not name a model made by tools/permute_model.py");
    return 77;
  }
  int exact = mkstemp(exact_path), other = mkstemp(path);
  if (exact < 0 || other < 0) return 1;
  close(exact);
  close(other);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(exact_path);
  unlink(path);
  return failed;
}
