/* Every quant_mode with every quant_algo on every family with experts: each is built, served on a CPU and near
 * transformers' logits, its experts stored as the mode says, or refused with its sentence. The modes and methods are
 * those that there are: a new one is in the table by itself. */
#include "parity_support.h"

#include "backend/backends.h"
#include "backend/cpu/cpu_kernels.h"
#include "engine/engine_config.h"
#include "engine/engine_file.h"

#include <math.h>

enum { MODES = 16, METHODS = 8 };

static char folder[] = "/tmp/spate-modes-XXXXXX", engine_path[64], text_path[64];

static const char *const families[] = {"mixtral",       "qwen3_moe",    "olmoe",       "granite_moe",
                                       "gpt_oss",       "deepseek_v2",  "deepseek_v3", "deepseek_lite/model.gguf",
                                       "gpt_oss_mxfp4", "deepseek_fp8", "phimoe"};

/* What experts are stored as, and the most that the mean divergence of tokens' distributions from transformers' may be,
 * as a part of the divergence of each token's from the next one's: the networks are tiny and random, and lose more than
 * any that was trained. */
static const struct expected_mode {
  uint8_t kind, bits;
  bool as_file; /* whatever the file has, or the mode finds */
  double most;
} expected_modes[MODES] = {
    [QUANT_AS_FILE] = {.as_file = true, .most = 1e-3}, [QUANT_FP32] = {SCHEME_F32, 0, false, 1e-9},
    [QUANT_FP16] = {SCHEME_F16, 0, false, 1e-4},       [QUANT_BF16] = {SCHEME_BF16, 0, false, 0.02},
    [QUANT_INT8_WEIGHT] = {SCHEME_INT, 8, false, 0.1}, [QUANT_INT4_WEIGHT] = {SCHEME_INT, 4, false, 0.5},
    [QUANT_FP8] = {SCHEME_F8, 0, false, 0.2},          [QUANT_W8A8] = {SCHEME_INT, 8, false, 0.15},
    [QUANT_AUTO] = {.as_file = true, .most = 0.4}};
/* How many times as much, and what part on top, a method may lose over a text of no words, which it saw nothing of. */
static const double times = 4, on_top = 0.05;

static bool engine_build(const char *model, const char *mode, const char *algorithm, spate_error *error) {
  char path[512];
  spate_build_options build;
  spate_build_options_init(&build);
  snprintf(path, sizeof path, "%s/model/%s", FIXTURES, model);
  build.model = path;
  build.output = engine_path;
  build.quant_mode = mode;
  build.quant_algo = algorithm;
  build.calib_data = text_path;
  build.target_bits = mode && strcmp(mode, quant_mode_name(QUANT_AUTO)) == 0 ? 12 : 0;
  build.emulate = true;
  build.max_batch_size = 2;
  build.max_num_tokens = 128;
  build.max_seq_len = 128;
  return spate_build(&build, error);
}

static void logits_make(const struct expected_logits *expected, float *logits) {
  spate_error error = {0};
  spate_open_options open;
  spate_open_options_init(&open);
  open.model = engine_path;
  open.kv_cache_dtype = "fp32";
  open.kv_cache_memory = 64 << 20;
  spate_engine *engine = spate_open(&open, &error);
  if (!engine || !spate_logits(engine, expected->token, expected->n_token, 7, logits, &error))
    fail_msg("%s", error.text);
  spate_close(engine);
}

/* Of the softmax. */
static double log_sum(const float *logits, int count) {
  double most = -INFINITY, sum = 0;
  for (int i = 0; i < count; i++) most = fmax(most, (double)logits[i]);
  for (int i = 0; i < count; i++) sum += exp((double)logits[i] - most);
  return most + log(sum);
}

static double divergence_of(const struct expected_logits *expected, const float *logits) {
  double sum = 0;
  int vocab = expected->vocab;
  for (int t = 0; t < expected->n_token; t++, logits += vocab) {
    const float *truth = expected->logits + (size_t)t * (size_t)vocab;
    double p_sum = log_sum(truth, vocab), q_sum = log_sum(logits, vocab);
    for (int i = 0; i < vocab; i++) {
      double p = (double)truth[i] - p_sum, q = (double)logits[i] - q_sum;
      sum += exp(p) * (p - q) / expected->n_token;
    }
  }
  return sum;
}

/* All matrices of experts that tokens choose are what the mode stores. */
static void experts_check(const struct expected_mode *mode) {
  struct engine_file file;
  struct error error;
  int n = 0;
  if (!engine_file_open(&file, engine_path, &error)) fail_msg("%s", error.text);
  for (int i = 0; i < file.plan->n_op; i++) {
    const struct op *op = &plan_ops(file.plan)[i];
    if (op->kind != OP_LINEAR || !linear_is_routed(&op->args.linear)) continue;
    const struct scheme *scheme = &plan_weights(file.plan)[op->weight[0]].scheme;
    assert_true(mode->as_file ||
                (scheme->kind == mode->kind && (mode->bits == 0 || scheme_width(scheme) == mode->bits)));
    n++;
  }
  assert_true(n >= 2);
  engine_file_close(&file);
}

