/* Experts that calibration has rounded against what numpy makes of them from transformers' inputs
 * (tools/make_mixture_fixture.py): by GPTQ, AWQ and SmoothQuant, with experts that many tokens choose and such as few
 * do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../model/model_variant.h"
#include "calibrated_engine.h"
#include "calibrated_fixture.h"

static const char *model = FIXTURES "/model/qwen3_moe", *router = "FP32"; /* its scheme, of which the file's is one */

static int setup(void **state) {
  (void)state;
  return fixture_begin(FIXTURES "/build/mixture.safetensors");
}

static int teardown(void **state) {
  (void)state;
  return fixture_end();
}

/* What is not an expert's is not rounded: so the inputs are transformers'. */
static void engine_build(enum quant_mode mode, enum quant_method method, int n_thread, struct engine_file *file) {
  char overrides[128];
  snprintf(overrides, sizeof overrides, "*.self_attn.*=FP32,embed=FP32,*lm_head*=FP32,router.*=%s", router);
  calibrated_build((struct build_options){.model = model,
                                          .calib_data = FIXTURES "/build/mixture.txt",
                                          .config = {.quant_mode = (uint8_t)mode, .quant_method = (uint8_t)method},
                                          .overrides = overrides,
                                          .emulate = true,
                                          .n_thread = n_thread},
                   file);
}

/* Numbers of an expert's matrix that are others. */
static int numbers_apart(const struct engine_file *file, const char *name, int expert, const float *expected) {
  float row[64];
  int index = weight_find(file, name), apart = 0;
  const struct weight *w = plan_weights(file->plan) + index;
  for (int part = 0; part < w->n_part; part++)
    for (int r = 0; r < w->part[part].rows; r++, expected += w->cols) {
      row_read(file, index, expert, part, r, row);
      apart += row_apart(row, expected, w->cols);
    }
  return apart;
}

static void method_check(enum quant_mode mode, enum quant_method method, const char *name) {
  enum { EXPERTS = 7, NUMBERS = 40 * 32 + 32 * 20 };
  struct engine_file file;
  const float *clear = expected_of(name, "clear"), *gate = expected_of(name, "gate_up"),
              *down = expected_of(name, "down");
  engine_build(mode, method, 2, &file);
  int n_clear = 0;
  for (int e = 0; e < EXPERTS; e++) {
    int apart = numbers_apart(&file, "experts_gate_up.0", e, gate + e * 40 * 32) +
                numbers_apart(&file, "experts_down.0", e, down + e * 32 * 20);
    printf("%s, expert %d: %d of %d numbers apart%s\n", name, e, apart, NUMBERS,
           clear[e] != 0 ? "" : " (its factors are as good as others)");
    if (clear[e] != 0) assert_true(apart <= NUMBERS / 50);
    n_clear += clear[e] != 0;
  }
  assert_true(n_clear >= 3);
  engine_file_close(&file);
}

static void test_gptq(void **state) {
  (void)state;
  method_check(QUANT_INT4_WEIGHT, QUANT_GPTQ, "gptq");
}

static void test_awq(void **state) {
  (void)state;
  method_check(QUANT_INT4_WEIGHT, QUANT_AWQ, "awq");
}

static void test_smooth(void **state) {
  (void)state;
  method_check(QUANT_W8A8, QUANT_SMOOTH, "smooth");
}

/* What the first layer's router reads with: the weights of the norm before it, and a row of its matrix. */
struct router_row {
  float norm[32], row[32];
};

static struct router_row router_read(enum quant_mode mode, enum quant_method method) {
  struct engine_file file;
  struct router_row out;
  engine_build(mode, method, 1, &file);
  int norm = -1, matrix = weight_find(&file, "router.0");
  for (int i = 0; i < file.plan->n_op; i++)
    if (plan_ops(file.plan)[i].weight[0] == matrix) norm = plan_ops(file.plan)[i].weight[2];
  assert_true(norm >= 0);
  memcpy(out.norm, engine_file_weight(&file, norm).data, sizeof out.norm);
  row_read(&file, matrix, 0, 0, 3, out.row);
  engine_file_close(&file);
  return out;
}

