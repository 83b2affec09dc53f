/* Any bytes as an adapter for a tiny base into which great and small factors were folded: a GGUF file, or
 * adapter_config.json and, after a NUL byte, adapter_model.safetensors. What is accepted can be put into a slot and has
 * finite numbers alone. */
#include "../unit/engine/adapter_fixture.h"
#include "base/limits.h"
#include "engine/adapter_read.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PATH_BYTES = 64 };

static char folder[] = "/tmp/spate-fuzz-XXXXXX";
static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors", "adapter.gguf"};

static void file_write(int file, struct slice bytes) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/%s", folder, files[file]);
  unlink(path);
  if (!bytes.data) return;
  FILE *stream = fopen(path, "wb");
  if (!stream || fwrite(bytes.data, 1, bytes.size, stream) != bytes.size || fclose(stream) != 0) abort();
}

static void folder_remove(void) {
  for (int i = 0; i < 3; i++) file_write(i, (struct slice){0});
  rmdir(folder);
}

static void floats_check(const float *floats, size_t count) {
  for (size_t i = 0; floats && i < count; i++)
    if (!isfinite(floats[i])) abort();
}

static void factor_check(struct factor factor, size_t count) {
  for (size_t i = 0; i < count; i++) {
    float number;
    factor_floats(factor, i, 1, &number);
    if (!isfinite(number)) abort();
  }
}

static void adapter_check_all(const struct adapter *adapter, const struct plan *plan) {
  struct error error;
  if (!adapter_check(adapter, plan, 0, 1, adapter->rank, &error)) abort();
  for (int i = 0; i < adapter->n_op; i++) {
    const struct adapter_op *op = &adapter->op[i];
    const struct weight *weight = &plan_weights(plan)[plan_ops(plan)[op->op].weight[0]];
    size_t rank = (size_t)op->rank, rows = (size_t)weight->rows, cols = (size_t)weight->cols;
    bool embeds = plan_ops(plan)[op->op].kind == OP_EMBED;
    factor_check(op->a, embeds ? rows * rank : (size_t)weight->n_part * rank * cols);
    factor_check(op->b, (embeds ? cols : rows) * rank);
    floats_check(op->gain, PLAN_PARTS);
    const float *const each[] = {op->shift, op->magnitude, op->w2, op->wd, op->d2};
    for (int k = 0; k < 5; k++) floats_check(each[k], embeds ? cols : rows);
  }
}

/* Into q and k: columns from last to first, with factors that hardly any number survives. */
static void base_fold(struct adapter_base *base) {
  enum { QK = 1, COLS = 32, ROWS_K = 8 };
  static float column[COLS], k[ROWS_K];
  static int32_t order[COLS];
  static struct buffer section;
  struct weight_fold folds[2] = {{0}, {.column = column, .column_order = order, .row = {NULL, k}}};
  struct error error;
  for (int i = 0; i < COLS; i++) column[i] = i % 2 ? 1e30f : 1e-30f, order[i] = COLS - 1 - i;
  for (int i = 0; i < ROWS_K; i++) k[i] = i % 3 ? 1e20f : 1e-20f;
  buffer_init(&section, 1 << 12);
  if (!engine_folds_write(base->engine.plan, folds, &section, &error)) abort();
  base->engine.folds = buffer_slice(&section);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct adapter_base base;
  static bool made;
  struct error error;
  char path[PATH_BYTES];
  const uint8_t *end = size ? memchr(data, 0, size) : NULL;
  bool gguf = size >= 4 && memcmp(data, "GGUF", 4) == 0;
  if (!gguf && !end) return 0;
  if (!made) {
    if (!mkdtemp(folder) || atexit(folder_remove) != 0) abort();
    adapter_base_init(&base);
    base_fold(&base);
  }
  made = true;
  snprintf(path, sizeof path, "%s%s", folder, gguf ? "/adapter.gguf" : "");
  if (gguf) {
    file_write(2, slice_make(data, size));
  } else {
    file_write(0, slice_make(data, (size_t)(end - data)));
    file_write(1, slice_make(end + 1, size - (size_t)(end - data) - 1));
  }
  struct adapter *adapter = adapter_read(path, &base.engine, LIMIT_ADAPTER_RANK, &error);
  if (adapter) adapter_check_all(adapter, base.engine.plan);
  adapter_free(adapter);
  return 0;
}
