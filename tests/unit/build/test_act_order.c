/* A checkpoint with act-order against its twin in F32: which weights keep codes, and that the channels of the
 * feed-forward have moved alike in the rows that make them and the columns that read them. */
#include "../../parity/quantized_checkpoint.h"
#include "backend/backends.h"
#include "build/act_order.h"
#include "build/draft.h"
#include "build/weight_source.h"

static const struct form form = {"GPTQ with act-order",
                                 "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32, \"desc_act\": true}",
                                 STORED_GPTQ,
                                 4,
                                 32,
                                 1,
                                 true,
                                 true,
                                 0};

static char folder[] = "/tmp/spate-order-XXXXXX";

static void draft_make(struct draft *draft, bool twin) {
  const struct engine_config config = {.quant_mode = QUANT_AS_FILE};
  struct error error;
  checkpoint_save(folder, &form, twin);
  draft_init(draft);
  if (!draft_open(draft, folder, &error) || !draft_settle(draft, &config, &backend_cpu, &error))
    fail_msg("%s", error.text);
}

static int weight_find(const struct draft *draft, const char *name) {
  const struct plan *plan = draft_plan(draft);
  for (int i = 0; i < plan->n_weight; i++)
    if (strcmp(plan_name(plan, plan_weights(plan)[i].name), name) == 0) return i;
  fail_msg("no weight %s", name);
  return -1;
}

static float *floats_of(const struct draft *draft, const char *name) {
  int index = weight_find(draft, name);
  const struct weight *weight = &plan_weights(draft_plan(draft))[index];
  struct weight_source source;
  struct error error;
  float *out = calloc((size_t)weight->rows * (size_t)weight->cols, sizeof *out);
  if (!out || !weight_source_init(&source, draft_plan(draft), index, draft->checkpoint, &error) ||
      !weight_source_floats(&source, out, &error))
    fail_msg("%s", error.text);
  return out;
}

static void scheme_expect(const struct draft *draft, const char *name, const char *scheme) {
  char text[48];
  assert_string_equal(scheme_name(&plan_weights(draft_plan(draft))[weight_find(draft, name)].scheme, text), scheme);
}

static void layer_check(const struct draft *draft, int layer) {
  static const char *const names[] = {"qkv", "out", "gate_up", "down"};
  for (int i = 0; i < 4; i++) {
    char name[32];
    snprintf(name, sizeof name, "%s.%d", names[i], layer);
    int index = weight_find(draft, name);
    scheme_expect(draft, name, i == 3 ? "int4 g32 f32 min a8" : "F16");
    assert_true(!act_order_columns(draft_plan(draft), index, draft->checkpoint, 0) == (i != 3));
    assert_true(!act_order_rows(draft_plan(draft), index, draft->checkpoint, 0) == (i != 2));
  }
}

/* down[r][i] is the twin's [r][order[i]], and channel i of gate and up is the twin's channel order[i]. */
static void channels_check(const struct draft *draft, const float *down, const float *twin_down, const float *up,
                           const float *twin_up) {
  const int *order = act_order_columns(draft_plan(draft), weight_find(draft, "down.1"), draft->checkpoint, 0);
  int moved = 0;
  for (int i = 0; i < INNER; i++) {
    moved += order[i] != i;
    for (int r = 0; r < HIDDEN; r++) assert_true(down[r * INNER + i] == twin_down[r * INNER + order[i]]);
    for (int part = 0; part < 2; part++) {
      int row = i / 16 * 32 + part * 16 + i % 16, twin_row = order[i] / 16 * 32 + part * 16 + order[i] % 16;
      assert_memory_equal(up + row * HIDDEN, twin_up + twin_row * HIDDEN, HIDDEN * sizeof *up);
    }
  }
  assert_true(moved > INNER / 2);
}

static void test_act_order(void **state) {
  struct draft twin, draft;
  (void)state;
  draft_make(&twin, true);
  float *twin_down = floats_of(&twin, "down.1"), *twin_up = floats_of(&twin, "gate_up.1");
  assert_null(act_order_columns(draft_plan(&twin), weight_find(&twin, "down.1"), twin.checkpoint, 0));
  draft_release(&twin);
  draft_make(&draft, false);
  float *down = floats_of(&draft, "down.1"), *up = floats_of(&draft, "gate_up.1");
  for (int layer = 0; layer < LAYERS; layer++) layer_check(&draft, layer);
  channels_check(&draft, down, twin_down, up, twin_up);
  draft_release(&draft);
  free(down), free(up), free(twin_down), free(twin_up);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_act_order)};
  char path[64];
  if (!mkdtemp(folder)) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, i ? "model.safetensors" : "config.json");
    unlink(path);
  }
  rmdir(folder);
  return failed;
}
