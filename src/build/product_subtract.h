/* y −= e · x of float matrices, for factors and corrections that follow each other: what a backend's linears, which
 * start at zero and round as they like, are not for. */
#ifndef SPATE_BUILD_PRODUCT_SUBTRACT_H
#define SPATE_BUILD_PRODUCT_SUBTRACT_H

#include <stddef.h>

enum { PRODUCT_LANES = 16 };

struct product_operands {
  float *y;       /* [rows][cols], rows y_stride apart */
  const float *e; /* [rows][depth] */
  const float *x; /* [depth][cols] */
  size_t y_stride, e_stride, x_stride;
  int rows, depth, cols; /* cols a multiple of PRODUCT_LANES */
};

/* Each number's products are subtracted one after the other, rounded one by one: the same bits whatever the machine. */
void product_subtract(const struct product_operands *operands);

#endif
