/* Plans with latent attention: heads' matrices fill a part of a value between plain linears, and a value is the end of
 * its key, in the attention and in its KV group. */
#include "plan/plan_builder.h"
#include "plan_tamper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HIDDEN = 24, VOCAB = 40, HEADS = 3, STILL = 5, ROPE = 4, LATENT = 12, VALUES = 7, KEY = ROPE + LATENT };
enum { OP_OF_ROPE = 2, OP_OF_HEADS = 3, OP_OF_KEY = 4, OP_OF_ATTEND = 5, OP_OF_VALUES = 6 };

static int linear_add(struct plan_builder *b, int in, int out, int weight, int column) {
  struct op op = op_make(OP_LINEAR, 0);
  op.in[0] = in, op.out = out, op.weight[0] = weight;
  op.args.linear.column = column;
  return plan_add_op(b, &op);
}

static int matrix_add(struct plan_builder *b, const char *name, int rows, int cols) {
  return plan_add_matrix(b, name, (const char *[]){name}, (int[]){rows}, 1, cols, false);
}

/* The matrices of all heads out of one tensor: transposed those of keys, behind them the values'. */
static void heads_add(struct plan_builder *b, int in, int out, int column, bool keys) {
  const struct tensor_slice slice = {.tensor = "kv_b", .first = keys ? 0 : STILL, .rows = keys ? LATENT : VALUES};
  const struct expert_spec spec = {
      .n_expert = HEADS, .n_part = 1, .cols = keys ? STILL : LATENT, .order = keys ? ORDER_TRANSPOSED : ORDER_AS_IS};
  struct op op = op_make(OP_LINEAR, 0);
  op.in[0] = in, op.out = out, op.weight[0] = plan_add_experts(b, keys ? "k_b" : "v_b", &slice, &spec);
  op.args.linear.expert_mode = EXPERTS_EACH;
  op.args.linear.column = column;
  plan_add_op(b, &op);
}

static void attend_add(struct plan_builder *b, int in, int out) {
  struct op op = op_make(OP_ATTEND, 0);
  op.in[0] = in, op.out = out;
  op.args.attend.n_head = HEADS, op.args.attend.n_kv_head = 1;
  op.args.attend.dim_k = KEY, op.args.attend.dim_v = LATENT;
  op.args.attend.value_in_key = 1;
  plan_add_op(b, &op);
}

static void plan_make(struct buffer *block) {
  struct plan_builder b;
  plan_builder_init(&b, PLAN_DECODER);
  b.head.vocab = VOCAB, b.head.hidden = HIDDEN, b.head.max_position = 64;
  plan_add_group(&b, (struct kv_group){.n_layer = 1, .n_head = 1, .dim_k = KEY, .dim_v = LATENT, .value_in_key = 1});
  int x = plan_add_value(&b, HIDDEN, ROWS_TOKENS), still = plan_add_value(&b, HEADS * STILL, ROWS_TOKENS);
  int qk = plan_add_value(&b, (HEADS + 1) * KEY, ROWS_TOKENS), mixed = plan_add_value(&b, HEADS * LATENT, ROWS_TOKENS);
  int heads = plan_add_value(&b, HEADS * VALUES, ROWS_TOKENS), y = plan_add_value(&b, HEADS * VALUES, ROWS_OUTPUTS);
  int logits = plan_add_value(&b, VOCAB, ROWS_OUTPUTS);
  struct op op = op_make(OP_EMBED, -1);
  op.out = x, op.weight[0] = matrix_add(&b, "embed", VOCAB, HIDDEN);
  plan_add_op(&b, &op);
  linear_add(&b, x, still, matrix_add(&b, "q_still", HEADS * STILL, HIDDEN), 0);
  linear_add(&b, x, qk, matrix_add(&b, "q_rope", HEADS * ROPE, HIDDEN), 0);
  heads_add(&b, still, qk, HEADS * ROPE, true);
  linear_add(&b, x, qk, matrix_add(&b, "key", KEY, HIDDEN), HEADS * KEY);
  attend_add(&b, qk, mixed);
  heads_add(&b, mixed, heads, 0, false);
  op = op_make(OP_SELECT, -1);
  op.in[0] = heads, op.out = y;
  plan_add_op(&b, &op);
  linear_add(&b, y, logits, matrix_add(&b, "head", VOCAB, HEADS * VALUES), 0);
  op = op_make(OP_SAMPLE, -1);
  op.in[0] = logits;
  plan_add_op(&b, &op);
  struct error error = {0};
  buffer_init(block, 1 << 20);
  if (!plan_finish(&b, block, &error)) fail_msg("%s", error.text);
  plan_builder_release(&b);
}

