/* What an adapter adds to an op of a program, as the CPU's kernels take it: packed once, when it is put into its slot,
 * in the bits that it has (plan/adapter.h). Kernels read factors from the first byte to the last.
 */
#ifndef SPATE_BACKEND_CPU_ADAPTER_FACTORS_H
#define SPATE_BACKEND_CPU_ADAPTER_FACTORS_H

#include "plan/adapter.h"
#include "plan/batch.h"

#include <math.h>

enum {
  FACTOR_ROWS = 4,     /* rows of a that lie together: a is filled up to a multiple of them with zeros */
  FACTOR_COLUMNS = 16, /* columns of each of them that do; sums are formed in as many parts */
  FACTOR_BLOCK = FACTOR_ROWS * FACTOR_COLUMNS,
  SHRINK_TOKENS = 12, /* that a shrink takes at once */
};

/* The columns of b that a tile of 16 rows of the matrix has: those of the parts that its rows are of. */
struct factor_tile {
  uint32_t b;            /* which column of factors.b is the first */
  uint16_t first, count; /* in h */
};

/* Of a linear. With x its input: h = gain · s · a x, and of a tile's rows g · (W x + Σ_k b[k] h[first + k]) + s ·
 * shift, where g is 1 or by the magnitudes (plan/adapter.h). Of an embedding: a [token][rank], b [rank][cols], no
 * tiles. */
struct adapter_factors {
  int rank;        /* rows of a: those of the parts one after the other, without those that are zeros at a part's end */
  size_t a_stride; /* numbers of a row, whole FACTOR_COLUMNS */
  float most;      /* adapter_most of the op */
  uint8_t a_type, b_type;         /* enum factor_type */
  const void *a;                  /* [rank ÷ FACTOR_ROWS][a_stride ÷ FACTOR_COLUMNS][FACTOR_ROWS][FACTOR_COLUMNS] */
  const float *gain;              /* [rank] */
  const struct factor_tile *tile; /* [tiles of the matrix] */
  const void *b;                  /* [columns of all tiles][16] */
  const float *shift, *magnitude, *w2, *wd, *d2; /* [rows, filled up to whole tiles]; NULL: there are none */
};

/* g of row i; in double, where the square of a client's scale is finite. */
static inline double adapter_gain(const struct adapter_factors *factors, size_t i, double scale) {
  double square = factors->w2[i] + scale * (2 * (double)factors->wd[i] + scale * factors->d2[i]);
  return factors->magnitude[i] / sqrt(square > ADAPTER_LEAST ? square : ADAPTER_LEAST);
}

/* An adapter at work on a row of an op's input. */
struct adapter_use {
  const struct adapter_factors *factors; /* NULL: it leaves the op alone */
  const float *h;
  float scale;
};

/* A row whose input is shrunk. */
struct shrink_row {
  const float *x; /* filled up with zeros to a_stride */
  float *h;       /* [rank] */
  float scale;
};

#endif
