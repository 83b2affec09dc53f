/* The table of backends; null's answers; the reference on numbers worked out by hand. */
#include "backend/backends.h"
#include "plan/plan_builder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { VOCAB = 2, WEIGHTS = 3, TOKENS = 4 };

static const struct limits limits = {
    .seats = TOKENS, .tokens = TOKENS, .outputs = TOKENS, .length = 8, .opt_batch = 1, .block_size = 2, .n_block = {4}};

/* embed → one op → select → sample. The op's input is its in[0] already; floats of the weights in order. */
static void plan_make(struct plan_builder *b, struct op op, int cols, const struct kv_group *group,
                      struct buffer *block) {
  struct error error = {0};
  struct op embed = op_make(OP_EMBED, 0), select = op_make(OP_SELECT, 0), sample = op_make(OP_SAMPLE, 0);
  b->head.vocab = b->head.hidden = VOCAB;
  b->head.max_position = 8;
  embed.weight[0] = 0;
  embed.out = op.in[0] = select.in[0] = plan_add_value(b, cols, ROWS_TOKENS);
  if (op.kind == OP_LINEAR || op.kind == OP_ATTEND) op.out = select.in[0] = plan_add_value(b, VOCAB, ROWS_TOKENS);
  select.out = sample.in[0] = plan_add_value(b, VOCAB, ROWS_OUTPUTS);
  if (group) plan_add_group(b, *group);
  plan_add_op(b, &embed);
  plan_add_op(b, &op);
  plan_add_op(b, &select);
  plan_add_op(b, &sample);
  buffer_init(block, 1 << 16);
  if (!plan_finish(b, block, &error)) fail_msg("%s", error.text);
  plan_builder_release(b);
}

static int table_add(struct plan_builder *b, int rows, int cols) {
  return plan_add_matrix(b, "table", (const char *[]){"table"}, &rows, 1, cols, false);
}

/* Runs tokens 0, 1, 0, 1, … of one sequence on the reference and returns the logits of each. */
static void reference_run(const struct plan *plan, const float *const *weight, int n, float *logits) {
  const struct backend *backend = &backend_reference;
  struct error error = {0};
  struct device *device = backend->open(&(struct device_options){0}, &error);
  struct program *program = backend->compile(device, plan, &limits, &error);
  void *packed[WEIGHTS] = {0};
  for (int i = 0; i < plan->n_weight; i++) {
    const struct weight *w = plan_weights(plan) + i;
    size_t bytes = backend_packed_bytes(backend, w);
    packed[i] = calloc(1, bytes);
    struct codes codes = {.rows = w->rows, .cols = w->cols, .dense = weight[i]};
    if (w->use == WEIGHT_VECTOR)
      memcpy(packed[i], weight[i], bytes);
    else
      backend->pack(w, &codes, packed[i]);
    assert_true(backend->load(program, i, slice_make(packed[i], bytes), &error));
    assert_false(backend->load(program, i, slice_make(packed[i], bytes - 1), &error));
  }
  const int32_t token[TOKENS] = {0, 1, 0, 1}, out[TOKENS] = {0, 1, 2, 3};
  const uint32_t block[] = {3, 1};
  const struct sampling sampling[TOKENS] = {0};
  struct row row = {.count = n, .n_block = {2}, .block = {block}};
  struct batch batch = {.n_row = 1,
                        .n_token = n,
                        .n_out = n,
                        .row = &row,
                        .token = token,
                        .out = out,
                        .sampling = sampling,
                        .want_logits = true};
  struct result result;
  assert_true(batch_check(&batch, plan, &limits, &error));
  assert_true(backend->submit(program, &batch, &error) && backend->finish(program, NULL, &error) &&
              backend->collect(program, &result, &error));
  for (int i = 0; i < n * VOCAB; i++) logits[i] = result.logits[i];
  assert_int_equal(result.token[0], logits[1] > logits[0]);
  for (int i = 0; i < plan->n_weight; i++) free(packed[i]);
  backend->release(program);
  backend->close(device);
}

