/* Which layers have experts, and which of their weights stay on the host for how many of them. */
#include "plan/expert_layers.h"
#include "plan/plan_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { OPS = 11, WEIGHTS = 9 };

struct made {
  struct plan plan;
  struct op op[OPS];
  struct weight weight[WEIGHTS];
  struct value value[1];
};

static void op_put(struct made *m, int layer, enum expert_mode mode, int weight, int bias) {
  struct op *op = &m->op[m->plan.n_op++];
  *op = op_make(OP_LINEAR, layer);
  op->args.linear.expert_mode = (uint8_t)mode;
  op->weight[0] = weight, op->weight[1] = bias;
  if (mode == EXPERTS_SPREAD || mode == EXPERTS_GATHER) op->in[2] = 0;
}

/* A layer without experts, three with some, of which the second has a shared matrix beside them and matrices that each
 * token has all of. */
static void made_fill(struct made *m) {
  *m = (struct made){.value = {{.cols = 2 * 3, .n_expert = 12}}};
  m->plan.n_weight = WEIGHTS, m->plan.n_value = 1;
  m->plan.ops = (uint32_t)offsetof(struct made, op);
  m->plan.weights = (uint32_t)offsetof(struct made, weight);
  m->plan.values = (uint32_t)offsetof(struct made, value);
  for (int i = 1; i < WEIGHTS; i++) m->weight[i].n_expert = 12;
  m->weight[8].use = WEIGHT_VECTOR;
  op_put(m, 0, EXPERTS_NONE, 0, -1);
  op_put(m, 1, EXPERTS_SPREAD, 1, 8);
  op_put(m, 1, EXPERTS_GATHER, 2, -1);
  op_put(m, 2, EXPERTS_EACH, 3, -1);
  op_put(m, 2, EXPERTS_SPREAD, 4, -1);
  op_put(m, 2, EXPERTS_NONE, 0, -1);
  op_put(m, 2, EXPERTS_GATHER, 5, -1);
  op_put(m, 7, EXPERTS_SPREAD, 6, -1);
  op_put(m, 7, EXPERTS_GATHER, 7, -1);
}

static void test_layers(void **state) {
  (void)state;
  static const int layer[WEIGHTS] = {-1, 0, 0, -1, 1, 1, 2, 2, -1};
  struct made m;
  made_fill(&m);
  assert_int_equal(plan_expert_layers(&m.plan), 3);
  for (int i = 0; i < WEIGHTS; i++) {
    assert_int_equal(plan_expert_layer(&m.plan, i), layer[i]);
    for (int n = 0; n < 5; n++) assert_int_equal(plan_weight_on_host(&m.plan, i, n), layer[i] >= 0 && layer[i] < n);
    assert_true(plan_expert_share(&m.plan, i) == (layer[i] >= 0 ? 0.25 : 0));
  }
}

/* Read by anything else, it has to be where that looks for it. */
static void test_read_otherwise(void **state) {
  (void)state;
  static const enum expert_mode modes[] = {EXPERTS_EACH, EXPERTS_NONE};
  for (size_t i = 0; i < 2; i++) {
    struct made m;
    made_fill(&m);
    op_put(&m, 8, modes[i], 4, -1);
    assert_int_equal(plan_expert_layer(&m.plan, 4), -1);
    assert_int_equal(plan_expert_layer(&m.plan, 5), 1);
    assert_false(plan_weight_on_host(&m.plan, 4, 1024));
    assert_int_equal(plan_expert_layers(&m.plan), 3);
  }
}

static void test_none(void **state) {
  (void)state;
  struct made m;
  made_fill(&m);
  m.plan.n_op = 1;
  assert_int_equal(plan_expert_layers(&m.plan), 0);
  for (int i = 0; i < WEIGHTS; i++) assert_int_equal(plan_expert_layer(&m.plan, i), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_layers), cmocka_unit_test(test_read_otherwise),
                                     cmocka_unit_test(test_none)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
