/* Adapters by peft for the tiny checkpoints (tools/make_adapter_fixtures.py): the logits with each of them against
 * those that peft computes, at each scale; two at once; and rows with different adapters side by side, whose bytes are
 * those that each has alone. The reference, and the CPU's kernels of each instruction set that this machine has. */
#include "parity_support.h"

#include "backend/backends.h"
#include "backend/cpu/cpu_kernels.h"
#include "base/json.h"
#include "base/limits.h"
#include "engine/adapter_read.h"

static const double tolerance = 1e-4; /* part of the logits' range */

enum { TOKENS = 24, ROWS = 6, BLOCK = 16, BLOCKS = 2, SLOTS = 4, RANK = 16, PATH = 512 };

static char folder[] = "/tmp/spate-adapters-XXXXXX", engine_path[64];

/* A program of an FP32 engine of one of the fixtures' models. */
struct rig {
  struct engine_file file;
  const struct backend *backend;
  struct device *device;
  struct program *program;
  struct limits limits;
};

/* What is tested: how, and from which file of the model's folder ("": the folder itself). */
struct way {
  const char *backend, *isa, *file, *adapter; /* adapter: the same of its folder */
};

static void rig_open(struct rig *rig, const char *model, const struct way *way, uint8_t kv) {
  char path[PATH];
  spate_error failure = {0};
  struct error error = {0};
  snprintf(path, sizeof path, "%s/model/%s%s", FIXTURES, model, way->file);
  if (!engine_make(path, way->backend, engine_path, &failure)) fail_msg("%s", failure.text);
  *rig = (struct rig){.backend = backend_find(way->backend)};
  if (!engine_file_open(&rig->file, engine_path, &error)) fail_msg("%s", error.text);
  const struct plan *plan = rig->file.plan;
  rig->limits = (struct limits){.seats = ROWS,
                                .tokens = ROWS * TOKENS,
                                .outputs = ROWS * TOKENS,
                                .length = BLOCKS * BLOCK,
                                .opt_batch = 1,
                                .block_size = BLOCK,
                                .kv_dtype = kv,
                                .adapters = SLOTS,
                                .adapter_rank = RANK};
  for (int g = 0; g < plan->n_group; g++) rig->limits.n_block[g] = ROWS * BLOCKS;
  rig->device = rig->backend->open(&(struct device_options){.n_thread = 2, .isa = way->isa}, &error);
  rig->program = rig->device ? rig->backend->compile(rig->device, plan, &rig->limits, &error) : NULL;
  if (!rig->program) fail_msg("%s", error.text);
  for (int i = 0; i < plan->n_weight; i++)
    if (!rig->backend->load(rig->program, i, engine_file_weight(&rig->file, i), &error)) fail_msg("%s", error.text);
}

static void rig_close(struct rig *rig) {
  rig->backend->release(rig->program);
  rig->backend->close(rig->device);
  engine_file_close(&rig->file);
}

static void slot_load(struct rig *rig, int slot, const char *name) {
  char path[PATH];
  struct error error = {0};
  snprintf(path, sizeof path, "%s/adapter/%s", FIXTURES, name);
  struct adapter *adapter = adapter_read(path, &rig->file, LIMIT_ADAPTER_RANK, &error);
  if (!adapter || !rig->backend->adapter_load(rig->program, slot, adapter, &error)) fail_msg("%s", error.text);
  adapter_free(adapter);
}

/* What a row has of adapters. */
struct mix {
  int n;
  int slot[ROW_LORAS];
  float scale[ROW_LORAS];
};

/* The same tokens in each row of a step, from `first` on, after `first` tokens that are in the cache; logits [n_row]
 * [count][vocab]. */
