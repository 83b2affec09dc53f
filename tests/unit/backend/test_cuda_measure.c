/* What a GPU's memory is planned for, and what is refused before any is taken. Needs no GPU. */
#include "backend/backends.h"
#include "base/error.h"
#include "plan/plan_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* A cache of one layer and one head. sentence: of the refusal; NULL: a block has so many bytes. */
struct cache_case {
  int32_t dim_k, dim_v, block_size;
  uint8_t kv;
  uint64_t bytes;
  const char *sentence;
};

static void cache_check(const struct cache_case *c) {
  struct {
    struct plan plan;
    struct kv_group group;
  } made = {.group = {.n_layer = 1, .n_head = 1, .dim_k = c->dim_k, .dim_v = c->dim_v}};
  struct limits limits = {
      .seats = 1, .tokens = 1, .outputs = 1, .length = c->block_size, .block_size = c->block_size, .kv_dtype = c->kv};
  struct footprint footprint = {0};
  struct error error = {0};
  made.plan.vocab = 16;
  made.plan.n_group = 1;
  made.plan.groups = (uint32_t)((char *)&made.group - (char *)&made);
  bool measured = backend_cuda.measure(&made.plan, &limits, &footprint, &error);
  if (c->sentence && (measured || strcmp(error.text, c->sentence) != 0)) fail_msg("got: %s", error.text);
  if (c->sentence) return;
  assert_true(measured);
  assert_int_equal(footprint.kv_block[0], c->bytes);
}

static void test_blocks(void **state) {
  (void)state;
  static const struct cache_case cases[] = {
      {128, 128, 16, KV_F16, 16 * 256 * 2, NULL},
      {128, 128, 16, KV_F32, 16 * 256 * 4, NULL},
      {128, 128, 16, KV_E4M3, 16 * (256 + 8), NULL},
      {128, 128, 1 << 21, KV_F16, 1ull << 30, NULL},
      {128, 128, 8, KV_INT8, 0,
       "A KV cache in int8 has blocks of 16 tokens or more, not of 8: give another block_size."},
      {128, 128, 1 << 22, KV_F16, 0,
       "A block of the KV cache has 4194304 tokens, 2048 MiB of each head, and a GPU's kernels take less than 2048: "
       "build the engine with kv_cache_type PAGED, or a smaller max_seq_len."},
      {1024, 1024, 1 << 24, KV_E4M3, 0,
       "A block of the KV cache has 16777216 tokens, 65536 MiB of each head, and a GPU's kernels take less than 2048: "
       "build the engine with kv_cache_type PAGED, or a smaller max_seq_len."},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) cache_check(&cases[i]);
}

/* Products of int8 are added up in 32 bits. */
static void test_rows(void **state) {
  (void)state;
  struct {
    struct plan plan;
    struct op op;
    struct weight weight;
  } made = {.weight = {.rows = 16, .use = WEIGHT_MATRIX}};
  struct error error = {0};
  made.weight.scheme = (struct scheme){.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN};
  made.plan.n_op = made.plan.n_weight = 1;
  made.plan.ops = (uint32_t)((char *)&made.op - (char *)&made);
  made.plan.weights = (uint32_t)((char *)&made.weight - (char *)&made);
  made.op = op_make(OP_LINEAR, 0);
  made.op.weight[0] = 0;
  made.weight.cols = 132104;
  assert_true((int64_t)made.weight.cols * 128 * 127 <= INT32_MAX);
  assert_true(backend_cuda.supports(&made.plan, 0, &error));
  made.weight.cols++;
  assert_true((int64_t)made.weight.cols * 128 * 127 > INT32_MAX);
  assert_false(backend_cuda.supports(&made.plan, 0, &error));
  assert_string_equal(error.text, "The cuda backend cannot run op 0 (linear, layer 0): its rows are longer than 32 "
                                  "bits hold the sum of, 132,104 columns.");
  made.weight.scheme.activation = ACTIVATION_FLOAT;
  assert_true(backend_cuda.supports(&made.plan, 0, &error));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks), cmocka_unit_test(test_rows)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
