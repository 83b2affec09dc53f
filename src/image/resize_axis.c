/* Weights of a row's places. Computed in double in Pillow's order of operations, since the last bit decides roundings.
 */
#include "image/resize_axis.h"

#include <math.h>
#include <stdlib.h>

static double box(double x) { return x > -0.5 && x <= 0.5 ? 1 : 0; }

static double triangle(double x) {
  x = fabs(x);
  return x < 1 ? 1 - x : 0;
}

static double hamming(double x) {
  x = fabs(x);
  if (x == 0) return 1;
  if (x >= 1) return 0;
  x *= M_PI;
  return sin(x) / x * (0.54 + 0.46 * cos(x));
}

/* Keys's cubic with a = −½. */
static double cubic(double x) {
  const double a = -0.5;
  x = fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

static double sinc(double x) {
  if (x == 0) return 1;
  x *= M_PI;
  return sin(x) / x;
}

static double lanczos(double x) { return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0; }

static const struct {
  double (*shape)(double x);
  double support;
} filters[RESAMPLE_COUNT] = {
    [RESAMPLE_LANCZOS] = {lanczos, 3}, [RESAMPLE_BILINEAR] = {triangle, 1}, [RESAMPLE_BICUBIC] = {cubic, 2},
    [RESAMPLE_BOX] = {box, 0.5},       [RESAMPLE_HAMMING] = {hamming, 1},
};

/* To the nearest, halves away from 0. */
static int32_t weight_round(double weight) {
  double scaled = weight * (1 << AXIS_BITS);
  return (int32_t)(weight < 0 ? scaled - 0.5 : scaled + 0.5);
}

static void place_fill(struct resize_axis *axis, enum resample filter, int from, int place, double *shape) {
  double scale = (double)from / axis->size, widened = scale < 1 ? 1 : scale, narrowing = 1 / widened;
  double support = filters[filter].support * widened, centre = (place + 0.5) * scale, sum = 0;
  int first = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
  if (first < 0) first = 0;
  if (end > from) end = from;
  for (int i = 0; i < end - first; i++) {
    shape[i] = filters[filter].shape((i + first - centre + 0.5) * narrowing);
    sum += shape[i];
  }
  int32_t *weight = axis->weight + (size_t)place * (size_t)axis->stride;
  for (int i = 0; i < end - first; i++) weight[i] = weight_round(sum != 0 ? shape[i] / sum : shape[i]);
  axis->first[place] = first;
  axis->count[place] = end - first;
}

bool resize_axis_init(struct resize_axis *axis, enum resample filter, int from, int to, struct error *error) {
  double scale = (double)from / to;
  int most = 2 * (int)ceil(filters[filter].support * (scale < 1 ? 1 : scale)) + 1;
  int stride = (most + AXIS_UNIT - 1) / AXIS_UNIT * AXIS_UNIT;
  size_t n = (size_t)to;
  *axis = (struct resize_axis){to, stride, malloc(n * sizeof(int)), malloc(n * sizeof(int)),
                               calloc(n * (size_t)stride, sizeof(int32_t))};
  double *shape = malloc((size_t)stride * sizeof *shape);
  bool done = axis->first && axis->count && axis->weight && shape;
  for (int i = 0; done && i < to; i++) place_fill(axis, filter, from, i, shape);
  free(shape);
  if (done) return true;
  resize_axis_release(axis);
  return error_set(error, ERROR_MEMORY, "There is no memory to resize an image from %d to %d pixels.", from, to);
}

void resize_axis_release(struct resize_axis *axis) {
  free(axis->first);
  free(axis->count);
  free(axis->weight);
  *axis = (struct resize_axis){0};
}
