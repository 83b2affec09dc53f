/* What a calibration has left in an engine file, number by number. */
#ifndef SPATE_TESTS_CALIBRATED_ENGINE_H
#define SPATE_TESTS_CALIBRATED_ENGINE_H

#include "engine/engine_file.h"
#include "plan/backend.h"

#include <math.h>
#include <string.h>

static inline int weight_find(const struct engine_file *file, const char *name) {
  for (int i = 0; i < file->plan->n_weight; i++)
    if (strcmp(plan_name(file->plan, plan_weights(file->plan)[i].name), name) == 0) return i;
  fail_msg("There is no weight %s.", name);
  return -1;
}

/* Row `row` of the tensor of a part of an expert's, its numbers; false: the weight has no such row. */
static inline bool row_find(const struct engine_file *file, int index, int expert, int part, int row, float *out) {
  const struct weight *w = plan_weights(file->plan) + index;
  struct slice all = engine_file_weight(file, index);
  size_t bytes = all.size / (size_t)weight_experts(w);
  struct slice packed = slice_make(all.data + (size_t)expert * bytes, bytes);
  for (int i = 0; i < w->rows; i++) {
    int own, at;
    if (!weight_row_source(w, i, &own, &at) || own != part || at != row) continue;
    file->backend->unpack_row(w, packed, i, out);
    return true;
  }
  return false;
}

static inline void row_read(const struct engine_file *file, int index, int expert, int part, int row, float *out) {
  if (!row_find(file, index, expert, part, row, out)) fail_msg("Part %d has no row %d.", part, row);
}

/* Numbers of a row that are others: between two codes sums of floats may fall otherwise, and by GPTQ what comes after
 * them in the row with them. */
static inline int row_apart(const float *row, const float *expected, int cols) {
  int apart = 0;
  for (int c = 0; c < cols; c++) {
    double size = fabs((double)expected[c]) + 0.01;
    apart += !(fabs((double)row[c] - (double)expected[c]) <= 2e-3 * size);
  }
  return apart;
}

#endif
