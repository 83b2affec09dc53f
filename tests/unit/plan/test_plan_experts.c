/* Mixtures of experts in plans: rows and names of stacked weights, and what plan_check refuses of routes and of linears
 * that multiply with several matrices. */
#include "base/limits.h"
#include "plan/plan_builder.h"
#include "plan/expert_layers.h"
#include "plan_tamper.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { HIDDEN = 8, VOCAB = 20, FFN = 24, EXPERTS = 6, CHOSEN = 2 };

/* Indices of what a test changes. */
enum { OP_OF_ROUTE = 2, OP_OF_SPREAD = 3, OP_OF_GATHER = 4, OP_OF_EACH = 5, VALUE_CHOICE = 2, WEIGHT_UP = 2 };

static struct op experts_op(int in, int out, int route, int weight, int mode) {
  struct op op = op_make(OP_LINEAR, 0);
  op.in[0] = in, op.in[2] = route, op.out = out, op.weight[0] = weight;
  op.args.linear.expert_mode = (uint8_t)mode;
  return op;
}

/* embed → router → route → experts spread (gated, with biases) → gathered, and a matrix for each sixth of a value. */
static void plan_make(struct buffer *block) {
  struct plan_builder b;
  plan_builder_init(&b, PLAN_DECODER);
  b.head.vocab = VOCAB, b.head.hidden = HIDDEN, b.head.max_position = 64;
  int x = plan_add_value(&b, HIDDEN, ROWS_TOKENS), logits = plan_add_value(&b, EXPERTS, ROWS_TOKENS);
  int choice = plan_add_choice(&b, EXPERTS, CHOSEN), ff = plan_add_value(&b, CHOSEN * FFN, ROWS_TOKENS);
  int wide = plan_add_value(&b, EXPERTS * 3, ROWS_TOKENS), y = plan_add_value(&b, HIDDEN, ROWS_OUTPUTS);
  int table = plan_add_matrix(&b, "embed", (const char *[]){"embed"}, (int[]){HIDDEN}, 1, HIDDEN, false);
  int router = plan_add_matrix(&b, "router", (const char *[]){"gate"}, (int[]){EXPERTS}, 1, HIDDEN, false);
  const struct tensor_slice gate_up[] = {{.tensor = "experts.{e}.gate", .rows = FFN},
                                         {.tensor = "experts.{e}.up", .rows = FFN}};
  struct expert_spec spec = {WEIGHT_MATRIX, EXPERTS, 2, HIDDEN, true, ORDER_AS_IS};
  int up = plan_add_experts(&b, "gate_up", gate_up, &spec);
  spec.use = WEIGHT_VECTOR, spec.cols = 1;
  int bias = plan_add_experts(&b, "gate_up.bias", gate_up, &spec);
  int down = plan_add_experts(&b, "down", &(struct tensor_slice){.tensor = "down", .rows = HIDDEN},
                              &(struct expert_spec){WEIGHT_MATRIX, EXPERTS, 1, FFN, false, ORDER_TRANSPOSED});
  int heads = plan_add_experts(&b, "heads", &(struct tensor_slice){.tensor = "heads", .rows = 3},
                               &(struct expert_spec){WEIGHT_MATRIX, EXPERTS, 1, 1, false, ORDER_AS_IS});

  struct op op = op_make(OP_EMBED, -1);
  op.out = x, op.weight[0] = table;
  b.head.vocab = HIDDEN; /* as many as the columns that are sampled */
  plan_add_op(&b, &op);
  op = op_make(OP_LINEAR, 0);
  op.in[0] = x, op.out = logits, op.weight[0] = router;
  plan_add_op(&b, &op);
  op = op_make(OP_ROUTE, 0);
  op.in[0] = logits, op.out = choice;
  op.args.route = (struct route_args){.n_expert = EXPERTS, .k = CHOSEN, .n_group = 3, .top_group = 2, .scale = 1};
  plan_add_op(&b, &op);
  op = experts_op(x, ff, choice, up, EXPERTS_SPREAD);
  op.weight[1] = bias, op.args.linear.gated = 1;
  plan_add_op(&b, &op);
  op = experts_op(ff, x, choice, down, EXPERTS_GATHER);
  op.in[1] = x;
  plan_add_op(&b, &op);
  op = experts_op(logits, wide, -1, heads, EXPERTS_EACH);
  plan_add_op(&b, &op);
  op = op_make(OP_SELECT, -1);
  op.in[0] = x, op.out = y;
  plan_add_op(&b, &op);
  op = op_make(OP_SAMPLE, -1);
  op.in[0] = y;
  plan_add_op(&b, &op);

  struct error error = {0};
  buffer_init(block, 1 << 20);
  if (!plan_finish(&b, block, &error)) fail_msg("%s", error.text);
  plan_builder_release(&b);
}

