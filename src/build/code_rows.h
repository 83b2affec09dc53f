/* Rows of a weight as plain numbers, in memory of their own: what exact copies and quantizers fill and packers read.
 * One per thread. */
#ifndef SPATE_BUILD_CODE_ROWS_H
#define SPATE_BUILD_CODE_ROWS_H

#include "base/arena.h"
#include "plan/scheme.h"

struct code_rows {
  struct scheme scheme;
  int capacity, cols; /* rows, columns */
  struct arena arena; /* of the arrays; those that the scheme lacks are NULL. Meanings as in struct codes */
  void *dense;
  uint8_t *code;
  float *scale, *min;
  int8_t *sub;
  uint8_t *sub_min;
  uint16_t *super, *super_min;
};

/* Zeroed room for `capacity` rows. */
bool code_rows_init(struct code_rows *rows, const struct scheme *scheme, int capacity, int cols, struct error *error);
void code_rows_release(struct code_rows *rows);

/* Makes a row zeros: padding. */
void code_rows_clear(struct code_rows *rows, int row);

/* The first `count` rows, as packers take them. */
struct codes code_rows_view(const struct code_rows *rows, int count);

/* The values of a row of one-level integers or floats. */
void code_rows_floats(const struct code_rows *rows, int row, float *out);

static inline int code_rows_groups(const struct code_rows *rows) { return scheme_groups(&rows->scheme, rows->cols); }
static inline int code_rows_supers(const struct code_rows *rows) {
  return (rows->cols + SCHEME_SUPER - 1) / SCHEME_SUPER;
}

#endif
