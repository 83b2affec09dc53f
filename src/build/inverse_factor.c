/* H = R Rᵀ with R upper triangular, found from the last column to the first, makes U = R⁻¹: H⁻¹ = R⁻ᵀ R⁻¹. So neither
 * H⁻¹ nor a second factorization is needed. */
#include "build/inverse_factor.h"

#include "build/parallel.h"
#include "build/product_subtract.h"

#include <math.h>

enum { PANEL = 64, ROW_RUN = 16 }; /* columns found together; rows that a thread takes at once */

struct factoring {
  float *h, *upper;
  size_t stride;
  int n, first, end; /* columns [first, end) of the panel */
};

/* Σ x[i] y[i] over whole runs of FACTOR_ALIGN, each lane by itself. */
static float dot(const float *x, const float *y, size_t count) {
  float lane[FACTOR_ALIGN] = {0}, sum = 0;
  for (size_t i = 0; i < count; i += FACTOR_ALIGN)
    for (int k = 0; k < FACTOR_ALIGN; k++) lane[k] += x[i + (size_t)k] * y[i + (size_t)k];
  for (int k = 0; k < FACTOR_ALIGN; k++) sum += lane[k];
  return sum;
}

/* What the columns right of the panel take from a run of rows. */
static void panel_update(void *context, int worker, int item) {
  const struct factoring *f = context;
  (void)worker;
  int end = (item + 1) * ROW_RUN < f->end ? (item + 1) * ROW_RUN : f->end;
  size_t from = (size_t)f->end, count = f->stride - from; /* panels end at multiples of FACTOR_ALIGN, or at n */
  if (f->end == f->n) return;
  for (int j = f->first; j < f->end; j++)
    for (int i = item * ROW_RUN; i < end && i <= j; i++)
      f->h[(size_t)i * f->stride + (size_t)j] -=
          dot(f->h + (size_t)i * f->stride + from, f->h + (size_t)j * f->stride + from, count);
}

/* R[i][j] for the panel's columns of one row, above the diagonal. */
static void row_solve(const struct factoring *f, int i) {
  float *row = f->h + (size_t)i * f->stride;
  for (int j = f->end - 1; j >= f->first && j > i; j--) {
    const float *pivot = f->h + (size_t)j * f->stride;
    float sum = row[j];
    for (int k = j + 1; k < f->end; k++) sum -= row[k] * pivot[k];
    row[j] = sum / pivot[j];
  }
}

static bool diagonal_solve(const struct factoring *f) {
  for (int j = f->end - 1; j >= f->first; j--) {
    float *row = f->h + (size_t)j * f->stride;
    row_solve(f, j);
    float square = row[j];
    for (int k = j + 1; k < f->end; k++) square -= row[k] * row[k];
    if (!(square > 0) || !isfinite(square)) return false;
    row[j] = sqrtf(square);
  }
  return true;
}

static void panel_solve(void *context, int worker, int item) {
  const struct factoring *f = context;
  (void)worker;
  for (int i = item * ROW_RUN; i < (item + 1) * ROW_RUN && i < f->first; i++) row_solve(f, i);
}

/* Rows [from, to) of the panel's columns [first, end) of U, where those below are known: first what all of them take
 * from these, then row by row. */
static void inverse_rows(const struct factoring *f, int first, int end, int from, int to) {
  float sum[PANEL][PANEL] = {0};
  int count = end - first;
  product_subtract(&(struct product_operands){.y = &sum[0][0],
                                              .e = f->h + (size_t)from * f->stride + to,
                                              .x = f->upper + (size_t)to * f->stride + first,
                                              .y_stride = PANEL,
                                              .e_stride = f->stride,
                                              .x_stride = f->stride,
                                              .rows = to - from,
                                              .depth = end - to,
                                              .cols = (count + FACTOR_ALIGN - 1) / FACTOR_ALIGN * FACTOR_ALIGN});
  for (int i = to - 1; i >= from; i--) {
    float *own = sum[i - from];
    const float *row = f->h + (size_t)i * f->stride;
    for (int k = i + 1; k < to; k++) {
      const float *below = f->upper + (size_t)k * f->stride + first;
      for (int c = 0; c < count; c++) own[c] -= row[k] * below[c];
    }
    if (i >= first) own[i - first] += 1;
    for (int c = 0; c < count; c++) f->upper[(size_t)i * f->stride + (size_t)(first + c)] = own[c] / row[i];
  }
}

/* The panel's columns of U, from its last rows up. */
static void inverse_columns(void *context, int worker, int item) {
  const struct factoring *f = context;
  (void)worker;
  int first = item * PANEL, end = first + PANEL < f->n ? first + PANEL : f->n;
  for (int to = end, from = first; to > 0; to = from, from -= PANEL) inverse_rows(f, first, end, from, to);
}

static int runs_of(int count, int run) { return (count + run - 1) / run; }

bool inverse_factor(float *h, int n, float *upper, int n_thread) {
  struct factoring f = {.h = h, .upper = upper, .stride = factor_stride(n), .n = n};
  for (int i = 0; i < n; i++)
    for (int j = 0; j < i; j++) h[(size_t)i * f.stride + (size_t)j] = 0; /* so that dots may start early */
  for (int panel = runs_of(n, PANEL) - 1; panel >= 0; panel--) {
    f.first = panel * PANEL;
    f.end = f.first + PANEL < n ? f.first + PANEL : n;
    parallel_run(n_thread, runs_of(f.end, ROW_RUN), panel_update, &f);
    if (!diagonal_solve(&f)) return false;
    parallel_run(n_thread, runs_of(f.first, ROW_RUN), panel_solve, &f);
  }
  parallel_run(n_thread, runs_of(n, PANEL), inverse_columns, &f);
  return true;
}
