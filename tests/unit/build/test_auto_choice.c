/* quant_mode auto: the average holds, overrides stay, more bits never lose more, the same bits give the same choice;
 * and which modes fit in a memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/backends.h"
#include "build/auto_choice.h"
#include "build/fitting_modes.h"
#include "build/rounding_loss.h"

#include <math.h>
#include <string.h>

static const char model[] = FIXTURES "/model/llama3";

static bool draft_try(struct draft *draft, uint8_t mode, double bits, const char *overrides, struct error *error) {
  draft_init(draft);
  draft->target_bits = bits;
  draft->overrides = overrides;
  return draft_open(draft, model, error) &&
         draft_settle(draft, &(struct engine_config){.quant_mode = mode}, &backend_cpu, error);
}

static void draft_make(struct draft *draft, uint8_t mode, double bits, const char *overrides) {
  struct error error;
  if (!draft_try(draft, mode, bits, overrides, &error)) fail_msg("%s", error.text);
}

/* The sum of what each matrix loses, unweighted. */
static double loss_of(const struct draft *draft) {
  const struct plan *plan = draft_plan(draft);
  double sum = 0;
  for (int i = 0; i < plan->n_weight; i++) {
    struct weight_source source;
    struct error error;
    double loss;
    if (plan_weights(plan)[i].use != WEIGHT_MATRIX) continue;
    if (!weight_source_init(&source, plan, i, draft->checkpoint, &error) ||
        !rounding_loss(&source, &plan_weights(plan)[i].scheme, 1, &loss, &error))
      fail_msg("%s", error.text);
    sum += loss;
  }
  return sum;
}

static void test_average(void **state) {
  (void)state;
  double before = INFINITY;
  for (double bits = 6; bits <= 16; bits += 2) {
    struct draft draft, again;
    draft_make(&draft, QUANT_AUTO, bits, NULL);
    draft_make(&again, QUANT_AUTO, bits, NULL);
    assert_true(auto_average(draft_plan(&draft), &backend_cpu) <= bits);
    assert_memory_equal(draft.block[PLAN_DECODER].data, again.block[PLAN_DECODER].data, draft.block[PLAN_DECODER].size);
    double loss = loss_of(&draft);
    assert_true(loss < before);
    before = loss;
    draft_release(&draft);
    draft_release(&again);
  }
}

static void test_overrides(void **state) {
  (void)state;
  struct draft draft;
  draft_make(&draft, QUANT_AUTO, 9, "*.down_proj=BF16");
  const struct plan *plan = draft_plan(&draft);
  int kept = 0;
  for (int i = 0; i < plan->n_weight; i++)
    if (strncmp(plan_name(plan, plan_weights(plan)[i].name), "down.", 5) == 0) {
      assert_int_equal(plan_weights(plan)[i].scheme.kind, SCHEME_BF16);
      kept++;
    }
  assert_true(kept > 0 && auto_average(plan, &backend_cpu) <= 9);
  draft_release(&draft);
}

/* What chooses between experts keeps the file's numbers, unless an override names it. */
static void test_routers(void **state) {
  (void)state;
  static const struct {
    uint8_t mode;
    double bits;
    const char *overrides;
    int kind;
  } table[] = {{QUANT_INT4_WEIGHT, 0, NULL, SCHEME_BF16},
               {QUANT_INT8_WEIGHT, 0, NULL, SCHEME_BF16},
               {QUANT_W8A8, 0, NULL, SCHEME_BF16},
               {QUANT_AUTO, 6, NULL, SCHEME_BF16},
               {QUANT_FP32, 0, NULL, SCHEME_F32},
               {QUANT_INT8_WEIGHT, 0, "*.mlp.router=INT4_WEIGHT", SCHEME_INT},
               {QUANT_AUTO, 6, "*.mlp.router=FP32", SCHEME_F32}};
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct draft draft;
    struct error error;
    int n = 0;
    draft_init(&draft);
    draft.target_bits = table[i].bits;
    draft.overrides = table[i].overrides;
    if (!draft_open(&draft, FIXTURES "/model/gpt_oss", &error) ||
        !draft_settle(&draft, &(struct engine_config){.quant_mode = table[i].mode}, &backend_cpu, &error))
      fail_msg("%s", error.text);
    const struct plan *plan = draft_plan(&draft);
    for (int w = 0; w < plan->n_weight; w++) {
      const struct weight *weight = &plan_weights(plan)[w];
      if (weight->use != WEIGHT_MATRIX || !strstr(plan_name(plan, weight->name), "router")) continue;
      assert_int_equal(weight->scheme.kind, table[i].kind);
      n++;
    }
    assert_int_equal(n, 2);
    draft_release(&draft);
  }
}