static void rows_run(struct rig *rig, const struct mix *mix, int n_row, const int32_t *tokens, int first, int count,
                     float *logits) {
  static const struct sampling greedy;
  uint32_t blocks[ROWS][BLOCKS];
  struct row row[ROWS] = {0};
  int32_t token[ROWS * TOKENS], out[ROWS * TOKENS];
  struct sampling sampling[ROWS * TOKENS];
  struct batch batch = {.n_row = n_row,
                        .n_token = n_row * count,
                        .n_out = n_row * count,
                        .row = row,
                        .token = token,
                        .out = out,
                        .sampling = sampling,
                        .want_logits = true};
  struct error error = {0};
  struct result result;
  for (int r = 0; r < n_row; r++) {
    row[r] = (struct row){.seat = r, .first = r * count, .count = count, .length = first, .n_lora = mix[r].n};
    for (int i = 0; i < mix[r].n; i++) row[r].lora[i].slot = mix[r].slot[i], row[r].lora[i].scale = mix[r].scale[i];
    for (int b = 0; b < BLOCKS; b++) blocks[r][b] = (uint32_t)(r * BLOCKS + b);
    for (int g = 0; g < rig->file.plan->n_group; g++) row[r].n_block[g] = BLOCKS, row[r].block[g] = blocks[r];
  }
  for (int i = 0; i < batch.n_token; i++) token[i] = tokens[first + i % count], out[i] = i, sampling[i] = greedy;
  if (!rig->backend->submit(rig->program, &batch, &error) || !rig->backend->finish(rig->program, NULL, &error) ||
      !rig->backend->collect(rig->program, &result, &error))
    fail_msg("%s", error.text);
  memcpy(logits, result.logits, (size_t)batch.n_out * (size_t)rig->file.plan->vocab * sizeof *logits);
}

static struct mix mix_of(int slot, float scale) { return (struct mix){.n = 1, .slot = {slot}, .scale = {scale}}; }

/* As one prompt, and as a prompt with decode steps after it. */
static void expected_check(struct rig *rig, const char *what, const char *path, const struct mix *mix) {
  struct expected_logits expected = expected_read(path, false);
  size_t vocab = (size_t)expected.vocab;
  float *logits = calloc((size_t)expected.n_token * vocab, sizeof *logits);
  assert_int_equal(expected.n_token, TOKENS);
  rows_run(rig, mix, 1, expected.token, 0, TOKENS, logits);
  double whole = logits_difference(&expected, logits);
  rows_run(rig, mix, 1, expected.token, 0, TOKENS - 3, logits);
  for (int i = TOKENS - 3; i < TOKENS; i++) rows_run(rig, mix, 1, expected.token, i, 1, logits + (size_t)i * vocab);
  double steps = logits_difference(&expected, logits);
  printf("%s: %.1e of the range, %.1e in steps\n", what, whole, steps);
  if (!(whole <= tolerance && steps <= tolerance)) fail_msg("%s: more than %g", what, tolerance);
  free(logits);
  expected_release(&expected);
}

/* Two rows that differ in their adapters, one with both, one at scale 0, and one without: the bytes of each alone. */
static void mixed_rows_check(struct rig *rig, const char *base, const char *other) {
  char path[PATH];
  snprintf(path, sizeof path, "%s/model/%s/expected.logits", FIXTURES, base);
  struct expected_logits tokens = expected_read(path, false);
  const struct mix mixes[ROWS] = {
      mix_of(0, 1), {0}, mix_of(1, -0.5f), {.n = 2, .slot = {1, 0}, .scale = {0.25f, 2}}, mix_of(0, 0), mix_of(0, 1)};
  static const int counts[] = {TOKENS, 1, 3};
  size_t vocab = (size_t)tokens.vocab;
  float *all = calloc(ROWS * TOKENS * vocab, sizeof *all), *alone = calloc(TOKENS * vocab, sizeof *alone);
  slot_load(rig, 1, other);
  for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
    size_t each = (size_t)counts[c] * vocab;
    rows_run(rig, mixes, ROWS, tokens.token, 0, counts[c], all);
    for (int r = 0; r < ROWS; r++) {
      const struct mix mix = r == 4 ? (struct mix){0} : mixes[r];
      rows_run(rig, &mix, 1, tokens.token, 0, counts[c], alone);
      if (memcmp(alone, all + (size_t)r * each, each * sizeof *all) != 0)
        fail_msg("row %d of %d tokens has other bytes beside rows with other adapters", r, counts[c]);
    }
    if (memcmp(all, all + each, each * sizeof *all) == 0) fail_msg("the adapter changes nothing");
    if (memcmp(all, all + 5 * each, each * sizeof *all) != 0) fail_msg("rows with the same adapter differ");
  }
  free(all);
  free(alone);
  expected_release(&tokens);
}