typedef void change(struct plan *plan, struct op *ops, struct kv_group *group);

#define CHANGE(name, ...)                                                                                              \
  static void name(struct plan *plan, struct op *ops, struct kv_group *group) {                                        \
    (void)plan, (void)ops, (void)group;                                                                                \
    __VA_ARGS__;                                                                                                       \
  }
CHANGE(heads_left, ops[OP_OF_HEADS].args.linear.column -= 1)
CHANGE(heads_far, ops[OP_OF_HEADS].args.linear.column = HEADS * KEY)
CHANGE(heads_before, ops[OP_OF_HEADS].args.linear.column = -HEADS)
CHANGE(heads_behind, ops[OP_OF_HEADS].args.linear.column = INT32_MAX)
CHANGE(key_missing, ops[OP_OF_KEY].out = ops[OP_OF_VALUES].out)
CHANGE(stored_apart, group->value_in_key = 0)
CHANGE(seen_apart, ops[OP_OF_ATTEND].args.attend.value_in_key = 0)
CHANGE(odd_rotation, group->dim_v = ops[OP_OF_ATTEND].args.attend.dim_v = LATENT - 1)
CHANGE(wide_value, group->dim_v = ops[OP_OF_ATTEND].args.attend.dim_v = KEY + 4)
CHANGE(odd_flag, group->value_in_key = ops[OP_OF_ATTEND].args.attend.value_in_key = 2)
CHANGE(more_heads, ops[OP_OF_ATTEND].args.attend.n_head = HEADS + 1)
#undef CHANGE

static void test_refusals(void **state) {
  (void)state;
#define FILLED " fills a part of its output, but the linears right before and after it do not fill the rest."
  static const struct {
    change *apply;
    const char *sentence;
  } table[] = {
      {heads_left, "Op 2 of the plan (linear, layer 0)" FILLED},
      {heads_far, "Op 2 of the plan (linear, layer 0)" FILLED},
      {heads_before, "Op 2 of the plan (linear, layer 0)" FILLED},
      {heads_behind, "Op 2 of the plan (linear, layer 0)" FILLED},
      {key_missing, "Op 3 of the plan (linear, layer 0)" FILLED},
      {stored_apart, "Op 5 of the plan (attend, layer 0) does not fit its KV group."},
      {seen_apart, "Op 5 of the plan (attend, layer 0) does not fit its KV group."},
      {odd_rotation, "KV group 0 of the plan has 1 layers, 1 heads of 16 and 11, window 0: out of range."},
      {wide_value, "KV group 0 of the plan has 1 layers, 1 heads of 16 and 20, window 0: out of range."},
      {odd_flag, "KV group 0 of the plan has 1 layers, 1 heads of 16 and 12, window 0: out of range."},
      {more_heads, "Op 5 of the plan (attend, layer 0) does not fit its input or output."},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct buffer block;
    struct error error = {0};
    plan_make(&block);
    struct plan *p = (void *)block.data;
    table[i].apply(p, (struct op *)plan_ops(p), (struct kv_group *)plan_groups(p));
    assert_false(plan_check(buffer_slice(&block), &error));
    assert_string_equal(error.text, table[i].sentence);
    buffer_release(&block);
  }
}

static void input_filled(const struct plan *p) {
  const struct op *op = plan_find(p, OP_ATTEND);
  if (op) assert_int_equal(attend_cols(&op->args.attend), plan_values(p)[op->in[0]].cols);
}

/* What is accepted keeps within its input. */
static void test_tampered(void **state) {
  (void)state;
  struct buffer block;
  plan_make(&block);
  plan_tampered(buffer_slice(&block), input_filled);
  buffer_release(&block);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_refusals), cmocka_unit_test(test_tampered)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
