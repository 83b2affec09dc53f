/* What tests of adapters share: a program with slots for them, steps whose rows name them, peft's logits of the
 * fixtures (tools/make_adapter_fixtures.py). */
#ifndef SPATE_TESTS_ADAPTER_RIG_H
#define SPATE_TESTS_ADAPTER_RIG_H

#include "parity_support.h"

#include "backend/backends.h"
#include "base/json.h"
#include "base/limits.h"
#include "engine/adapter_read.h"

static const double tolerance = 1e-4; /* part of the logits' range */

enum { TOKENS = 24, ROWS = 6, BLOCK = 16, BLOCKS = 2, SLOTS = 4, RANK = 16, PATH = 512 };

/* A program of an engine of one of the fixtures' models. */
struct rig {
  struct engine_file file;
  const struct backend *backend;
  struct device *device;
  struct program *program;
  struct limits limits;
};

static inline void rig_start(struct rig *rig, const char *engine, const char *backend, const char *isa, uint8_t kv) {
  struct error error = {0};
  *rig = (struct rig){.backend = backend_find(backend)};
  if (!engine_file_open(&rig->file, engine, &error)) fail_msg("%s", error.text);
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
  rig->device = rig->backend->open(&(struct device_options){.n_thread = 2, .isa = isa}, &error);
  rig->program = rig->device ? rig->backend->compile(rig->device, plan, &rig->limits, &error) : NULL;
  if (!rig->program) fail_msg("%s", error.text);
  for (int i = 0; i < plan->n_weight; i++)
    if (!rig->backend->load(rig->program, i, engine_file_weight(&rig->file, i), &error)) fail_msg("%s", error.text);
}

static inline void rig_close(struct rig *rig) {
  rig->backend->release(rig->program);
  rig->backend->close(rig->device);
  engine_file_close(&rig->file);
}

static inline void slot_load_path(struct rig *rig, int slot, const char *path) {
  struct error error = {0};
  struct adapter *adapter = adapter_read(path, &rig->file, LIMIT_ADAPTER_RANK, &error);
  if (!adapter || !rig->backend->adapter_load(rig->program, slot, adapter, &error)) fail_msg("%s", error.text);
  adapter_free(adapter);
}

static inline void slot_load(struct rig *rig, int slot, const char *name) {
  char path[2 * PATH];
  snprintf(path, sizeof path, "%s/adapter/%s", FIXTURES, name);
  slot_load_path(rig, slot, path);
}

/* What a row has of adapters. */
struct mix {
  int n;
  int slot[ROW_LORAS];
  float scale[ROW_LORAS];
};

/* The same tokens in each row of a step, from `first` on, after `first` tokens that are in the cache; logits [n_row]
 * [count][vocab]. */
static inline void rows_run(struct rig *rig, const struct mix *mix, int n_row, const int32_t *tokens, int first,
                            int count, float *logits) {
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

static inline struct mix mix_of(int slot, float scale) {
  return (struct mix){.n = 1, .slot = {slot}, .scale = {scale}};
}

/* As one prompt, and as a prompt with decode steps after it. */
static inline void expected_check(struct rig *rig, const char *what, const char *path, const struct mix *mix) {
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
static inline void mixed_rows_check(struct rig *rig, const char *base, const char *other) {
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

/* A fixture's logits at each of its scales, of the adapter in `file` of the fixtures' folder; then rows side by side.
 */
static inline void case_run(struct rig *rig, const char *name, const char *file, const char *base) {
  char path[PATH], what[2 * PATH];
  snprintf(path, sizeof path, "%s/adapter/%s/case.json", FIXTURES, name);
  json_t *root = json_load_file(path, 0, NULL), *scales = json_object_get(root, "scales"), *scale;
  const char *model = json_string_value(json_object_get(root, "model"));
  size_t i;
  slot_load(rig, 2, strcmp(model, "llama3") == 0 ? "all" : file); /* a slot that is filled anew */
  slot_load(rig, 2, file);
  slot_load(rig, 0, file);
  json_array_foreach(scales, i, scale) {
    double s = json_number_value(scale);
    struct mix mix = mix_of(2, (float)s);
    snprintf(path, sizeof path, "%s/adapter/%s/%g.logits", FIXTURES, name, s);
    snprintf(what, sizeof what, "%s%s, %s × %g", rig->backend->describe(rig->device), base, file, s);
    expected_check(rig, what, path, &mix);
  }
  mixed_rows_check(rig, model, file);
  json_decref(root);
}

/* The base of a fixture: a folder of tests/fixtures/model. */
static inline void case_model(const char *name, char model[PATH]) {
  char path[PATH];
  snprintf(path, sizeof path, "%s/adapter/%s/case.json", FIXTURES, name);
  json_t *root = json_load_file(path, 0, NULL);
  assert_non_null(root);
  snprintf(model, PATH, "%s", json_string_value(json_object_get(root, "model")));
  json_decref(root);
}

#endif
