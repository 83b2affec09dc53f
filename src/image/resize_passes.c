/* Passes for any machine, and the choice among all. The loops over rows, columns and channels are of constant length,
 * for the compiler to make vectors of. */
#include "image/resize_passes.h"

#include <string.h>

extern const struct resize_passes resize_passes_baseline, resize_passes_avx2;

enum { HALF = 1 << (AXIS_BITS - 1), COLUMNS = 32 };

static inline uint8_t sum_round(int32_t sum) {
  int32_t value = sum >> AXIS_BITS;
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void pass_widen(const uint8_t *from, int width, uint8_t *to) {
  for (int x = 0; x < width; x++) {
    for (int c = 0; c < 3; c++) to[4 * x + c] = from[3 * x + c];
    to[4 * x + 3] = 0;
  }
  memset(to + 4 * (size_t)width, 0, 4 * PASS_SLACK);
}

static void pass_along_rows(const struct resize_axis *axis, uint8_t *const from[PASS_ROWS],
                            uint8_t *const to[PASS_ROWS]) {
  for (int x = 0; x < axis->size; x++) {
    const int32_t *weight = axis->weight + (size_t)x * (size_t)axis->stride;
    for (int r = 0; r < PASS_ROWS; r++) {
      const uint8_t *pixel = from[r] + 4 * (size_t)axis->first[x];
      int32_t sum[4] = {HALF, HALF, HALF, HALF};
      for (int i = 0; i < axis->count[x]; i++)
        for (int c = 0; c < 4; c++) sum[c] += pixel[4 * i + c] * weight[i];
      for (int c = 0; c < 3; c++) to[r][3 * x + c] = sum_round(sum[c]);
    }
  }
}

static void columns_sum(const int32_t *weight, int count, const uint8_t *from, size_t stride, size_t columns,
                        uint8_t *to) {
  int32_t sum[COLUMNS];
  for (size_t c = 0; c < columns; c++) sum[c] = HALF;
  for (int i = 0; i < count; i++)
    for (size_t c = 0; c < columns; c++) sum[c] += from[(size_t)i * stride + c] * weight[i];
  for (size_t c = 0; c < columns; c++) to[c] = sum_round(sum[c]);
}

static void pass_along_columns(const struct resize_axis *axis, int place, const uint8_t *from, size_t stride,
                               size_t bytes, uint8_t *to) {
  const int32_t *weight = axis->weight + (size_t)place * (size_t)axis->stride;
  size_t at = 0;
  for (; at + COLUMNS <= bytes; at += COLUMNS)
    columns_sum(weight, axis->count[place], from + at, stride, COLUMNS, to + at);
  columns_sum(weight, axis->count[place], from + at, stride, bytes - at, to + at);
}

const struct resize_passes resize_passes_baseline = {pass_widen, pass_along_rows, pass_along_columns};

const struct resize_passes *resize_passes_choose(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return &resize_passes_avx2;
#endif
  return &resize_passes_baseline;
}
