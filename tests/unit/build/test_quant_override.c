/* Overrides of a quant_mode: which weights a pattern means, which pattern wins, and the sentences for what is no such
 * text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/backends.h"
#include "build/draft.h"
#include "build/quant_override.h"

#include <string.h>

static int draft_make(void **state) {
  static struct draft draft;
  struct error error;
  draft_init(&draft);
  *state = &draft;
  if (!draft_open(&draft, FIXTURES "/model/llama3", &error) ||
      !draft_settle(&draft, &(struct engine_config){0}, &backend_cpu, &error))
    fail_msg("%s", error.text);
  return 0;
}

static int draft_drop(void **state) {
  draft_release(*state);
  return 0;
}

static enum quant_mode mode_of(const struct plan *plan, const char *text, const char *name) {
  for (int i = 0; i < plan->n_weight; i++)
    if (strcmp(plan_name(plan, plan_weights(plan)[i].name), name) == 0)
      return quant_override_find(text, plan, &plan_weights(plan)[i], QUANT_FP16);
  fail_msg("no weight %s", name);
  return QUANT_FP16;
}

static void test_matches(void **state) {
  const struct plan *plan = draft_plan(*state);
  struct error error;
  static const struct {
    const char *text, *weight;
    enum quant_mode mode;
  } table[] = {
      {"", "qkv.0", QUANT_FP16},
      {"qkv.0=BF16", "qkv.0", QUANT_BF16},
      {"qkv.0=BF16", "qkv.1", QUANT_FP16},
      {"*.k_proj=bf16", "qkv.1", QUANT_BF16}, /* any of the joined */
      {"model.layers.1.mlp.up_proj.weight=INT8_WEIGHT", "gate_up.1", QUANT_INT8_WEIGHT},
      {"*=INT8_WEIGHT,*.down_proj=BF16", "qkv.0", QUANT_INT8_WEIGHT},
      {"*.down_proj=BF16,*=INT8_WEIGHT", "qkv.0", QUANT_INT8_WEIGHT},
      {"model.layers.[01].mlp.gate_proj=FP32", "gate_up.1", QUANT_FP32},
  };
  assert_true(quant_overrides_check(NULL, plan, NULL, &error));
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    if (!quant_overrides_check(table[i].text, plan, NULL, &error)) fail_msg("%s: %s", table[i].text, error.text);
    assert_int_equal(mode_of(plan, table[i].text, table[i].weight), table[i].mode);
  }
}

/* The later of two patterns that match. */
static void test_last_wins(void **state) {
  const struct plan *plan = draft_plan(*state);
  assert_int_equal(mode_of(plan, "qkv.*=BF16,*=FP32", "qkv.0"), QUANT_FP32);
  assert_int_equal(mode_of(plan, "*=FP32,qkv.*=BF16", "qkv.0"), QUANT_BF16);
}

static void test_refused(void **state) {
  const struct plan *plan = draft_plan(*state);
  static const struct {
    const char *text, *sentence;
  } table[] = {
      {"=BF16", "quant_override has \"=BF16\"; expected NAME=MODE, with commas between, such as "
                "lm_head=INT8_WEIGHT,*.down_proj=BF16."},
      {"qkv.0=BF16,,", "quant_override has \"\"; expected NAME=MODE, with commas between, such as "
                       "lm_head=INT8_WEIGHT,*.down_proj=BF16."},
      {"qkv.0=", "quant_override has \"qkv.0=\"; expected NAME=MODE, with commas between, such as "
                 "lm_head=INT8_WEIGHT,*.down_proj=BF16."},
      {"qkv.0=FP9", "quant_override: quant_mode is \"FP9\"; it must be FP32, FP16, BF16, INT8_WEIGHT, INT4_WEIGHT, "
                    "FP8, W8A8 or auto, or be left out to keep the weights as the file has them."},
      {"qkv.0=auto", "quant_override gives \"qkv.0\" auto, which chooses for all weights that no override names; make "
                     "it the quant_mode."},
      {"*.norm=BF16", "quant_override's \"*.norm\" matches no matrix of the model; the nearest is \"lm_head\"."},
      {"model.layers.1.mlp.upproj=BF16", "quant_override's \"model.layers.1.mlp.upproj\" matches no matrix of the "
                                         "model; the nearest is \"model.layers.1.mlp.up_proj\"."},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct error error;
    assert_false(quant_overrides_check(table[i].text, plan, NULL, &error));
    assert_string_equal(error.text, table[i].sentence);
  }
  char endless[400];
  struct error error;
  memset(endless, 'a', sizeof endless - 1);
  endless[sizeof endless - 1] = '\0';
  memcpy(endless + 300, "=BF16", 5);
  assert_false(quant_overrides_check(endless, plan, NULL, &error)); /* longer than any name */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_matches),
      cmocka_unit_test(test_last_wins),
      cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, draft_make, draft_drop);
}
