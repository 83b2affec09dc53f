/* Rows are read as floats once and rounded by every scheme. */
#include "build/rounding_loss.h"

#include "build/quantize.h"

#include <stdlib.h>

static double squares_of(const float *x, const float *y, int cols) {
  double sum = 0;
  for (int i = 0; i < cols; i++) sum += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
  return sum;
}

/* The squared error of one row. */
static bool row_loss(const struct weight_source *source, const float *row, const struct scheme *scheme, float *rounded,
                     double *sum, struct error *error) {
  struct code_rows codes;
  int cols = source->weight->cols;
  bool done = code_rows_init(&codes, scheme, 1, cols, error) &&
              (quantize_row(row, NULL, &codes, 0, error) || error_prefix(error, "A row of %s ", source->name));
  if (done) {
    code_rows_floats(&codes, 0, rounded);
    *sum += squares_of(row, rounded, cols);
  }
  code_rows_release(&codes);
  return done;
}

static bool rows_loss(const struct weight_source *source, struct weight_reader *reader, const struct scheme *schemes,
                      int n, double *loss, struct error *error) {
  int rows = weight_rows(source->weight), cols = source->weight->cols,
      step = (rows + ROUNDING_ROWS - 1) / ROUNDING_ROWS;
  float *scratch = calloc(2 * (size_t)cols, sizeof *scratch); /* zeros, and a rounded row */
  bool done = scratch || error_set(error, ERROR_MEMORY, "Out of memory for a row of %d columns.", cols);
  double squares = 0;
  for (int i = 0; i < n; i++) loss[i] = 0;
  for (int row = 0; row < rows && done; row += step) {
    const float *values = reader->rows.dense;
    done = weight_reader_read(reader, row, 1, error);
    if (done) squares += squares_of(values, scratch, cols);
    for (int i = 0; i < n && done; i++) done = row_loss(source, values, &schemes[i], scratch + cols, &loss[i], error);
  }
  for (int i = 0; i < n; i++) loss[i] = squares > 0 ? loss[i] / squares : 0;
  free(scratch);
  return done;
}

bool rounding_loss(const struct weight_source *source, const struct scheme *schemes, int n, double *loss,
                   struct error *error) {
  struct weight as_floats = *source->weight;
  struct weight_source floats = *source;
  struct weight_reader reader;
  as_floats.scheme = (struct scheme){.kind = SCHEME_F32};
  floats.weight = &as_floats;
  bool done = weight_reader_init(&reader, &floats, 1, error) && rows_loss(&floats, &reader, schemes, n, loss, error);
  weight_reader_release(&reader);
  return done;
}
