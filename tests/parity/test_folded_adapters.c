/* Adapters on engines into whose matrices something was folded, against peft on the network as it was: made-up factors
 * in matrices that are not rounded, so that each factor that is left out or applied twice shows; AWQ, GPTQ and
 * SmoothQuant as a build has them, which may lose with an adapter what rounding loses with it; a checkpoint whose
 * channels act-order has moved beside its twin; and adapters that are merged before a calibration. */
#include "adapter_rig.h"
#include "folded_engine.h"
#include "quantized_checkpoint.h"

#include <limits.h>
#include <sys/stat.h>

static char folder[] = "/tmp/spate-folded-XXXXXX", engine_path[64], checkpoint[64], adapter[64];

/* --- made-up factors ---------------------------------------------------------------------------------------------- */

static void folded_build(const char *model, const struct backend *backend) {
  const struct engine_config config = {.quant_mode = QUANT_FP32, .max_seq_len = 512};
  struct draft draft;
  struct arena factors;
  struct error error;
  draft_init(&draft);
  arena_init(&factors, SIZE_MAX);
  if (!draft_open(&draft, model, &error) || !draft_settle(&draft, &config, backend, &error) ||
      !draft_tokenizer(&draft, &error))
    fail_msg("%s: %s", model, error.text);
  struct weight_transform *transforms = calloc((size_t)draft_plan(&draft)->n_weight, sizeof *transforms);
  assert_non_null(transforms);
  assert_int_equal(factors_set(draft_plan(&draft), transforms, &factors), 0);
  folded_engine_write(&draft, transforms, backend, engine_path);
  free(transforms);
  arena_release(&factors);
  draft_release(&draft);
}

/* Of matrices in how many engines-to-be something is folded. */
static int folded_weights(const struct engine_file *file) {
  int count = 0;
  for (int i = 0; i < file->plan->n_weight; i++) count += engine_file_fold(file, i).column != NULL;
  return count;
}

static void folded_check(const char *name, const char *backend, const char *base, const char *of) {
  char model[PATH], path[2 * PATH], file[PATH];
  struct rig rig;
  case_model(name, model);
  snprintf(path, sizeof path, "%s/model/%s%s", FIXTURES, model, base);
  snprintf(file, sizeof file, "%s%s", name, of);
  folded_build(path, backend_find(backend));
  rig_start(&rig, engine_path, backend, NULL, KV_F32);
  assert_true(folded_weights(&rig.file) >= 8);
  case_run(&rig, name, file, " folded");
  rig_close(&rig);
}

static void test_made_up(void **state) {
  static const char *const names[] = {"all",       "dora",       "rslora",          "patterns",
                                      "layers",    "embeddings", "dora_embeddings", "bias",
                                      "lora_bias", "tied",       "windows"};
  const char *given = getenv("SPATE_BACKEND"), *tested = given ? given : "cpu";
  (void)state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    folded_check(names[i], "reference", "", "");
    folded_check(names[i], tested, "", "");
  }
  folded_check("all", tested, "/model.gguf", "/adapter.gguf");
  folded_check("windows", tested, "", "/adapter.gguf");
  folded_check("dora", tested, "/model.gguf", "");
}

/* --- builds that calibrate ---------------------------------------------------------------------------------------- */

static const struct method {
  const char *mode, *algo;
} methods[] = {{"INT4_WEIGHT", "AWQ"},
               {"INT4_WEIGHT", "GPTQ"},
               {"INT8_WEIGHT", "AWQ"},
               {"INT8_WEIGHT", "GPTQ"},
               {"W8A8", "SMOOTHQUANT"}};

static void method_build(const char *model, const struct method *method, const char *merged) {
  spate_error error = {0};
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = model;
  build.output = engine_path;
  build.quant_mode = method->mode;
  build.quant_algo = method->algo;
  build.merge_lora = merged;
  build.max_seq_len = 64;
  if (!spate_build(&build, &error)) fail_msg("%s", error.text);
}

/* The root of the mean square by which the logits differ, as a part of the expected ones' standard deviation. */
static double logits_loss(struct rig *rig, const char *path, const struct mix *mix) {
  struct expected_logits expected = expected_read(path, false);
  size_t count = (size_t)TOKENS * (size_t)expected.vocab;
  float *logits = calloc(count, sizeof *logits);
  double error = 0, sum = 0, squares = 0;
  rows_run(rig, mix, 1, expected.token, 0, TOKENS, logits);
  for (size_t i = 0; i < count; i++) {
    double e = (double)expected.logits[i];
    error += ((double)logits[i] - e) * ((double)logits[i] - e);
    sum += e;
    squares += e * e;
  }
  free(logits);
  expected_release(&expected);
  return sqrt(error / (squares - sum * sum / (double)count));
}

