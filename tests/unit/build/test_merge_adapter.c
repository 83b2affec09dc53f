/* Numbers of an adapter that is merged: what is not finite is refused, whatever the matrix is rounded to afterwards;
 * experts' biases have room. That the others are peft's, e2e/test_lora.py shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "backend/backends.h"
#include "build/merge_adapter.h"

static const float shift[] = {1, -2}, a[] = {3, 1}, b[] = {1, 2}, magnitude[] = {2, 2};

static void test_vector(void **state) {
  const struct adapter_op op = {.shift = shift};
  struct error error = {0};
  float fine[] = {5, 5}, great[] = {5, 5};
  (void)state;
  assert_true(merge_vector(&(struct weight_merge){.op = &op, .scale = 0.5f}, 2, fine, &error));
  assert_true(fine[0] == 5.5f && fine[1] == 4);
  assert_false(merge_vector(&(struct weight_merge){.op = &op, .scale = 3e38f}, 2, great, &error));
  assert_string_equal(error.text, "has with the adapter a number at 1 that is not finite; merge less of it.");
}

static bool row_merge(const struct adapter_op *op, float scale, float out[2], struct error *error) {
  const struct weight weight = {.rows = 2, .cols = 2};
  const struct weight_merge merge = {.op = op, .scale = scale, .embeds = true};
  out[0] = out[1] = 1;
  return merge_row(&merge, &weight, 0, out, error);
}

static void test_row(void **state) {
  const struct adapter_op op = {.rank = 1, .a = {.numbers = a}, .b = {.numbers = b}, .gain = {1}};
  struct error error = {0};
  float out[2];
  (void)state;
  assert_true(row_merge(&op, 2, out, &error));
  assert_true(out[0] == 7 && out[1] == 13);
  assert_false(row_merge(&op, 1e38f, out, &error));
  assert_string_equal(error.text, "has with the adapter a number at 1 that is not finite; merge less of it.");
}

/* Squares that rounding has made negative have a root. */
static void test_rounded_norm(void **state) {
  static const float w2[] = {1, 1}, wd[] = {1.0000001f, 1}, d2[] = {1, 1};
  const struct adapter_op op = {.rank = 1,
                                .a = {.numbers = a},
                                .b = {.numbers = b},
                                .gain = {1},
                                .magnitude = magnitude,
                                .w2 = w2,
                                .wd = wd,
                                .d2 = d2};
  struct error error = {0};
  float out[2];
  (void)state;
  assert_true(row_merge(&op, -1, out, &error));
  assert_true(isfinite(out[0]) && isfinite(out[1]));
}

/* --- what a calibration's journal knows an adapter by ------------------------------------------------------------- */

static struct hash128 hash_of(const struct adapter_op *op, float scale) {
  const struct weight weight = {.rows = 2, .cols = 2, .n_part = 1};
  struct {
    struct plan plan;
    struct op op;
    struct weight weight;
  } whole = {.op = {.kind = OP_EMBED, .weight = {0}}, .weight = weight};
  whole.plan.ops = offsetof(__typeof__(whole), op);
  whole.plan.weights = offsetof(__typeof__(whole), weight);
  struct hasher *hasher = hasher_new(0);
  merge_hash(&(struct weight_merge){.op = op, .scale = scale, .embeds = true}, &whole.plan, hasher);
  return hasher_finish(hasher);
}

/* Each number of it counts. */
static void test_identity(void **state) {
  static const float rows[] = {3, 1, 5, 7}, others[] = {3, 1, 5, 8}, cols[] = {1, 3};
  const struct adapter_op op = {
      .rank = 2, .a = {.numbers = rows}, .b = {.numbers = rows}, .gain = {1}, .shift = shift, .magnitude = magnitude};
  struct adapter_op changed[] = {op, op, op, op, op, op, op, op};
  struct hash128 own = hash_of(&op, 1);
  (void)state;
  changed[0].a.numbers = others;
  changed[1].b.numbers = others;
  changed[2].shift = cols;
  changed[3].shift = NULL;
  changed[4].magnitude = cols;
  changed[5].magnitude = NULL;
  changed[6].gain[0] = 2;
  changed[7].a.type = FACTOR_BF16;
  assert_true(hash_equal(own, hash_of(&op, 1)));
  assert_false(hash_equal(own, hash_of(&op, 2)));
  for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) assert_false(hash_equal(own, hash_of(&changed[i], 1)));
}

/* --- the base ----------------------------------------------------------------------------------------------------- */

/* A network's vectors, of which some are experts' biases, are read before the adapter is looked for. */
static void test_experts(void **state) {
  struct draft draft;
  struct error error = {0};
  (void)state;
  draft_init(&draft);
  if (!draft_open(&draft, FIXTURES "/model/gpt_oss", &error) ||
      !draft_settle(&draft, &(struct engine_config){.quant_mode = QUANT_AS_FILE}, &backend_cpu, &error))
    fail_msg("%s", error.text);
  assert_null(merge_adapter_open(FIXTURES "/model/no-such-adapter", &draft, &error));
  assert_non_null(strstr(error.text, "merge_lora: "));
  draft_release(&draft);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_vector),   cmocka_unit_test(test_row),     cmocka_unit_test(test_rounded_norm),
      cmocka_unit_test(test_identity), cmocka_unit_test(test_experts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