/* The norm before the experts is divided by what they are multiplied with, and so is no choice changed: the router's
 * numbers are the checkpoint's times powers of two. */
static void norm_check(enum quant_mode mode, enum quant_method method, const char *name) {
  const float *shared = expected_of(name, "shared");
  struct router_row plain = router_read(mode, QUANT_ROUND), scaled = router_read(mode, method);
  bool differs = false;
  for (int i = 0; i < 32; i++) {
    assert_true(scaled.norm[i] == plain.norm[i] / shared[i] && scaled.row[i] == plain.row[i] * shared[i]);
    differs = differs || shared[i] != 1;
  }
  assert_true(differs || strcmp(name, "awq") == 0); /* the model's inputs are too even for AWQ's */
}

static void test_router(void **state) {
  (void)state;
  norm_check(QUANT_INT4_WEIGHT, QUANT_AWQ, "awq");
  norm_check(QUANT_W8A8, QUANT_SMOOTH, "smooth");
  router = "BF16";
  norm_check(QUANT_W8A8, QUANT_SMOOTH, "smooth");
  router = "FP32";
}

/* The factor of a channel, which the norm is divided by: a power of two. */
static float factor_of(const struct router_row *plain, const struct router_row *scaled, int i) {
  int exponent;
  float factor = plain->norm[i] / scaled->norm[i];
  assert_true(frexpf(factor, &exponent) == 0.5f);
  return factor;
}

static float peak_of(const float *row) {
  float peak = 0;
  for (int i = 0; i < 32; i++) peak = fmaxf(peak, fabsf(row[i]));
  return peak;
}

/* A router of halves, or of codes, is multiplied with the factors as one of floats is: halves to the bit, codes as near
 * as their steps. */
static void rounded_check(const char *scheme, enum quant_mode mode, enum quant_method method, bool exact) {
  router = scheme;
  struct router_row plain = router_read(mode, QUANT_ROUND), scaled = router_read(mode, method);
  float step = exact ? 0 : peak_of(scaled.row) / 16, steps = exact ? 0 : peak_of(plain.row) / 16;
  bool differs = false;
  for (int i = 0; i < 32; i++) {
    float factor = factor_of(&plain, &scaled, i);
    assert_true(fabsf(scaled.row[i] - plain.row[i] * factor) <= step + steps * factor);
    differs = differs || factor != 1;
  }
  assert_true(differs);
  router = "FP32";
}

static void test_router_rounded(void **state) {
  (void)state;
  rounded_check("FP16", QUANT_W8A8, QUANT_SMOOTH, true);
  rounded_check("INT8_WEIGHT", QUANT_W8A8, QUANT_SMOOTH, false);
  rounded_check("W8A8", QUANT_W8A8, QUANT_SMOOTH, false);
  rounded_check("FP8", QUANT_W8A8, QUANT_SMOOTH, false);
}

/* Multiplies numbers of a BF16 tensor of the variant by 2^exponent. */
static void numbers_scale(struct model_variant *variant, const char *name, const int *at, int count, int exponent) {
  char from[PATH_MAX], to[PATH_MAX + 32];
  struct file file;
  struct error error;
  snprintf(from, sizeof from, "%s/model.safetensors", model);
  snprintf(to, sizeof to, "%s/model.safetensors", variant->path);
  assert_true(file_open(&file, from, &error));
  uint8_t *bytes = malloc(file.size);
  memcpy(bytes, file.data, file.size);
  struct safetensors *tensors = safetensors_read(slice_make(bytes, file.size), &error);
  const struct tensor *tensor = tensors ? tensor_find(&tensors->tensors, name) : NULL;
  assert_true(tensor && tensor->type == TENSOR_BF16);
  uint16_t *numbers = (uint16_t *)(void *)(bytes + tensor->at);
  for (int i = 0; i < count; i++) numbers[at[i]] = (uint16_t)(numbers[at[i]] + exponent * (1 << 7));
  assert_int_equal(unlink(to), 0);
  FILE *out = fopen(to, "wb");
  assert_true(out && fwrite(bytes, 1, file.size, out) == file.size && fclose(out) == 0);
  safetensors_close(tensors);
  file_close(&file);
  free(bytes);
}