/* Rows are counted through the experts; each has the padding of a matrix by itself. */
static void test_rows(void **state) {
  (void)state;
  struct buffer block;
  plan_make(&block);
  const struct weight *w = plan_weights((const void *)block.data) + WEIGHT_UP;
  int part, row;
  assert_int_equal(w->rows, 64);
  assert_int_equal(weight_rows(w), EXPERTS * 64);
  assert_true(weight_row_source(w, 5 * 64 + 33, &part, &row));
  assert_int_equal(part, 0);
  assert_int_equal(row, 17);
  assert_false(weight_row_source(w, 64 + 40, &part, &row));
  buffer_release(&block);
}

static void test_names(void **state) {
  (void)state;
  char name[EXPERT_NAME_BYTES], longest[EXPERT_NAME_BYTES];
  assert_true(expert_tensor_apart("a.{e}.b"));
  assert_false(expert_tensor_apart("a.e.b"));
  assert_string_equal(expert_tensor_name("a.{e}.b", 17, name), "a.17.b");
  memset(longest, 'x', sizeof longest);
  longest[sizeof longest - 1] = '\0';
  memcpy(longest, "{e}", 3);
  assert_int_equal(strlen(expert_tensor_name(longest, 1000, name)), EXPERT_NAME_BYTES - 1);
}

typedef void change(struct plan *plan, struct op *ops, struct value *values, struct weight *weights);

#define CHANGE(name, what)                                                                                             \
  static void name(struct plan *plan, struct op *ops, struct value *values, struct weight *weights) {                  \
    (void)plan, (void)ops, (void)values, (void)weights;                                                                \
    what;                                                                                                              \
  }
CHANGE(more_experts, ops[OP_OF_ROUTE].args.route.n_expert = EXPERTS + 1)
CHANGE(more_chosen, ops[OP_OF_ROUTE].args.route.k = CHOSEN + 1)
CHANGE(no_choice_value, values[VALUE_CHOICE].n_expert = 0)
CHANGE(other_choice_value, values[VALUE_CHOICE].n_expert = EXPERTS - 1)
CHANGE(odd_choice, values[VALUE_CHOICE].cols = 3)
CHANGE(wide_choice, values[VALUE_CHOICE].cols = 2 * (EXPERTS + 1))
CHANGE(odd_score, ops[OP_OF_ROUTE].args.route.score = ROUTE_SCORES)
CHANGE(near_groups, (ops[OP_OF_ROUTE].args.route.score = ROUTE_NEAR, ops[OP_OF_ROUTE].args.route.n_group = EXPERTS,
                     ops[OP_OF_ROUTE].args.route.top_group = EXPERTS))
CHANGE(near_nothing, (ops[OP_OF_ROUTE].args.route.score = ROUTE_NEAR, ops[OP_OF_ROUTE].args.route.near = NAN))
CHANGE(odd_groups, ops[OP_OF_ROUTE].args.route.n_group = 4)
CHANGE(few_groups, (ops[OP_OF_ROUTE].args.route.n_group = EXPERTS, ops[OP_OF_ROUTE].args.route.top_group = 1))
CHANGE(lone_pairs, (ops[OP_OF_ROUTE].args.route.n_group = EXPERTS, ops[OP_OF_ROUTE].args.route.top_group = 2,
                    ops[OP_OF_ROUTE].args.route.group_pair = 1))
CHANGE(matrix_bias, ops[OP_OF_ROUTE].weight[0] = WEIGHT_UP)
CHANGE(written_choice, ops[OP_OF_EACH].out = VALUE_CHOICE)
CHANGE(fewer_matrices, weights[WEIGHT_UP].n_expert = EXPERTS - 1)
CHANGE(one_matrix, weights[WEIGHT_UP].n_expert = 0)
CHANGE(endless_matrices, weights[WEIGHT_UP].n_expert = LIMIT_MODEL_EXPERTS + 1)
CHANGE(no_mode, ops[OP_OF_SPREAD].args.linear.expert_mode = EXPERTS_NONE)
CHANGE(no_mode_of_one, (values[VALUE_CHOICE].cols = 2, values[3].cols = FFN, ops[OP_OF_ROUTE].args.route.k = 1,
                        ops[OP_OF_SPREAD].args.linear.expert_mode = EXPERTS_NONE))