static void test_linear(void **state) {
  (void)state;
  struct plan_builder b;
  struct buffer block;
  struct op op = op_make(OP_LINEAR, 0);
  plan_builder_init(&b, PLAN_DECODER);
  table_add(&b, VOCAB, 2);
  op.weight[0] = table_add(&b, VOCAB, 2);
  op.weight[1] = plan_add_vector(&b, "bias", 2, 0);
  op.args.linear.scale = 2;
  plan_make(&b, op, 2, NULL, &block);
  const float *const weight[] = {(float[]){0, 0, 3, 4}, (float[]){1, 2, 3, -1}, (float[]){0.5f, -0.5f}};
  float logits[2 * VOCAB];
  reference_run((const void *)block.data, weight, 2, logits);
  const float expected[] = {1, -1, 23, 9}; /* 2 × (3 + 8 + 0.5), 2 × (9 − 4 − 0.5) */
  for (int i = 0; i < 4; i++) assert_true(logits[i] == expected[i]);
  buffer_release(&block);
}

static void test_attend(void **state) {
  (void)state;
  struct plan_builder b;
  struct buffer block;
  struct op op = op_make(OP_ATTEND, 0);
  const struct kv_group group = {.n_layer = 1, .n_head = 1, .dim_k = 2, .dim_v = 2, .window = 3};
  plan_builder_init(&b, PLAN_DECODER);
  table_add(&b, VOCAB, 6);
  op.args.attend =
      (struct attend_args){.n_head = 1, .n_kv_head = 1, .dim_k = 2, .dim_v = 2, .rope_scale = 1, .scale = 1};
  plan_make(&b, op, 6, &group, &block);
  /* q, k, v of two tokens: token 1 gives token 0 three times the weight of itself */
  const float log3 = 1.0986123f;
  const float *const weight[] = {(float[]){0, 0, 1, 0, 1, 2, log3, 0, 0, 0, 3, 6}};
  float logits[4 * VOCAB];
  reference_run((const void *)block.data, weight, 4, logits);
  /* alone; 3 : 1; none of 0, 1, 0 preferred; tokens 1, 0, 1 by 1 : 3 : 1, for the window leaves out the first */
  const float expected[] = {1, 2, 1.5f, 3, 5.0f / 3, 10.0f / 3, 9.0f / 5, 18.0f / 5};
  for (int i = 0; i < 8; i++) assert_true(fabsf(logits[i] - expected[i]) < 1e-6f);
  buffer_release(&block);
}

/* --- null ------------------------------------------------------------------------------------------------------- */

static int32_t null_token(const struct plan *plan, int seat, uint64_t index) {
  struct error error = {0};
  struct device *device = backend_null.open(&(struct device_options){0}, &error);
  struct program *program = backend_null.compile(device, plan, &limits, &error);
  const int32_t token[] = {0, 0}, out[] = {1};
  const struct row row[] = {{.seat = 1, .first = 0, .count = 1}, {.seat = seat, .first = 1, .count = 1}};
  const struct sampling sampling = {.index = index};
  const struct batch batch = {
      .n_row = 2, .n_token = 2, .n_out = 1, .row = row, .token = token, .out = out, .sampling = &sampling};
  struct result result;
  assert_true(backend_null.submit(program, &batch, &error) && backend_null.finish(program, NULL, &error) &&
              backend_null.collect(program, &result, &error));
  int32_t drawn = result.token[0];
  backend_null.release(program);
  backend_null.close(device);
  return drawn;
}

static void test_null(void **state) {
  (void)state;
  struct plan plan = {.vocab = 1000};
  int distinct = 0;
  for (uint64_t i = 0; i < 20; i++) {
    int32_t token = null_token(&plan, 2, i);
    assert_int_equal(token, null_token(&plan, 2, i));
    assert_in_range(token, 0, 999);
    distinct += token != null_token(&plan, 3, i);
  }
  assert_true(distinct > 15);
}

static void test_find(void **state) {
  (void)state;
  assert_ptr_equal(backend_find("cpu"), &backend_cpu);
  assert_ptr_equal(backend_find("reference"), &backend_reference);
  assert_ptr_equal(backend_find("null"), &backend_null);
  assert_null(backend_find("cp"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_linear),
      cmocka_unit_test(test_attend),
      cmocka_unit_test(test_null),
      cmocka_unit_test(test_find),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
