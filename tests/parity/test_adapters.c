/* Adapters by peft for the tiny checkpoints (tools/make_adapter_fixtures.py): the logits with each of them against
 * those that peft computes, at each scale; two at once; and rows with different adapters side by side, whose bytes are
 * those that each has alone. The reference, and the CPU's kernels of each instruction set that this machine has, or
 * what SPATE_BACKEND names. */
#include "adapter_rig.h"

#include "backend/cpu/cpu_kernels.h"

static char folder[] = "/tmp/spate-adapters-XXXXXX", engine_path[64];

static const char *tested_backend(void) {
  const char *tested = getenv("SPATE_BACKEND");
  return tested && *tested ? tested : "cpu";
}

/* What is tested: how, and from which file of the model's folder ("": the folder itself). */
struct way {
  const char *backend, *isa, *file, *adapter; /* adapter: the same of its folder */
};

static void rig_open(struct rig *rig, const char *model, const struct way *way, uint8_t kv) {
  char path[PATH];
  spate_error failure = {0};
  snprintf(path, sizeof path, "%s/model/%s%s", FIXTURES, model, way->file);
  if (!engine_make(path, way->backend, engine_path, &failure)) fail_msg("%s", failure.text);
  rig_start(rig, engine_path, way->backend, way->isa, kv);
}

static void case_check(const char *name, const struct way *way) {
  char model[PATH], file[PATH];
  struct rig rig;
  case_model(name, model);
  snprintf(file, sizeof file, "%s%s", name, way->adapter);
  rig_open(&rig, model, way, KV_F32);
  case_run(&rig, name, file, way->file);
  rig_close(&rig);
}

static void several_check(const struct way *way) {
  struct rig rig;
  struct mix mix = {0};
  json_t *root = json_load_file(FIXTURES "/adapter/mixed.json", 0, NULL), *pair;
  size_t i;
  rig_open(&rig, json_string_value(json_object_get(root, "model")), way, KV_F32);
  json_array_foreach(json_object_get(root, "adapters"), i, pair) {
    slot_load(&rig, (int)i, json_string_value(json_array_get(pair, 0)));
    mix.slot[mix.n] = (int)i;
    mix.scale[mix.n++] = (float)json_number_value(json_array_get(pair, 1));
  }
  expected_check(&rig, "two adapters at once", FIXTURES "/adapter/mixed.logits", &mix);
  mixed_rows_check(&rig, "llama3", "dora");
  rig_close(&rig);
  json_decref(root);
}

/* Rows whose adapters are scaled beyond all reason: the step ends well, rows beside them and rows that get their blocks
 * afterwards have the bytes that they have alone. */
static void unreasonable_check(const char *model, const char *first, const char *second) {
  static const uint8_t caches[] = {KV_F32, KV_F16, KV_BF16, KV_E4M3, KV_INT8};
  static const float scales[] = {1e6f, -1e12f, 1e30f, 3e38f, -3e38f, 1};
  const struct way way = {tested_backend(), NULL, "", ""};
  char path[PATH];
  snprintf(path, sizeof path, "%s/model/%s/expected.logits", FIXTURES, model);
  struct expected_logits tokens = expected_read(path, false);
  size_t each = (size_t)TOKENS * (size_t)tokens.vocab;
  float *all = calloc(ROWS * each, sizeof *all), *alone = calloc(each, sizeof *alone);
  for (size_t k = 0; k < sizeof caches; k++) {
    struct rig rig;
    struct mix mixes[ROWS] = {{0}}, none = {0};
    rig_open(&rig, model, &way, caches[k]);
    slot_load(&rig, 0, first);
    slot_load(&rig, 1, second);
    rows_run(&rig, &none, 1, tokens.token, 0, TOKENS, alone);
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++) {
      for (int r = 1; r < ROWS; r++) mixes[r] = mix_of(r % 2, scales[s]);
      rows_run(&rig, mixes, ROWS, tokens.token, 0, TOKENS, all);
      assert_memory_equal(all, alone, each * sizeof *all);
      for (size_t i = 0; i < ROWS * each; i++) assert_true(isfinite(all[i]));
      for (int r = 0; r < ROWS; r++) {
        const struct mix last = mixes[ROWS - 1 - r];
        mixes[ROWS - 1 - r] = none;
        rows_run(&rig, mixes, ROWS, tokens.token, 0, 5, all); /* in blocks that end as the step before left them */
        assert_memory_equal(all + (size_t)(ROWS - 1 - r) * 5 * (size_t)tokens.vocab, alone,
                            5 * (size_t)tokens.vocab * sizeof *all);
        mixes[ROWS - 1 - r] = last;
      }
    }
    rig_close(&rig);
  }
  free(all);
  free(alone);
  expected_release(&tokens);
}

static void test_unreasonable_scales(void **state) {
  (void)state;
  unreasonable_check("llama3", "all", "dora");
  if (backend_find(tested_backend())->expert_adapters)
    unreasonable_check("qwen3_moe", "experts", "parameters_qwen3_moe");
}