static void test_refused(void **state) {
  (void)state;
  static const struct {
    uint8_t mode;
    double bits;
    const char *overrides, *sentence;
  } table[] = {
      {QUANT_AUTO, 0, NULL,
       "target_bits is 0; with quant_mode auto it must be from 2 to 16, the bits that a number of the matrices may "
       "take "
       "on average, such as 4.5."},
      {QUANT_AUTO, 17, NULL,
       "target_bits is 17; with quant_mode auto it must be from 2 to 16, the bits that a number of the matrices may "
       "take on average, such as 4.5."},
      {QUANT_AUTO, NAN, NULL,
       "target_bits is nan; with quant_mode auto it must be from 2 to 16, the bits that a number of the matrices may "
       "take on average, such as 4.5."},
      {QUANT_BF16, 4.5, NULL,
       "target_bits is 4.5 and quant_mode is BF16; it belongs to quant_mode auto: choose that, or leave target_bits "
       "out."},
      {QUANT_AUTO, 15, "*=FP32", /* tiles of 16 rows and 32 columns, partly filled, of 32 bits */
       "target_bits is 15, and the least that the matrices of this model take on cpu is 34.67, with scales, padding "
       "and "
       "overrides; raise it."},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct draft draft;
    struct error error;
    assert_false(draft_try(&draft, table[i].mode, table[i].bits, table[i].overrides, &error));
    assert_string_equal(error.text, table[i].sentence);
    draft_release(&draft);
  }
}

static void test_fitting(void **state) {
  (void)state;
  struct draft draft;
  char text[FITTING_TEXT], last[FITTING_TEXT] = "";
  draft_make(&draft, QUANT_AS_FILE, 0, NULL);
  assert_string_equal(fitting_modes(&draft, &backend_cpu, 0, text),
                      "It would fit with no quant_mode: lower max_seq_len, max_batch_size or max_num_tokens, free "
                      "memory, or choose a smaller model.");
  assert_string_equal(fitting_modes(&draft, &backend_cpu, UINT64_MAX, text),
                      "It would fit with quant_mode FP32, FP16, BF16, W8A8, INT8_WEIGHT or INT4_WEIGHT.");
  draft.emulate = true;
  assert_string_equal(fitting_modes(&draft, &backend_cpu, UINT64_MAX, text),
                      "It would fit with quant_mode FP32, FP16, BF16, W8A8, FP8, INT8_WEIGHT or INT4_WEIGHT.");
  uint64_t bytes = 0;
  while (!strstr(fitting_modes(&draft, &backend_cpu, bytes, text), "INT4_WEIGHT.")) bytes += 4096;
  for (; !strstr(text, "FP32"); bytes += 4096) { /* what fits stays in the list, and larger ones come in before it */
    memcpy(last, text, sizeof last);
    fitting_modes(&draft, &backend_cpu, bytes, text);
    assert_true(strlen(text) >= strlen(last));
  }
  assert_non_null(strstr(last, "INT4_WEIGHT."));
  assert_null(strstr(last, "FP32"));
  draft_release(&draft);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_average), cmocka_unit_test(test_overrides), cmocka_unit_test(test_routers),
      cmocka_unit_test(test_refused), cmocka_unit_test(test_fitting),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
