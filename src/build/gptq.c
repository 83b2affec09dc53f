/* Rounding with compensation, a strip of rows at a time: the columns of a block correct each other at once and all
 * later columns together, so that the factor is read once a strip. */
#include "build/gptq.h"

#include "build/inverse_factor.h"
#include "build/product_subtract.h"
#include "build/quantize.h"

#include <math.h>
#include <stdlib.h>

enum { BLOCK = 128, TILE = 256 };   /* columns rounded before later ones are corrected; columns corrected together */
static const double damping = 0.01; /* of the mean of the diagonal, added to it; ten times as much when it fails */
enum { DAMPINGS = 4 };

/* --- the factor ----------------------------------------------------------------------------------------------------
 */

static int column_compare(const void *a, const void *b, void *diagonal) {
  int left = *(const int *)a, right = *(const int *)b;
  float x = ((const float *)diagonal)[left], y = ((const float *)diagonal)[right];
  return x > y ? -1 : x < y ? 1 : left - right;
}

static bool order_make(struct gptq *g, const float *sums) {
  float *diagonal = malloc((size_t)g->cols * sizeof *diagonal);
  if (!diagonal) return false;
  for (int i = 0; i < g->cols; i++) {
    diagonal[i] = sums[(size_t)i * (size_t)g->cols + (size_t)i];
    g->order[i] = i;
  }
  qsort_r(g->order, (size_t)g->cols, sizeof *g->order, column_compare, diagonal);
  free(diagonal);
  return true;
}

void gptq_metric(const float *sums, int cols, int group, float *metric) {
  for (int first = 0; first < cols; first += group)
    for (int i = 0; i < group && first + i < cols; i++)
      for (int k = 0; k < group && first + k < cols; k++)
        metric[((size_t)first + (size_t)i) * (size_t)group + (size_t)k] =
            sums[(size_t)(first + i) * (size_t)cols + (size_t)(first + k)];
}

/* The sums in the order of rounding, damped; a column that no input ever used stands for itself. */
static void damped_make(const struct gptq *g, const float *sums, double share, float *out) {
  size_t stride = factor_stride(g->cols);
  double mean = 0;
  for (int i = 0; i < g->cols; i++) mean += (double)sums[(size_t)i * (size_t)g->cols + (size_t)i] / g->cols;
  float added = mean > 0 ? (float)(share * mean) : 1;
  for (int i = 0; i < g->cols; i++) {
    const float *from = sums + (size_t)g->order[i] * (size_t)g->cols;
    float *to = out + (size_t)i * stride;
    memset(to, 0, stride * sizeof *to);
    for (int k = i; k < g->cols; k++) to[k] = from[g->order[k]];
    to[i] += added;
  }
}

static bool factor_make(struct gptq *g, const float *sums, int n_thread, struct error *error) {
  size_t count = (size_t)g->cols * factor_stride(g->cols);
  float *damped = malloc(count * sizeof *damped);
  if (!damped) return error_set(error, ERROR_MEMORY, "Out of memory for the sums of %d columns.", g->cols);
  bool found = false;
  double share = damping;
  for (int i = 0; i < DAMPINGS && !found; i++) {
    damped_make(g, sums, share, damped);
    memset(g->upper, 0, count * sizeof *g->upper);
    found = inverse_factor(damped, g->cols, g->upper, n_thread);
    share *= 10;
  }
  free(damped);
  return found ||
         error_set(error, ERROR_UNSUPPORTED,
                   "The inputs of a matrix of %d columns have sums that cannot be inverted: they are too large "
                   "or no numbers. Choose quant_algo RTN.",
                   g->cols);
}

bool gptq_init(struct gptq *gptq, const float *sums, int cols, int group, int n_thread, struct error *error) {
  size_t count = (size_t)cols;
  *gptq = (struct gptq){.cols = cols, .group = group ? group : cols};
  gptq->order = malloc(count * sizeof *gptq->order);
  gptq->upper = malloc(count * factor_stride(cols) * sizeof *gptq->upper);
  gptq->metric = group ? calloc(count + (size_t)group, (size_t)group * sizeof *gptq->metric) : NULL;
  bool ready = gptq->order && gptq->upper && (gptq->metric || !group) && order_make(gptq, sums);
  if (ready && gptq->metric) gptq_metric(sums, cols, group, gptq->metric);
  bool made = ready ? factor_make(gptq, sums, n_thread, error)
                    : error_set(error, ERROR_MEMORY, "Out of memory for the order of %d columns.", cols);
  return made;
}