/* The model with some numbers scaled. */
static void variant_begin(struct model_variant *variant, const char *tensor, const int *at, int count, int exponent) {
  json_t *change = json_object();
  variant_make(variant, "qwen3_moe", change);
  numbers_scale(variant, tensor, at, count, exponent);
  json_decref(change);
  model = variant->path;
}

static void variant_end(struct model_variant *variant) {
  model = FIXTURES "/model/qwen3_moe";
  variant_remove(variant);
}

/* A column of a router of halves that has lost bits as it is has no factor; the others keep theirs. */
static void test_router_small(void **state) {
  (void)state;
  enum { COLUMN = 5, ROW = 6 };
  struct model_variant variant;
  struct router_row plain, scaled;
  router = "FP16";
  plain = router_read(QUANT_W8A8, QUANT_ROUND), scaled = router_read(QUANT_W8A8, QUANT_SMOOTH);
  assert_true(factor_of(&plain, &scaled, COLUMN) != 1);
  variant_begin(&variant, "model.layers.0.mlp.gate.weight", (const int[]){ROW * 32 + COLUMN}, 1, -16);
  plain = router_read(QUANT_W8A8, QUANT_ROUND), scaled = router_read(QUANT_W8A8, QUANT_SMOOTH);
  assert_true(factor_of(&plain, &scaled, COLUMN) == 1);
  variant_end(&variant);
  rounded_check("FP16", QUANT_W8A8, QUANT_SMOOTH, true);
}

/* Factors that AWQ finds for all that a layer's experts read, where two channels of their inputs are many times as
 * large, by the norm before them. */
static void test_loud(void **state) {
  (void)state;
  struct model_variant variant;
  const float *channels = expected_of("loud", "channels");
  const int at[] = {(int)channels[0], (int)channels[1]};
  variant_begin(&variant, "model.layers.0.post_attention_layernorm.weight", at, 2, 4);
  method_check(QUANT_INT4_WEIGHT, QUANT_AWQ, "loud");
  norm_check(QUANT_INT4_WEIGHT, QUANT_AWQ, "loud");
  variant_end(&variant);
}

static struct hash128 hash_of(enum quant_method method, int n_thread) {
  struct engine_file file;
  engine_build(QUANT_INT4_WEIGHT, method, n_thread, &file);
  return weights_hash(&file);
}

static void test_threads(void **state) {
  (void)state;
  struct hash128 awq = hash_of(QUANT_AWQ, 1), gptq = hash_of(QUANT_GPTQ, 1);
  assert_true(hash_equal(awq, hash_of(QUANT_AWQ, 2)) && hash_equal(gptq, hash_of(QUANT_GPTQ, 2)));
  assert_false(hash_equal(awq, gptq));
}

/* The report counts the experts that few tokens chose. */
static void test_report(void **state) {
  (void)state;
  struct engine_file file;
  char wanted[64];
  snprintf(wanted, sizeof wanted, "\"calibration\":{\"experts\":21,\"few\":%d}", (int)*expected_of("", "few"));
  engine_build(QUANT_INT4_WEIGHT, QUANT_AWQ, 1, &file);
  char *manifest = strndup((const char *)file.manifest.data, file.manifest.size);
  if (!strstr(manifest, wanted)) fail_msg("The manifest has no %s: %s", wanted, manifest);
  free(manifest);
  engine_file_close(&file);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_gptq),           cmocka_unit_test(test_awq),
                                     cmocka_unit_test(test_smooth),         cmocka_unit_test(test_router),
                                     cmocka_unit_test(test_router_rounded), cmocka_unit_test(test_router_small),
                                     cmocka_unit_test(test_loud),           cmocka_unit_test(test_threads),
                                     cmocka_unit_test(test_report)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
