/* Engines of checkpoints that were quantized elsewhere against engines of their numbers in F32. With everything in FP32
 * both have the same numbers, so their logits are the same bits, or sums of the same in another order where act-order
 * has moved the channels of the feed-forward; with the file's codes they differ by what the linears round: inputs to 8
 * bits where the codes are integers, nothing where they are E4M3; on a GPU, where kernels take those in bf16, to that.
 */
#include "adapter_file.h"
#include "parity_support.h"
#include "quantized_checkpoint.h"

#include "engine/adapter_read.h"
#include "engine/engine_file.h"

#include <limits.h>

enum { TOKENS = 40 };

#define AWQ(group) "{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": " group "}"
#define GPTQ(bits, order)                                                                                              \
  "{\"quant_method\": \"gptq\", \"bits\": " bits ", \"group_size\": 32, \"desc_act\": " order "}"
#define COMPRESSED(format, weights)                                                                                    \
  "{\"quant_method\": \"compressed-tensors\", \"format\": \"" format                                                   \
  "\", \"config_groups\": {\"a\": {\"weights\": {" weights "}}}}"
#define W4(symmetric)                                                                                                  \
  "\"num_bits\": 4, \"type\": \"int\", \"strategy\": \"group\", \"group_size\": 64, \"symmetric\": " symmetric

static const double rounded = 0.02, exact = 1e-4, sums = 1e-6; /* inputs of 8 bits; none; another order */

enum { ACT_ORDER = 4 }; /* in the list */

#define ORDERED                                                                                                        \
  "The experts of experts_gate_up.1 have their channels in an order of their own (GPTQ with act-order), in which no "  \
  "adapter of experts can be taken. Merge it into the checkpoint that was quantized."

static const struct form forms[] = {
    {"AWQ", AWQ("32"), STORED_AWQ, 4, 32, 1, true, false, rounded},
    {"AWQ, a group a row", AWQ("-1"), STORED_AWQ, 4, 0, 1, true, false, rounded},
    {"GPTQ", GPTQ("4", "false"), STORED_GPTQ, 4, 32, 1, true, false, rounded},
    {"GPTQ of 8 bits", GPTQ("8", "false"), STORED_GPTQ, 8, 32, 1, true, false, rounded},
    {"GPTQ with act-order", GPTQ("4", "true"), STORED_GPTQ, 4, 32, 1, true, true, rounded},
    {"w4a16", COMPRESSED("pack-quantized", W4("true")), STORED_WORDS, 4, 64, 1, false, false, rounded},
    {"w4a16 with zeros", COMPRESSED("pack-quantized", W4("false")), STORED_WORDS, 4, 64, 1, true, false, rounded},
    {"w8a8", COMPRESSED("int-quantized", "\"num_bits\": 8, \"type\": \"int\", \"strategy\": \"channel\""), STORED_INT8,
     8, 0, 1, false, false, rounded},
    {"FP8", COMPRESSED("float-quantized", "\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"channel\""),
     STORED_E4M3, 8, 0, 1, false, false, exact},
    {"FP8 in blocks", "{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}", STORED_E4M3, 8, 128, 128, false,
     false, exact},
};

static char folder[] = "/tmp/spate-quantized-XXXXXX", engine_path[64];
static const char *model = folder;
static int vocab = VOCAB; /* of the model, at most VOCAB */

static void logits_of(const char *quant_mode, const char *quant_algo, const char *backend, float *logits) {
  spate_error error = {0};
  spate_build_options build;
  int32_t tokens[TOKENS];
  spate_build_options_init(&build);
  build.model = model;
  build.target = backend;
  build.output = engine_path;
  build.quant_mode = quant_mode;
  build.quant_algo = quant_algo;
  build.max_batch_size = 2;
  build.max_num_tokens = 128;
  build.max_seq_len = 64;
  if (!spate_build(&build, &error)) fail_msg("%s", error.text);
  spate_engine *engine = engine_start(engine_path, backend, 16, 2);
  for (int i = 0; i < TOKENS; i++) tokens[i] = (i * 7919 + 13) % vocab;
  if (!spate_logits(engine, tokens, TOKENS, TOKENS, logits, &error)) fail_msg("%s", error.text);
  spate_close(engine);
}

static float twin[TOKENS * VOCAB], same[TOKENS * VOCAB], codes[TOKENS * VOCAB];

static double twin_difference(const float *logits) {
  int32_t position[TOKENS];
  const struct expected_logits expected = {
      .n_token = TOKENS, .vocab = vocab, .n_row = TOKENS, .position = position, .logits = twin};
  for (int i = 0; i < TOKENS; i++) position[i] = i;
  return logits_difference(&expected, logits);
}

static void form_check(enum network network, const struct form *form, const char *backend) {
  network_save(folder, network, form, true);
  logits_of("FP32", NULL, backend, twin);
  network_save(folder, network, form, false);
  logits_of("FP32", NULL, backend, same);
  logits_of(NULL, NULL, backend, codes);
  double difference = twin_difference(codes);
  printf("%s, network %d, %s: %.1e of the range\n", form->name, network, backend, difference);
  if (form->scattered ? !(twin_difference(same) <= sums) : memcmp(twin, same, sizeof twin) != 0)
    fail_msg("FP32 of its numbers is not FP32 of the twin's");
  bool on_gpu = strcmp(backend, "cuda") == 0;
  double tolerance = on_gpu ? rounded : form->tolerance;
  if (!(difference <= tolerance)) fail_msg("more than %g", tolerance);
}