CHANGE(odd_mode, ops[OP_OF_SPREAD].args.linear.expert_mode = EXPERT_MODES)
CHANGE(no_route, ops[OP_OF_SPREAD].in[2] = -1)
CHANGE(route_of_numbers, ops[OP_OF_SPREAD].in[2] = 0)
CHANGE(route_behind, (ops[OP_OF_ROUTE].kind = OP_LINEAR, ops[OP_OF_ROUTE] = ops[1]))
CHANGE(spread_wide, values[3].cols = FFN)
CHANGE(gather_gated, ops[OP_OF_GATHER].args.linear.act = ACT_SILU)
CHANGE(gather_normed, ops[OP_OF_GATHER].args.linear.norm = NORM_RMS)
CHANGE(each_of_choice, ops[OP_OF_EACH].in[2] = VALUE_CHOICE)
CHANGE(each_adapted, ops[OP_OF_EACH].args.linear.lora_site = 1)
CHANGE(of_images, (plan->role = PLAN_VISION, plan->vocab = 0))
#undef CHANGE

static void test_refusals(void **state) {
  (void)state;
#define CHOICE " has experts without a choice among them."
#define ROUTE  "Op 2 of the plan (route, layer 0) "
#define SPREAD "Op 3 of the plan (linear, layer 0)"
  static const struct {
    change *apply;
    const char *sentence;
  } table[] = {
      {more_experts, ROUTE "does not fit its input or output."},
      {more_chosen, ROUTE "does not fit its input or output."},
      {no_choice_value, ROUTE "lacks logits, or an output that is a choice."},
      {other_choice_value, ROUTE "does not fit its input or output."},
      {odd_choice, "Value 2 of the plan has 3 columns, for a choice among 6 experts."},
      {wide_choice, "Value 2 of the plan has 14 columns, for a choice among 6 experts."},
      {odd_score, ROUTE "has an unknown score or scale."},
      {near_groups, ROUTE "weighs by what is near with a bias, with groups, or not within 0 to 1."},
      {near_nothing, ROUTE "weighs by what is near with a bias, with groups, or not within 0 to 1."},
      {odd_groups, ROUTE "has groups that do not fit its experts."},
      {few_groups, ROUTE "has groups that do not fit its experts."},
      {lone_pairs, ROUTE "has groups that do not fit its experts."},
      {matrix_bias, ROUTE "has a bias of the wrong length."},
      {written_choice, "Op 5 of the plan (linear, layer 0) writes numbers where a choice of experts belongs."},
      {fewer_matrices, SPREAD CHOICE},
      {one_matrix, SPREAD CHOICE},
      {endless_matrices, "Weight gate_up is of 4097 experts with 64 rows each: out of range."},
      {no_mode, SPREAD CHOICE},
      {no_mode_of_one, SPREAD CHOICE},
      {odd_mode, SPREAD CHOICE},
      {no_route, SPREAD CHOICE},
      {route_of_numbers, SPREAD CHOICE},
      {route_behind, SPREAD CHOICE},
      {spread_wide, SPREAD " does not fit its experts' shape."},
      {gather_gated, "Op 4 of the plan (linear, layer 0) adds experts up that are gated, activated or multiplied."},
      {gather_normed,
       "Op 4 of the plan (linear, layer 0) has experts with a norm or an adapter that they cannot have."},
      {each_of_choice, "Op 5 of the plan (linear, layer 0)" CHOICE},
      {each_adapted, "Op 5 of the plan (linear, layer 0) has experts with a norm or an adapter that they cannot have."},
      {of_images, "Value 2 of the plan has 4 columns, for a choice among 6 experts."},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct buffer block;
    struct error error = {0};
    plan_make(&block);
    struct plan *p = (void *)block.data;
    table[i].apply(p, (struct op *)plan_ops(p), (struct value *)plan_values(p), (struct weight *)plan_weights(p));
    assert_false(plan_check(buffer_slice(&block), &error));
    assert_string_equal(error.text, table[i].sentence);
    buffer_release(&block);
  }
}

static void ids_bounded(const struct plan *p) {
  for (int i = 0; i < p->n_op; i++) {
    const struct op *op = plan_ops(p) + i;
    if (op->kind != OP_LINEAR || op->in[2] < 0) continue;
    assert_int_equal(plan_values(p)[op->in[2]].n_expert, plan_weights(p)[op->weight[0]].n_expert);
  }
}

/* A weight is of one of the layers that have experts, or of none, and a part of it is at most all. */
static void layers_bounded(const struct plan *p) {
  int layers = plan_expert_layers(p);
  for (int i = 0; i < p->n_weight; i++) {
    int layer = plan_expert_layer(p, i);
    assert_true(layer >= -1 && layer < layers);
    assert_true(plan_expert_share(p, i) >= 0 && plan_expert_share(p, i) <= 1);
  }
}

static void plan_look(const struct plan *p) {
  ids_bounded(p);
  layers_bounded(p);
}

/* Ids that are accepted stay below n_expert. */
static void test_tampered(void **state) {
  (void)state;
  struct buffer block;
  plan_make(&block);
  plan_tampered(buffer_slice(&block), plan_look);
  buffer_release(&block);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_names),
                                     cmocka_unit_test(test_refusals), cmocka_unit_test(test_tampered)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