/* The mode's divergence; −1 where it is refused, as it must be. */
static double mode_run(const char *family, const struct expected_logits *expected, int mode, int method) {
  spate_error error = {0};
  char sentence[256];
  bool integers = mode == QUANT_INT8_WEIGHT || mode == QUANT_INT4_WEIGHT || mode == QUANT_W8A8 || mode == QUANT_AUTO;
  bool built = engine_build(family, quant_mode_name(mode), quant_method_name(method), &error);
  if (method != QUANT_ROUND && !integers) {
    snprintf(sentence, sizeof sentence,
             "quant_algo is %s and quant_mode is %s; it finds integers: choose quant_mode INT8_WEIGHT, INT4_WEIGHT, "
             "W8A8 or auto, or leave quant_algo out.",
             quant_method_name(method), quant_mode_name(mode));
    assert_false(built);
    assert_string_equal(error.text, sentence);
    return -1;
  }
  if (!built) fail_msg("%s, %s, %s: %s", family, quant_mode_name(mode), quant_method_name(method), error.text);
  float *logits = calloc((size_t)expected->n_token * (size_t)expected->vocab, sizeof *logits);
  assert_non_null(logits);
  logits_make(expected, logits);
  experts_check(&expected_modes[mode]);
  double divergence = divergence_of(expected, logits);
  free(logits);
  return divergence;
}

/* Of each token's distribution from the next one's. */
static double divergence_next(const struct expected_logits *expected) {
  struct expected_logits without = *expected;
  without.n_token--;
  return divergence_of(&without, expected->logits + expected->vocab);
}

static void family_run(const char *family) {
  char path[512];
  snprintf(path, sizeof path, "%s/model/%.*s/expected.logits", FIXTURES, (int)strcspn(family, "/"), family);
  struct expected_logits expected = expected_read(path, false);
  double next = divergence_next(&expected);
  printf("%s, nats (a token from the next: %.1f)\n", family, next);
  for (int mode = 1; quant_mode_name(mode); mode++) {
    double nearest = 0;
    assert_true(mode < MODES && expected_modes[mode].most > 0);
    printf("  %-11s", quant_mode_name(mode));
    for (int method = 1; quant_method_name(method); method++) {
      double divergence = mode_run(family, &expected, mode, method);
      if (divergence == -1) continue;
      printf("  %s %.2g", quant_method_name(method), divergence);
      if (method == QUANT_ROUND) nearest = divergence;
      if (!(divergence <= expected_modes[mode].most * next && divergence <= times * nearest + on_top * next))
        fail_msg("too far");
    }
    printf("\n");
  }
  expected_release(&expected);
}

static void test_table(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) family_run(families[i]);
}

/* Names that say mode and method at once make the bytes of the two. */
static void test_names(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int mode, method;
  } names[] = {{"W8A8", QUANT_W8A8, QUANT_ROUND},
               {"W8A8_SQ_PER_CHANNEL", QUANT_W8A8, QUANT_SMOOTH},
               {"FP8", QUANT_FP8, QUANT_ROUND},
               {"W8A16", QUANT_INT8_WEIGHT, QUANT_ROUND},
               {"W8A16_GPTQ", QUANT_INT8_WEIGHT, QUANT_GPTQ},
               {"W4A16", QUANT_INT4_WEIGHT, QUANT_ROUND},
               {"W4A16_AWQ", QUANT_INT4_WEIGHT, QUANT_AWQ},
               {"W4A8_AWQ", QUANT_INT4_WEIGHT, QUANT_AWQ},
               {"W4A16_GPTQ", QUANT_INT4_WEIGHT, QUANT_GPTQ}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct hash128 hash[2];
    for (int k = 0; k < 2; k++) {
      struct engine_file file;
      struct error error;
      spate_error built = {0};
      if (!engine_build("deepseek_v2", k ? NULL : quant_mode_name(names[i].mode),
                        k ? names[i].name : quant_method_name(names[i].method), &built))
        fail_msg("%s: %s", names[i].name, built.text);
      assert_true(engine_file_open(&file, engine_path, &error));
      hash[k] = file.header->section[SECTION_WEIGHT_TABLE].hash;
      engine_file_close(&file);
    }
    assert_true(hash_equal(hash[0], hash[1]));
  }
}

/* The beginning of the text that Spate brings along. */
static bool text_write(void) {
  enum { BYTES = 3000 };
  char bytes[BYTES];
  FILE *from = fopen(FIXTURES "/../../src/build/calibration_text.txt", "rb"), *to = fopen(text_path, "wb");
  bool done = from && to && fread(bytes, BYTES, 1, from) == 1 && fwrite(bytes, BYTES, 1, to) == 1;
  if (from) fclose(from);
  return to && fclose(to) == 0 && done;
}

/* The kernels that round no bf16: the first that there are. */
static int setup(void **state) {
  (void)state;
  int i = 0;
  while (kernel_sets[i]->rounds_bf16 || !kernel_sets[i]->available()) i++;
  if (!mkdtemp(folder) || setenv("SPATE_ISA", kernel_sets[i]->name, 0)) return 1;
  snprintf(engine_path, sizeof engine_path, "%s/engine.spate", folder);
  snprintf(text_path, sizeof text_path, "%s/text", folder);
  return text_write() ? 0 : 1;
}

static int teardown(void **state) {
  char tactics[64];
  (void)state;
  snprintf(tactics, sizeof tactics, "%s/tactics.txt", folder);
  unlink(tactics);
  unlink(engine_path);
  unlink(text_path);
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_names)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
