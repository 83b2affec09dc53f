/* Latent attention that calibration has rounded against what numpy makes of it from transformers' inputs
 * (tools/make_latent_fixture.py): by GPTQ, AWQ and SmoothQuant, what projects to latents and out of them, and heads'
 * matrices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calibrated_engine.h"
#include "calibrated_fixture.h"

enum { HEADS = 4, COLS = 64 };

static int setup(void **state) {
  (void)state;
  return fixture_begin(FIXTURES "/build/latent.safetensors");
}

static int teardown(void **state) {
  (void)state;
  return fixture_end();
}

/* What is not attention's is not rounded: so the inputs are transformers'. */
static void engine_build(enum quant_mode mode, enum quant_method method, int n_thread, struct engine_file *file) {
  calibrated_build((struct build_options){.model = FIXTURES "/model/deepseek_v2",
                                          .calib_data = FIXTURES "/build/latent.txt",
                                          .config = {.quant_mode = (uint8_t)mode, .quant_method = (uint8_t)method},
                                          .overrides = "*.mlp.*=FP32,embed=FP32,*lm_head*=FP32,router.*=FP32",
                                          .n_thread = n_thread},
                   file);
}

/* The weights that a matrix of the fixture is, all rows of each of them. */
struct matrix {
  const char *fixture, *weight[2];
  int rows, cols, n; /* of all rows; how many matrices */
};

static const struct matrix matrices[] = {{"q_a", {"q_a.0"}, 28, 40, 1},
                                         {"kv_a", {"kv_a.0", "k_rope.0"}, 28, 40, 1},
                                         {"q_b", {"q_still.0", "q_rope.0"}, 80, 28, 1},
                                         {"k_b", {"k_b.0"}, 20, 12, HEADS},
                                         {"v_b", {"v_b.0"}, 10, 20, HEADS},
                                         {"o", {"out.0"}, 40, 40, 1}};

/* The row's numbers, wherever they are; the rows of heads' values follow those of keys in their tensor. */
static void matrix_row(const struct engine_file *file, const struct matrix *m, int head, int row, float *out) {
  int first = m->n > 1 && m->weight[0][0] == 'v' ? 12 : 0;
  for (int i = 0; i < 2 && m->weight[i]; i++)
    if (row_find(file, weight_find(file, m->weight[i]), head, 0, first + row, out)) return;
  fail_msg("%s has no row %d.", m->fixture, row);
}

static void matrix_check(const struct engine_file *file, const char *method, const struct matrix *m) {
  const float *expected = expected_of(method, m->fixture);
  float row[COLS];
  int apart = 0, numbers = m->n * m->rows * m->cols;
  for (int h = 0; h < m->n; h++)
    for (int r = 0; r < m->rows; r++, expected += m->cols) {
      matrix_row(file, m, h, r, row);
      apart += row_apart(row, expected, m->cols);
    }
  printf("%s, %s: %d of %d numbers apart\n", method, m->fixture, apart, numbers);
  assert_true(apart <= numbers / 50);
}

static void method_check(enum quant_mode mode, enum quant_method method, const char *name) {
  struct engine_file file;
  engine_build(mode, method, 2, &file);
  for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) matrix_check(&file, name, &matrices[i]);
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

/* The norm that a weight's op has before it or behind it. */
static const float *norm_of(const struct engine_file *file, const char *name, int which) {
  int matrix = weight_find(file, name);
  for (int i = 0; i < file->plan->n_op; i++) {
    const struct op *op = &plan_ops(file->plan)[i];
    if (op->weight[0] == matrix) return (const float *)(const void *)engine_file_weight(file, op->weight[which]).data;
  }
  fail_msg("Nothing reads %s.", name);
  return NULL;
}

static void factors_check(const float *norm, const float *plain, const float *factor, int count) {
  bool differs = false;
  for (int i = 0; i < count; i++) {
    double wanted = (double)plain[i] / (double)factor[i];
    assert_true(fabs((double)norm[i] - wanted) <= 2e-3 * fabs(wanted));
    differs = differs || fabs((double)factor[i] - 1) > 0.01;
  }
  assert_true(differs);
}

/* Norms before the hidden state's matrices, and q's latent's, are divided by the factors; what keys and values come
 * from, which heads' matrices read, keeps its own. */
static void norms_check(enum quant_mode mode, enum quant_method method, const char *name) {
  enum { HIDDEN = 40, LATENT = 28, RANK = 20 };
  float hidden[HIDDEN], latent[LATENT], keys[RANK];
  struct engine_file file;
  engine_build(mode, QUANT_ROUND, 1, &file);
  memcpy(hidden, norm_of(&file, "q_a.0", 2), sizeof hidden);
  memcpy(latent, norm_of(&file, "q_a.0", 3), sizeof latent);
  memcpy(keys, norm_of(&file, "kv_a.0", 3), sizeof keys);
  engine_file_close(&file);
  engine_build(mode, method, 1, &file);
  factors_check(norm_of(&file, "q_a.0", 2), hidden, expected_of(name, "hidden"), HIDDEN);
  factors_check(norm_of(&file, "q_a.0", 3), latent, expected_of(name, "latent"), LATENT);
  assert_memory_equal(norm_of(&file, "kv_a.0", 3), keys, sizeof keys);
  engine_file_close(&file);
}

static void test_norms(void **state) {
  (void)state;
  norms_check(QUANT_INT4_WEIGHT, QUANT_AWQ, "awq");
  norms_check(QUANT_W8A8, QUANT_SMOOTH, "smooth");
}

static struct hash128 hash_of(enum quant_method method, int n_thread) {
  struct engine_file file;
  engine_build(QUANT_INT4_WEIGHT, method, n_thread, &file);
  return weights_hash(&file);
}

static void test_threads(void **state) {
  (void)state;
  assert_true(hash_equal(hash_of(QUANT_AWQ, 1), hash_of(QUANT_AWQ, 2)));
  assert_true(hash_equal(hash_of(QUANT_GPTQ, 1), hash_of(QUANT_GPTQ, 2)));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_gptq), cmocka_unit_test(test_awq),
                                     cmocka_unit_test(test_smooth), cmocka_unit_test(test_norms),
                                     cmocka_unit_test(test_threads)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