static void all_check(const char *backend, const char *isa) {
  static const char *const names[] = {"all",       "dora",       "rslora",          "patterns",
                                      "layers",    "embeddings", "dora_embeddings", "bias",
                                      "lora_bias", "tied",       "windows"};
  const struct way way = {backend, isa, "", ""};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) case_check(names[i], &way);
  several_check(&way);
}

/* Those of experts: modules of their own, and parameters of all experts at once. */
static void experts_check(const char *backend, const char *isa) {
  static const char *const names[] = {"experts",
                                      "experts_mixtral",
                                      "parameters_qwen3_moe",
                                      "parameters_mixtral",
                                      "parameters_granite_moe",
                                      "parameters_gpt_oss",
                                      "parameters_deepseek_v2"};
  const struct way way = {backend, isa, "", ""};
  for (size_t i = 0; backend_find(backend)->expert_adapters && i < sizeof names / sizeof *names; i++)
    case_check(names[i], &way);
}

static void test_reference(void **state) {
  (void)state;
  all_check("reference", NULL);
  experts_check("reference", NULL);
}

static void test_kernels(void **state) {
  bool cpu = strcmp(tested_backend(), "cpu") == 0;
  (void)state;
  if (!cpu) {
    all_check(tested_backend(), NULL);
    experts_check(tested_backend(), NULL);
  }
  for (int i = 0; cpu && kernel_sets[i]; i++) {
    if (!kernel_sets[i]->available()) continue;
    all_check("cpu", kernel_sets[i]->name);
    experts_check("cpu", kernel_sets[i]->name);
  }
}

/* GGUF files have other names, and the rows of llama's q and k in another order. */
static void test_gguf_bases(void **state) {
  static const char *const names[] = {"all", "dora", "patterns", "layers"};
  const struct way reference = {"reference", NULL, "/model.gguf", ""},
                   tested = {tested_backend(), NULL, "/model.gguf", ""};
  (void)state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) case_check(names[i], &reference);
  case_check("dora", &tested);
  case_check("windows", &tested);
  several_check(&tested);
}

/* Adapters in GGUF, whose rows of q and k are as in GGUF files, for bases of both kinds. */
static void test_gguf_adapters(void **state) {
  static const char *const names[] = {"all", "embeddings", "windows"};
  const struct way plain = {tested_backend(), NULL, "", "/adapter.gguf"},
                   both = {tested_backend(), NULL, "/model.gguf", "/adapter.gguf"};
  (void)state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) case_check(names[i], &plain);
  case_check("all", &both);
  case_check("windows", &both);
}

/* A slot that was emptied changes nothing; alone: logits of rows without one. */
static void empty_check(struct rig *rig, const struct expected_logits *tokens, const float *alone) {
  size_t count = (size_t)TOKENS * (size_t)tokens->vocab;
  float *got = calloc(count, sizeof *got);
  const struct mix mix = mix_of(0, 1);
  struct error error = {0};
  if (!rig->backend->adapter_load(rig->program, 0, NULL, &error)) fail_msg("%s", error.text);
  rows_run(rig, &mix, 1, tokens->token, 0, TOKENS, got);
  for (size_t i = 0; i < count; i++) assert_true(fabs((double)got[i] - (double)alone[i]) <= 1e-4);
  free(got);
}

/* A slot has an adapter of experts, none, another one, the first again: nothing is left of the one before. */
static void test_slot_again(void **state) {
  static const char *const names[] = {"experts", "parameters_qwen3_moe", "experts"};
  const struct way way = {tested_backend(), NULL, "", ""};
  const struct mix mix = mix_of(0, 1), none = {0};
  struct rig rig;
  (void)state;
  if (!backend_find(tested_backend())->expert_adapters) skip();
  struct expected_logits tokens = expected_read(FIXTURES "/model/qwen3_moe/expected.logits", false);
  float *alone = calloc((size_t)TOKENS * (size_t)tokens.vocab, sizeof *alone);
  rig_open(&rig, "qwen3_moe", &way, KV_F32);
  rows_run(&rig, &none, 1, tokens.token, 0, TOKENS, alone);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[PATH];
    snprintf(path, sizeof path, "%s/adapter/%s/1.logits", FIXTURES, names[i]);
    slot_load(&rig, 0, names[i]);
    expected_check(&rig, names[i], path, &mix);
    if (i != 1) empty_check(&rig, &tokens, alone); /* the third comes to the place of the second */
  }
  rig_close(&rig);
  free(alone);
  expected_release(&tokens);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference),     cmocka_unit_test(test_kernels),
                                     cmocka_unit_test(test_slot_again),    cmocka_unit_test(test_gguf_bases),
                                     cmocka_unit_test(test_gguf_adapters), cmocka_unit_test(test_unreasonable_scales)};
  if (!mkdtemp(folder)) return 1;
  snprintf(engine_path, sizeof engine_path, "%s/engine.spate", folder);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(engine_path);
  rmdir(folder);
  return failed;
}