/* What an engine of llama3 loses: without an adapter, and with each of some. */
enum { METHOD_ADAPTERS = 3 };

static const char *const method_adapters[METHOD_ADAPTERS] = {"all", "dora", "patterns"};

struct losses {
  double base, with[METHOD_ADAPTERS];
};

static struct losses losses_of(const struct method *method) {
  const struct mix none = {0}, one = mix_of(0, 1);
  struct losses losses;
  struct rig rig;
  method_build(FIXTURES "/model/llama3", method, NULL);
  rig_start(&rig, engine_path, "cpu", NULL, KV_F32);
  losses.base = logits_loss(&rig, FIXTURES "/model/llama3/expected.logits", &none);
  for (int i = 0; i < METHOD_ADAPTERS; i++) {
    char path[PATH];
    snprintf(path, sizeof path, FIXTURES "/adapter/%s/1.logits", method_adapters[i]);
    slot_load(&rig, 0, method_adapters[i]);
    losses.with[i] = logits_loss(&rig, path, &one);
  }
  slot_load(&rig, 0, "all");
  mixed_rows_check(&rig, "llama3", "dora");
  rig_close(&rig);
  return losses;
}

/* An adapter makes another network, which rounding may harm more or less: how much, engines that are rounded to nearest
 * tell, into which nothing is folded. */
static const double loss_share = 1.3;

static void method_check(const struct method *method, const struct losses *nearest, const struct losses *losses) {
  for (int i = 0; i < METHOD_ADAPTERS; i++) {
    double share = losses->with[i] / losses->base / (nearest->with[i] / nearest->base);
    printf("%s with %s: %.4f of the deviation with %s, %.4f without; rounded to nearest %.4f and %.4f: %.2f ×\n",
           method->mode, method->algo, losses->with[i], method_adapters[i], losses->base, nearest->with[i],
           nearest->base, share);
    if (!(share <= loss_share)) fail_msg("more than %g ×", loss_share);
  }
}

/* Calibrated on what the merged network sees: as near to peft as the base's engine is to the base (least). */
static void merged_check(const struct method *method, double least) {
  const struct mix none = {0};
  struct rig rig;
  method_build(FIXTURES "/model/llama3", method, FIXTURES "/adapter/dora=0.5");
  rig_start(&rig, engine_path, "cpu", NULL, KV_F32);
  double loss = logits_loss(&rig, FIXTURES "/adapter/dora/0.5.logits", &none);
  rig_close(&rig);
  printf("%s with %s, merged: %.4f of the deviation, %.4f without\n", method->mode, method->algo, loss, least);
  if (!(loss <= loss_share * least)) fail_msg("more than %g ×", loss_share);
}

/* Calibrating takes long: each engine is built once. */
static void test_methods(void **state) {
  struct losses nearest = {0};
  (void)state;
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    const struct method *method = &methods[i];
    if (i == 0 || strcmp(method->mode, method[-1].mode) != 0)
      nearest = losses_of(&(struct method){method->mode, "RTN"});
    struct losses losses = losses_of(method);
    method_check(method, &nearest, &losses);
    merged_check(method, losses.base);
  }
}

/* --- act-order ---------------------------------------------------------------------------------------------------- */

static const struct form act_order = {
    "GPTQ with act-order",
    "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32, \"desc_act\": true}",
    STORED_GPTQ,
    4,
    32,
    1,
    true,
    true,
    0};

static void factor_add(struct tensor_file *f, const char *module, const char *part, int rows, int cols, float middle,
                       uint32_t *random) {
  char name[160];
  snprintf(name, sizeof name, "base_model.model.model.layers.1.mlp.%s.%s", module, part);
  plain_add(f, name, rows, cols, middle, random);
}

