/* The passes in vectors of eight 32-bit integers: bytes times weights of 22 bits, whose sums fit. Included once by each
 * resize_passes*.c, which names the table RESIZE_PASSES. */
#include "image/resize_passes.h"

#include <string.h>

typedef int32_t lanes __attribute__((vector_size(32), may_alias));
typedef uint8_t bytes8 __attribute__((vector_size(8)));
typedef int64_t pairs __attribute__((vector_size(32)));

enum { HALF = 1 << (AXIS_BITS - 1), COLUMNS = 4 }; /* vectors of a pass along columns that are in work at once */

static inline lanes lanes_read(const uint8_t *from) {
  bytes8 bytes;
  memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(bytes, lanes);
}

/* Two weights, each for the four bytes of a pixel. */
static inline lanes weights_read(const int32_t *from) {
  int64_t two;
  memcpy(&two, from, sizeof two);
  lanes repeated = (lanes)(pairs){two, two, two, two};
  return __builtin_shufflevector(repeated, repeated, 0, 0, 0, 0, 1, 1, 1, 1);
}

static inline uint8_t sum_round(int32_t sum) {
  int32_t value = sum >> AXIS_BITS;
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void pass_widen(const uint8_t *from, int width, uint8_t *to) {
  for (int x = 0; x < width; x++) {
    to[4 * x] = from[3 * x];
    to[4 * x + 1] = from[3 * x + 1];
    to[4 * x + 2] = from[3 * x + 2];
    to[4 * x + 3] = 0;
  }
  memset(to + 4 * (size_t)width, 0, 4 * PASS_SLACK);
}

static void pass_along_rows(const struct resize_axis *axis, uint8_t *const from[PASS_ROWS],
                            uint8_t *const to[PASS_ROWS]) {
  for (int x = 0; x < axis->size; x++) {
    const int32_t *weight = axis->weight + (size_t)x * (size_t)axis->stride;
    size_t at = 4 * (size_t)axis->first[x];
    lanes sum[PASS_ROWS] = {{0}};
    for (int i = 0; i < axis->count[x]; i += 2) {
      lanes weights = weights_read(weight + i);
      for (int r = 0; r < PASS_ROWS; r++) sum[r] += lanes_read(from[r] + at + 4 * (size_t)i) * weights;
    }
    for (int r = 0; r < PASS_ROWS; r++)
      for (int c = 0; c < 3; c++) to[r][3 * x + c] = sum_round(sum[r][c] + sum[r][c + 4] + HALF);
  }
}

static inline void sums_write(lanes sum, uint8_t *to) {
  sum >>= AXIS_BITS;
  sum &= ~(sum >> 31);    /* at least 0 */
  lanes over = sum > 255; /* −1 where it is */
  bytes8 bytes = __builtin_convertvector(sum | over, bytes8);
  memcpy(to, &bytes, sizeof bytes);
}

static void pass_along_columns(const struct resize_axis *axis, int place, const uint8_t *from, size_t stride,
                               size_t bytes, uint8_t *to) {
  const int32_t *weight = axis->weight + (size_t)place * (size_t)axis->stride;
  size_t at = 0;
  for (; at + 8 * COLUMNS <= bytes; at += 8 * COLUMNS) {
    lanes sum[COLUMNS];
    for (int v = 0; v < COLUMNS; v++) sum[v] = (lanes){0} + HALF;
    for (int i = 0; i < axis->count[place]; i++)
      for (int v = 0; v < COLUMNS; v++)
        sum[v] += lanes_read(from + (size_t)i * stride + at + 8 * (size_t)v) * weight[i];
    for (int v = 0; v < COLUMNS; v++) sums_write(sum[v], to + at + 8 * (size_t)v);
  }
  for (; at < bytes; at++) {
    int32_t sum = HALF;
    for (int i = 0; i < axis->count[place]; i++) sum += from[(size_t)i * stride + at] * weight[i];
    to[at] = sum_round(sum);
  }
}

const struct resize_passes RESIZE_PASSES = {pass_widen, pass_along_rows, pass_along_columns};