/* Where there is a GPU SPATE_BACKEND=cuda has it tested too. */
static void test_forms(void **state) {
  const char *other = getenv("SPATE_BACKEND");
  (void)state;
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
    form_check(NETWORK_LLAMA, &forms[i], "reference");
    form_check(NETWORK_LLAMA, &forms[i], "cpu");
    if (other) form_check(NETWORK_LLAMA, &forms[i], other);
  }
}

/* Mixtures with a quantized matrix for each expert. */
static void test_experts(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
    for (enum network network = NETWORK_MIXTRAL; network < NETWORKS; network++) {
      form_check(network, &forms[i], "reference");
      form_check(network, &forms[i], "cpu");
    }
}

/* With act-order every expert's down has its own order, which gate and up are stored in: its codes are kept. */
static void test_expert_order(void **state) {
  (void)state;
  for (enum network network = NETWORK_MIXTRAL; network < NETWORKS; network++) {
    struct engine_file file;
    struct error error;
    int coded = 0;
    network_save(folder, network, &forms[ACT_ORDER], false);
    logits_of(NULL, NULL, "cpu", codes);
    if (!engine_file_open(&file, engine_path, &error)) fail_msg("%s", error.text);
    for (int i = 0; i < file.plan->n_op; i++) {
      const struct op *op = &plan_ops(file.plan)[i];
      if (op->kind != OP_LINEAR || op->args.linear.expert_mode != EXPERTS_GATHER) continue;
      assert_int_equal(plan_weights(file.plan)[op->weight[0]].scheme.kind, SCHEME_INT);
      coded++;
    }
    assert_true(coded > 0);
    engine_file_close(&file);
  }
}

/* Experts in an order of their own take no adapter: neither when it is merged nor when the engine runs. */
static void test_order_merged(void **state) {
  char path[128];
  spate_error error = {0};
  spate_build_options build;
  (void)state;
  network_save(folder, NETWORK_QWEN3_MOE, &forms[ACT_ORDER], false);
  snprintf(path, sizeof path, "%s/adapter", folder);
  adapter_write(path, "model.layers.1.mlp.experts.0.gate_proj", INNER, HIDDEN);
  spate_build_options_init(&build);
  build.model = folder;
  build.output = engine_path;
  build.merge_lora = path;
  assert_false(spate_build(&build, &error));
  assert_non_null(strstr(error.text, ORDERED));
  build.merge_lora = NULL;
  if (!spate_build(&build, &error)) fail_msg("%s", error.text);
  struct engine_file file;
  struct error refused = {0};
  assert_true(engine_file_open(&file, engine_path, &refused));
  assert_null(adapter_read(path, &file, 16, &refused));
  assert_non_null(strstr(refused.text, ORDERED));
  engine_file_close(&file);
  adapter_remove(path);
}

/* Factors that calibration folds into gate and up belong to channels that act-order has moved. */
static void test_calibrated_again(void **state) {
  const struct form *form = &forms[ACT_ORDER];
  (void)state;
  for (enum network network = NETWORK_LLAMA; network <= NETWORK_MIXTRAL; network++) {
    network_save(folder, network, form, true);
    logits_of("FP32", NULL, "cpu", twin);
    network_save(folder, network, form, false);
    logits_of("INT8_WEIGHT", "AWQ", "cpu", codes);
    double difference = twin_difference(codes);
    printf("%s, network %d, INT8_WEIGHT with AWQ: %.1e of the range\n", form->name, network, difference);
    if (!(difference <= rounded)) fail_msg("more than %g", rounded);
  }
}

/* NVFP4 with scales of whole matrices, against what gguf makes of the blocks times these (make_nvfp4_fixture.py). */
static void test_nvfp4(void **state) {
  static const char *const backends[] = {"reference", "cpu"};
  (void)state;
  vocab = 260;
  for (int i = 0; i < 2; i++) {
    model = FIXTURES "/build/nvfp4_f32.gguf";
    logits_of("FP32", NULL, backends[i], twin);
    model = FIXTURES "/build/nvfp4.gguf";
    logits_of("FP32", NULL, backends[i], same);
    logits_of(NULL, NULL, backends[i], codes);
    double difference = twin_difference(codes);
    printf("GGUF's NVFP4, %s: %.1e of the range\n", backends[i], difference);
    assert_memory_equal(twin, same, (size_t)TOKENS * (size_t)vocab * sizeof *twin);
    if (!(difference <= rounded)) fail_msg("more than %g", rounded);
  }
  vocab = VOCAB;
  model = folder;
}

static void folder_remove(void) {
  static const char *const names[] = {"tokenizer.json", "model.safetensors", "config.json", "engine.spate"};
  char path[96];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    unlink(path);
  }
  rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_forms),        cmocka_unit_test(test_experts),          cmocka_unit_test(test_expert_order),
      cmocka_unit_test(test_order_merged), cmocka_unit_test(test_calibrated_again), cmocka_unit_test(test_nvfp4)};
  char link[64], tokenizer[PATH_MAX];
  if (!mkdtemp(folder) || !realpath(FIXTURES "/model/llama3/tokenizer.json", tokenizer)) return 1;
  snprintf(engine_path, sizeof engine_path, "%s/engine.spate", folder);
  snprintf(link, sizeof link, "%s/tokenizer.json", folder);
  if (symlink(tokenizer, link) != 0) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  folder_remove();
  return failed;
}