/* Of the feed-forward, whose channels move: factors, magnitudes and perhaps biases. */
static void adapter_save(bool biases) {
  static const struct {
    const char *name;
    int rows, cols;
  } modules[] = {{"gate_proj", INNER, HIDDEN}, {"up_proj", INNER, HIDDEN}, {"down_proj", HIDDEN, INNER}};
  static const char config[] = "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":3,\"use_dora\":true}";
  struct tensor_file f = {0};
  uint32_t random = 5;
  char path[96];
  for (size_t i = 0; i < 3; i++) {
    factor_add(&f, modules[i].name, "lora_A.weight", 3, modules[i].cols, 0, &random);
    factor_add(&f, modules[i].name, "lora_B.weight", modules[i].rows, 3, 0, &random);
    if (biases) factor_add(&f, modules[i].name, "lora_B.bias", 0, modules[i].rows, 0, &random);
    factor_add(&f, modules[i].name, "lora_magnitude_vector", 0, modules[i].rows, 1, &random);
  }
  snprintf(path, sizeof path, "%s/adapter_model.safetensors", adapter);
  file_save(&f, path);
  snprintf(path, sizeof path, "%s/adapter_config.json", adapter);
  FILE *stream = fopen(path, "w");
  if (!stream || fputs(config, stream) == EOF || fclose(stream) != 0) abort();
}

/* Logits of the checkpoint's engine, of 32 bits or by a method. merged: the adapter is; otherwise it is in a slot. */
static void order_run(bool twin, const struct method *method, bool merged, float scale, float *logits) {
  struct mix mix = mix_of(1, scale);
  int32_t tokens[TOKENS];
  struct rig rig;
  char given[96];
  snprintf(given, sizeof given, "%s=%g", adapter, (double)scale);
  checkpoint_save(checkpoint, &act_order, twin);
  method_build(checkpoint, method, merged ? given : NULL);
  rig_start(&rig, engine_path, "cpu", NULL, KV_F32);
  if (!merged) slot_load_path(&rig, 1, adapter);
  for (int i = 0; i < TOKENS; i++) tokens[i] = (i * 7919 + 13) % VOCAB;
  rows_run(&rig, merged ? &(struct mix){0} : &mix, 1, tokens, 0, TOKENS, logits);
  rig_close(&rig);
}

static void order_check(const char *what, const float *expected, const float *logits, double most) {
  int32_t position[TOKENS];
  struct expected_logits twin = {
      .n_token = TOKENS, .vocab = VOCAB, .n_row = TOKENS, .position = position, .logits = (float *)(uintptr_t)expected};
  for (int i = 0; i < TOKENS; i++) position[i] = i;
  double difference = logits_difference(&twin, logits);
  printf("act-order, %s: %.1e of the range\n", what, difference);
  if (!(difference <= most)) fail_msg("more than %g", most);
}

static void test_act_order(void **state) {
  static const struct method floats = {"FP32", NULL}, again = {"INT8_WEIGHT", "AWQ"};
  static float twin[TOKENS * VOCAB], base[TOKENS * VOCAB], logits[TOKENS * VOCAB];
  static const double sums = 1e-5, rounded = 0.03; /* another order of adding; 8 bits */
  (void)state;
  adapter_save(true);
  order_run(true, &floats, false, 0.75f, twin);
  order_run(true, &floats, false, 0, base);
  assert_true(memcmp(twin, base, sizeof twin) != 0);
  order_run(false, &floats, false, 0.75f, logits);
  order_check("an adapter with biases", twin, logits, sums);
  adapter_save(false);
  order_run(true, &floats, false, 0.75f, twin);
  order_run(false, &floats, false, 0.75f, logits);
  order_check("an adapter", twin, logits, sums);
  order_run(false, &floats, true, 0.75f, logits);
  order_check("one that is merged", twin, logits, sums);
  order_run(false, &again, false, 0.75f, logits);
  order_check("one on AWQ", twin, logits, rounded);
}

static void folder_remove(void) {
  static const char *const names[] = {"checkpoint/tokenizer.json",
                                      "checkpoint/model.safetensors",
                                      "checkpoint/config.json",
                                      "checkpoint",
                                      "adapter/adapter_config.json",
                                      "adapter/adapter_model.safetensors",
                                      "adapter",
                                      "engine.spate"};
  char path[96];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    remove(path);
  }
  rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_made_up), cmocka_unit_test(test_methods),
                                     cmocka_unit_test(test_act_order)};
  char link[96], tokenizer[PATH_MAX];
  if (!mkdtemp(folder) || !realpath(FIXTURES "/model/llama3/tokenizer.json", tokenizer)) return 1;
  snprintf(engine_path, sizeof engine_path, "%s/engine.spate", folder);
  snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint", folder);
  snprintf(adapter, sizeof adapter, "%s/adapter", folder);
  snprintf(link, sizeof link, "%s/tokenizer.json", checkpoint);
  if (mkdir(checkpoint, 0700) != 0 || mkdir(adapter, 0700) != 0 || symlink(tokenizer, link) != 0) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  folder_remove();
  return failed;
}
