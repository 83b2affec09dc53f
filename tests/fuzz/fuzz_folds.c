/* Any bytes as the folds of a tiny plan. What is accepted has factors that can be divided by, and orders. */
#include "../unit/engine/adapter_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void factors_look(const float *factor, int count) {
  for (int i = 0; factor && i < count; i++)
    if (!(factor[i] > 0) || !isfinite(1 / factor[i])) abort();
}

/* Each place once. */
static void order_look(const int32_t *order, int count) {
  char *seen = calloc((size_t)count + 1, 1);
  if (!seen) abort();
  for (int i = 0; order && i < count; i++)
    if (seen[order[i]]++) abort();
  free(seen);
}

static void fold_look(const struct weight_fold *fold, const struct weight *weight) {
  factors_look(fold->column, weight->cols);
  order_look(fold->column_order, weight->cols);
  for (int i = 0; i < weight->n_part; i++) {
    factors_look(fold->row[i], weight->part[i].rows);
    order_look(fold->row_order, weight->part[i].rows);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct adapter_base base;
  struct error error;
  if (!base.engine.plan) adapter_base_init(&base);
  void *copy = malloc(size + 1); /* aligned, as opening has it */
  if (!copy) abort();
  memcpy(copy, data, size);
  struct slice section = slice_make(copy, size);
  if (engine_folds_check(section, base.engine.plan, &error))
    for (int i = 0; i < base.engine.plan->n_weight; i++) {
      struct weight_fold fold = engine_folds_get(section, i);
      fold_look(&fold, &plan_weights(base.engine.plan)[i]);
    }
  free(copy);
  return 0;
}