static void case_check(const char *name, const struct way *way) {
  char path[PATH], what[2 * PATH];
  struct rig rig;
  snprintf(path, sizeof path, "%s/adapter/%s/case.json", FIXTURES, name);
  json_t *root = json_load_file(path, 0, NULL), *scales = json_object_get(root, "scales"), *scale;
  const char *model = json_string_value(json_object_get(root, "model"));
  char file[PATH];
  size_t i;
  assert_non_null(model);
  snprintf(file, sizeof file, "%s%s", name, way->adapter);
  rig_open(&rig, model, way, KV_F32);
  slot_load(&rig, 2, strcmp(model, "llama3") == 0 ? "all" : file); /* a slot that is filled anew */
  slot_load(&rig, 2, file);
  slot_load(&rig, 0, file);
  json_array_foreach(scales, i, scale) {
    double s = json_number_value(scale);
    struct mix mix = mix_of(2, (float)s);
    snprintf(path, sizeof path, "%s/adapter/%s/%g.logits", FIXTURES, name, s);
    snprintf(what, sizeof what, "%s%s, %s × %g", rig.backend->describe(rig.device), way->file, file, s);
    expected_check(&rig, what, path, &mix);
  }
  mixed_rows_check(&rig, model, file);
  rig_close(&rig);
  json_decref(root);
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
static void test_unreasonable_scales(void **state) {
  static const uint8_t caches[] = {KV_F32, KV_F16, KV_BF16, KV_E4M3, KV_INT8};
  static const float scales[] = {1e6f, -1e12f, 1e30f, 3e38f, -3e38f, 1};
  const struct way way = {"cpu", NULL, "", ""};
  struct expected_logits tokens = expected_read(FIXTURES "/model/llama3/expected.logits", false);
  size_t each = (size_t)TOKENS * (size_t)tokens.vocab;
  float *all = calloc(ROWS * each, sizeof *all), *alone = calloc(each, sizeof *alone);
  (void)state;
  for (size_t k = 0; k < sizeof caches; k++) {
    struct rig rig;
    struct mix mixes[ROWS] = {{0}}, none = {0};
    rig_open(&rig, "llama3", &way, caches[k]);
    slot_load(&rig, 0, "all");
    slot_load(&rig, 1, "dora");
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

static void all_check(const char *backend, const char *isa) {
  static const char *const names[] = {"all",       "dora",       "rslora",          "patterns",
                                      "layers",    "embeddings", "dora_embeddings", "bias",
                                      "lora_bias", "tied",       "windows"};
  const struct way way = {backend, isa, "", ""};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) case_check(names[i], &way);
  several_check(&way);
}

static void test_reference(void **state) {
  (void)state;
  all_check("reference", NULL);
}

static void test_cpu(void **state) {
  (void)state;
  for (int i = 0; kernel_sets[i]; i++)
    if (kernel_sets[i]->available()) all_check("cpu", kernel_sets[i]->name);
}

/* GGUF files have other names, and the rows of llama's q and k in another order. */
static void test_gguf_bases(void **state) {
  static const char *const names[] = {"all", "dora", "patterns", "layers"};
  const struct way reference = {"reference", NULL, "/model.gguf", ""}, cpu = {"cpu", NULL, "/model.gguf", ""};
  (void)state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) case_check(names[i], &reference);
  case_check("dora", &cpu);
  case_check("windows", &cpu);
  several_check(&cpu);
}

/* Adapters in GGUF, whose rows of q and k are as in GGUF files, for bases of both kinds. */
static void test_gguf_adapters(void **state) {
  static const char *const names[] = {"all", "embeddings", "windows"};
  const struct way plain = {"cpu", NULL, "", "/adapter.gguf"}, both = {"cpu", NULL, "/model.gguf", "/adapter.gguf"};
  (void)state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) case_check(names[i], &plain);
  case_check("all", &both);
  case_check("windows", &both);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference), cmocka_unit_test(test_cpu),
                                     cmocka_unit_test(test_gguf_bases), cmocka_unit_test(test_gguf_adapters),
                                     cmocka_unit_test(test_unreasonable_scales)};
  if (!mkdtemp(folder)) return 1;
  snprintf(engine_path, sizeof engine_path, "%s/engine.spate", folder);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(engine_path);
  rmdir(folder);
  return failed;
}
