/* Which ops of a plan one launch of a GPU computes as a mixture of experts, and how wide they may be. Needs no GPU. */
#include "backend/cuda/cuda_mixture.h"
#include "base/buffer.h"
#include "base/error.h"
#include "plan/plan_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* 226 KiB of a block, less what is beside the ring, in stages of 16 KiB. */
static void test_stages(void **state) {
  (void)state;
  static const struct {
    int n_token, cols, stages;
  } cases[] = {{1, 2048, 12}, {8, 2048, 10}, {16, 2048, 7}, {1, 4096, 11}, {8, 4096, 8}, {9, 4096, 3}, {16, 4096, 3},
               {16, 3776, 4}, {16, 3777, 3}, {9, 3776, 4},  {8, 8640, 4},  {8, 8641, 3}, {5, 8641, 3}, {4, 8641, 8}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (cuda_mixture_stages(cases[i].n_token, cases[i].cols) != cases[i].stages)
      fail_msg("%d tokens of %d columns: %d stages", cases[i].n_token, cases[i].cols,
               cuda_mixture_stages(cases[i].n_token, cases[i].cols));
}

/* What is beyond a ring of eight stages, in strips of runs of 512 columns. */
static void test_held(void **state) {
  (void)state;
  assert_int_equal(cuda_mixture_held(12, 2048), 1);
  assert_int_equal(cuda_mixture_held(11, 2048), 0);
  assert_int_equal(cuda_mixture_held(12, 2049), 0);
  assert_int_equal(cuda_mixture_held(12, 512), 4);
  assert_int_equal(cuda_mixture_held(7, 64), 0);
}

/* A set that holds the most tokens holds fewer, with a linear before and without. */
static void test_words(void **state) {
  (void)state;
  struct mixture_words words = mixture_words(3, 5, 2, 32, 64, 128);
  assert_int_equal(words.inputs, 4);
  assert_int_equal(words.left, 4 + 24);
  assert_int_equal(words.tokens, 4 + 24 + 3 * 2 * 8);
  assert_int_equal(words.squares, words.tokens + 3 * 16);
  assert_int_equal(words.used, words.squares + 3 * 2);
  assert_int_equal(mixture_words(3, 5, 2, 0, 64, 0).left, 4);
  for (int n = 1; n < MIXTURE_TOKENS; n++) {
    assert_true(mixture_words(n, 5, 2, 72, 64, 72).used <= mixture_words(n + 1, 5, 2, 72, 64, 72).used);
    assert_true(mixture_words(n, 5, 2, 0, 64, 72).used <= mixture_words(n, 5, 2, 72, 64, 72).used);
    assert_true(mixture_words(n, 5, 2, 72, 64, 0).used <= mixture_words(n, 5, 2, 72, 64, 72).used);
  }
}

/* A network's mixture: before, router, route, spread, gather, and a linear that is none of it. */
struct shape {
  int hidden, inner, n_expert, k;
  enum scheme_kind scheme;
  bool grouped, read; /* the route has groups; the last linear reads the spread's results */
  bool attend;        /* the last linear makes heads of it, which attention takes */
};

static int matrix_add(struct plan_builder *b, int rows, int cols) {
  return plan_add_matrix(b, "m", (const char *[]){"m"}, &rows, 1, cols, false);
}

static int experts_add(struct plan_builder *b, const struct shape *s, int n_part, int rows, int cols) {
  const struct tensor_slice parts[] = {{.tensor = "{e}.a", .rows = rows}, {.tensor = "{e}.b", .rows = rows}};
  return plan_add_experts(b, "e", parts,
                          &(struct expert_spec){WEIGHT_MATRIX, s->n_expert, n_part, cols, n_part > 1, 0});
}

static struct op linear_make(int in, int add, int out, int weight) {
  struct op op = op_make(OP_LINEAR, 0);
  op.in[0] = in, op.in[1] = add, op.out = out, op.weight[0] = weight;
  return op;
}

static const struct plan *plan_make(const struct shape *s, struct buffer *block) {
  struct plan_builder b;
  struct error error = {0};
  plan_builder_init(&b, PLAN_DECODER);
  b.head.vocab = b.head.hidden = s->hidden, b.head.max_position = 64;
  struct op embed = op_make(OP_EMBED, 0), route = op_make(OP_ROUTE, 0);
  int x = plan_add_value(&b, s->hidden, ROWS_TOKENS), heads = plan_add_value(&b, 64, ROWS_TOKENS);
  int logits = plan_add_value(&b, s->n_expert, ROWS_TOKENS), choice = plan_add_choice(&b, s->n_expert, s->k);
  int left = plan_add_value(&b, s->k * s->inner, ROWS_TOKENS), last = plan_add_value(&b, s->hidden, ROWS_TOKENS);
  int norm = plan_add_vector(&b, "n", s->hidden, 0);
  embed.out = x, embed.weight[0] = matrix_add(&b, s->hidden, s->hidden);
  plan_add_op(&b, &embed);
  embed.out = heads, embed.weight[0] = matrix_add(&b, s->hidden, 64);
  plan_add_op(&b, &embed);
  struct op before = linear_make(heads, x, x, matrix_add(&b, s->hidden, 64));
  struct op router = linear_make(x, -1, logits, matrix_add(&b, s->n_expert, s->hidden));
  struct op spread = linear_make(x, -1, left, experts_add(&b, s, 2, s->inner, s->hidden));
  struct op gather = linear_make(left, x, x, experts_add(&b, s, 1, s->hidden, s->inner));
  struct op next =
      linear_make(s->read ? left : x, -1, last, matrix_add(&b, s->hidden, s->read ? s->k * s->inner : s->hidden));
  router.weight[2] = spread.weight[2] = norm;
  router.args.linear.norm = spread.args.linear.norm = NORM_RMS;
  spread.args.linear.gated = 1, spread.args.linear.act = ACT_SILU;
  spread.args.linear.expert_mode = EXPERTS_SPREAD, gather.args.linear.expert_mode = EXPERTS_GATHER;
  spread.in[2] = gather.in[2] = route.out = choice, route.in[0] = logits;
  route.args.route = (struct route_args){.n_expert = s->n_expert, .k = s->k, .score = ROUTE_SOFTMAX, .scale = 1};
  if (s->grouped) route.args.route.n_group = 2, route.args.route.top_group = 1;
  struct op attend = op_make(OP_ATTEND, 1);
  attend.in[0] = last, attend.out = plan_add_value(&b, s->hidden / 2, ROWS_TOKENS);
  attend.args.attend = (struct attend_args){
      .n_head = 2, .n_kv_head = 1, .dim_k = s->hidden / 4, .dim_v = s->hidden / 4, .rope_style = ROPE_NONE, .scale = 1};
  const struct kv_group group = {.n_layer = 1, .n_head = 1, .dim_k = s->hidden / 4, .dim_v = s->hidden / 4};
  const struct op *ops[] = {&before, &router, &route, &spread, &gather, &next, &attend};
  if (s->attend) plan_add_group(&b, group);
  for (size_t i = 0; i < sizeof ops / sizeof *ops - !s->attend; i++) plan_add_op(&b, ops[i]);
  buffer_init(block, 1 << 20);
  if (!plan_finish(&b, block, &error)) fail_msg("%s", error.text);
  plan_builder_release(&b);
  const struct plan *plan = (const struct plan *)(const void *)block->data;
  for (int i = 0; i < plan->n_weight; i++) {
    struct weight *w = (struct weight *)(void *)(block->data + plan->weights) + i;
    if (w->use == WEIGHT_MATRIX) w->scheme = (struct scheme){.kind = s->scheme};
  }
  return plan;
}

enum { FIRST = 2 }; /* op of the mixture */

/* n: of how many ops from `first` on, with so many tokens. */
static void found(struct shape s, int first, int n_token, int n) {
  struct buffer block;
  struct cuda_mixture_parts parts;
  const struct plan *plan = plan_make(&s, &block);
  int got = cuda_mixture_find(plan, plan->n_op, n_token, plan_ops(plan) + first, &parts);
  if (got != n) fail_msg("%d wide, %d of %d, %d tokens, op %d: %d ops", s.hidden, s.k, s.n_expert, n_token, first, got);
  bool after = n > 0 && s.attend && first + n > FIRST + 5;
  if (n - after == 5) assert_ptr_equal(parts.before, plan_ops(plan) + FIRST);
  if (n > 0) assert_ptr_equal(parts.after, after ? plan_ops(plan) + FIRST + 5 : NULL);
  if (n > 0) assert_ptr_equal(parts.gather, plan_ops(plan) + FIRST + 4);
  buffer_release(&block);
}

static void test_found(void **state) {
  (void)state;
  const struct shape s = {128, 64, 8, 2, SCHEME_BF16, false, false, false};
  struct shape other = s;
  found(s, FIRST, 1, 5), found(s, FIRST, 16, 5), found(s, FIRST, 17, 0);
  found(s, FIRST + 1, 1, 4), found(s, FIRST + 2, 1, 3);
  found(s, 0, 1, 0), found(s, FIRST + 3, 1, 0), found(s, FIRST + 4, 1, 0), found(s, FIRST + 5, 1, 0);
  other.scheme = SCHEME_F16, found(other, FIRST, 1, 0), other = s;
  other.grouped = true, found(other, FIRST, 1, 0), other = s;
  other.read = true, found(other, FIRST, 1, 0), other = s;
  other.inner = 48, found(other, FIRST, 1, 0), other = s;
  other.n_expert = 32, other.k = 16, found(other, FIRST, 8, 5), found(other, FIRST, 9, 0);
  other.k = 17, found(other, FIRST, 1, 0), other = s;
  other.n_expert = 513, found(other, FIRST, 1, 0), other = s;
  other.attend = true, other.n_expert = 8, found(other, FIRST, 1, 6), found(other, FIRST + 2, 1, 4);
  other.hidden = 2048, found(other, FIRST, 1, 6), found(other, FIRST, 2, 5);
  other = s, other.hidden = 3776, found(other, FIRST, 16, 5);
  other.hidden = 4096, found(other, FIRST, 8, 5), found(other, FIRST, 9, 0), found(other, FIRST, 16, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_stages), cmocka_unit_test(test_held),
                                     cmocka_unit_test(test_words), cmocka_unit_test(test_found)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