void gptq_release(struct gptq *gptq) {
  free(gptq->order);
  free(gptq->upper);
  free(gptq->metric);
  *gptq = (struct gptq){0};
}

/* --- rounding ------------------------------------------------------------------------------------------------------
 */

/* A strip that is being rounded: rows in the order of rounding, and the block's errors. */
struct strip {
  const struct gptq *gptq;
  struct code_rows *out;
  float *rows, *left, *error; /* the caller's; [count][stride]; [count][BLOCK] */
  size_t stride;
  int count;
};

size_t gptq_scratch(int count, int cols) { return (size_t)count * (factor_stride(cols) + BLOCK); }

static struct affine affine_at(const struct code_rows *out, int row, int col) {
  const struct scheme *s = &out->scheme;
  size_t at = (size_t)row * (size_t)code_rows_groups(out) + (size_t)scheme_group_of(s, col);
  struct affine a = {.scale = out->scale[at], .top = (float)((1 << scheme_width(s)) - 1)};
  a.min = s->has_min ? out->min[at] : -a.scale * (float)(1 << (scheme_width(s) - 1));
  return a;
}

/* Scales first, by the codes that rounding without compensation finds. */
static bool scales_fill(struct strip *s, struct error *error) {
  for (int r = 0; r < s->count; r++)
    if (!quantize_row(s->rows + (size_t)r * (size_t)s->gptq->cols, s->gptq->metric, s->out, r, error)) return false;
  return true;
}

/* y −= a × x over whole runs of FACTOR_ALIGN. */
static void row_subtract(float *y, const float *x, float a, size_t count) {
  for (size_t i = 0; i < count; i += FACTOR_ALIGN)
    for (int k = 0; k < FACTOR_ALIGN; k++) y[i + (size_t)k] -= a * x[i + (size_t)k];
}

/* Rounds column `at` of the order in every row and corrects the rest of its block. */
static void column_round(struct strip *s, int at, int first, size_t end) {
  const struct gptq *g = s->gptq;
  const float *factor = g->upper + (size_t)at * s->stride;
  int col = g->order[at];
  size_t from = (size_t)at / FACTOR_ALIGN * FACTOR_ALIGN; /* the factor is zero left of the diagonal */
  for (int r = 0; r < s->count; r++) {
    float *left = s->left + (size_t)r * s->stride;
    struct affine a = affine_at(s->out, r, col);
    float code = affine_code(&a, left[at]), value = a.scale * code + a.min;
    float error = (left[at] - value) / factor[at];
    s->out->code[(size_t)r * (size_t)g->cols + (size_t)col] = (uint8_t)code;
    s->rows[(size_t)r * (size_t)g->cols + (size_t)col] = value;
    s->error[r * BLOCK + at - first] = error;
    row_subtract(left + from, factor + from, error, end - from);
  }
}

/* The columns from `end` on take what the block's errors ask of them. */
static void later_correct(struct strip *s, int first, int count, size_t end) {
  for (size_t tile = end; tile < s->stride; tile += TILE) {
    size_t size = s->stride - tile < TILE ? s->stride - tile : TILE;
    product_subtract(&(struct product_operands){.y = s->left + tile,
                                                .e = s->error,
                                                .x = s->gptq->upper + (size_t)first * s->stride + tile,
                                                .y_stride = s->stride,
                                                .e_stride = BLOCK,
                                                .x_stride = s->stride,
                                                .rows = s->count,
                                                .depth = count,
                                                .cols = (int)size});
  }
}

bool gptq_round(const struct gptq *gptq, float *rows, int count, struct code_rows *out, float *scratch,
                struct error *error) {
  size_t stride = factor_stride(gptq->cols);
  struct strip s = {.gptq = gptq,
                    .out = out,
                    .rows = rows,
                    .left = scratch,
                    .error = scratch + (size_t)count * stride,
                    .stride = stride,
                    .count = count};
  if (!scales_fill(&s, error)) return false;
  for (int r = 0; r < count; r++)
    for (int i = 0; i < gptq->cols; i++)
      s.left[(size_t)r * stride + (size_t)i] = rows[(size_t)r * (size_t)gptq->cols + (size_t)gptq->order[i]];
  for (int first = 0; first < gptq->cols; first += BLOCK) {
    int n = gptq->cols - first < BLOCK ? gptq->cols - first : BLOCK;
    size_t end = n < BLOCK ? stride : (size_t)(first + BLOCK);
    for (int i = 0; i < n; i++) column_round(&s, first + i, first, end);
    later_correct(&s, first, n, end);
  }
  return true;
}
