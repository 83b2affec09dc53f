/* The loop, compiled for several instruction sets: four rows at a time keep a vector each in a register. */
#include "build/product_subtract.h"

#include <string.h>

typedef float lanes __attribute__((vector_size(PRODUCT_LANES * sizeof(float))));

static inline void lanes_subtract(const struct product_operands *o, int row, int n, size_t col) {
  lanes sum[4];
  const float *x = o->x + col, *e = o->e + (size_t)row * o->e_stride;
  float *y = o->y + (size_t)row * o->y_stride + col;
  for (int r = 0; r < n; r++) memcpy(&sum[r], y + (size_t)r * o->y_stride, sizeof(lanes));
  for (int i = 0; i < o->depth; i++) {
    lanes v;
    memcpy(&v, x + (size_t)i * o->x_stride, sizeof v);
    for (int r = 0; r < n; r++) sum[r] -= e[(size_t)r * o->e_stride + (size_t)i] * v;
  }
  for (int r = 0; r < n; r++) memcpy(y + (size_t)r * o->y_stride, &sum[r], sizeof(lanes));
}

static inline void rows_subtract(const struct product_operands *o) {
  for (int c = 0; c < o->cols; c += PRODUCT_LANES) {
    int row = 0;
    for (; row + 4 <= o->rows; row += 4) lanes_subtract(o, row, 4, (size_t)c);
    for (; row < o->rows; row++) lanes_subtract(o, row, 1, (size_t)c);
  }
}
