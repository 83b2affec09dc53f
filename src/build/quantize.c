/* Round to nearest with a clip search per group, and conversions between floats. */
#include "build/quantize.h"

#include "base/half.h"

#include <math.h>

enum { QUANTIZE_GROUP = 32, GROUP_MAX = 128 };

/* Fractions of a group's range that are tried; the first wins ties, so that an exact fit is kept. */
static const float clip_ratios[] = {1.0f, 0.97f, 0.94f, 0.91f, 0.88f, 0.84f, 0.80f, 0.75f};
enum { N_RATIO = sizeof clip_ratios / sizeof clip_ratios[0] };

struct scheme quantize_scheme(int bits) {
  return (struct scheme){.kind = SCHEME_INT,
                         .bits = (uint8_t)bits,
                         .scale = SCALE_F16,
                         .has_min = bits < 8,
                         .activation = ACTIVATION_INT8,
                         .group = QUANTIZE_GROUP};
}

/* As the scheme stores scales and minima. */
static float scale_round(const struct scheme *s, float value) {
  return s->scale == SCALE_F32 ? value : half_to_float(half_from_float(value));
}

/* To the nearest integer, ties to even, for 0 ≤ x < 2^22: adding 1.5 × 2^23 leaves no room for a fraction. */
static float round_nearest(float x) { return x + 0x1.8p23f - 0x1.8p23f; }

static float code_of(const struct affine *a, float inverse, float x) {
  float code = (x - a->min) * inverse;
  code = code > 0 ? code : 0;
  return round_nearest(code < a->top ? code : a->top);
}

static float affine_inverse(const struct affine *a) { return a->scale > 0 ? 1 / a->scale : 0; }

float affine_code(const struct affine *affine, float x) { return code_of(affine, affine_inverse(affine), x); }

/* The squared error over a group, or something above `limit` as soon as it is sure to be. */
static float affine_error(const struct affine *a, const float *x, int count, float limit) {
  enum { STRIDE = 8 };
  float inverse = affine_inverse(a), error = 0;
  for (int first = 0; first < count && error <= limit; first += STRIDE) {
    int end = first + STRIDE < count ? first + STRIDE : count;
    for (int i = first; i < end; i++) {
      float difference = a->scale * code_of(a, inverse, x[i]) + a->min - x[i];
      error += difference * difference;
    }
  }
  return error;
}

/* The error of the products with the inputs that the metric is of: dᵀ·metric·d of the differences. */
static float affine_loss(const struct affine *a, const float *x, int count, const float *metric, int group) {
  enum { LANES = 16 };
  float inverse = affine_inverse(a), lane[LANES] = {0}, loss = 0, difference[GROUP_MAX] = {0};
  for (int i = 0; i < count; i++) difference[i] = a->scale * code_of(a, inverse, x[i]) + a->min - x[i];
  for (int i = 0; i < count; i++, metric += group) {
    float row[LANES] = {0};
    for (int k = 0; k < group; k += LANES)
      for (int l = 0; l < LANES; l++) row[l] += difference[k + l] * metric[k + l];
    for (int l = 0; l < LANES; l++) lane[l] += difference[i] * row[l];
  }
  for (int l = 0; l < LANES; l++) loss += lane[l];
  return loss;
}

static struct affine affine_clipped(const struct scheme *s, float low, float high, float ratio) {
  struct affine a = {.top = (float)((1 << scheme_width(s)) - 1)};
  if (s->has_min) {
    float middle = (low + high) / 2, reach = (high - low) / 2 * ratio;
    a.scale = scale_round(s, 2 * reach / a.top);
    a.min = scale_round(s, middle - reach);
  } else {
    float steps = (float)((1 << (scheme_width(s) - 1)) - 1), reach = fmaxf(-low, high) * ratio;
    a.scale = scale_round(s, reach / steps);
    a.min = -a.scale * (steps + 1);
  }
  return a;
}

static bool affine_finite(const struct affine *a) { return isfinite(a->scale) && isfinite(a->min); }

/* The candidate of least error. */
struct affine affine_fit(const struct scheme *s, const float *x, int count, const float *metric) {
  float low = INFINITY, high = -INFINITY, sum = 0;
  if (!s->group) metric = NULL; /* of a whole row it would be all of XᵀX */
  for (int i = 0; i < count; i++) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
    sum += x[i] - x[i]; /* zero unless an infinity or a NaN is among them */
  }
  struct affine best = affine_clipped(s, low, high, 1);
  if (sum != 0) best.scale = NAN;
  if (!affine_finite(&best)) return best;
  float least = metric ? affine_loss(&best, x, count, metric, s->group) : affine_error(&best, x, count, INFINITY);
  for (int i = 1; i < N_RATIO && least > 0; i++) {
    struct affine a = affine_clipped(s, low, high, clip_ratios[i]);
    float error = metric ? affine_loss(&a, x, count, metric, s->group) : affine_error(&a, x, count, least);
    if (error < least) {
      least = error;
      best = a;
    }
  }
  return best;
}

static bool integers_fill(const float *row, const float *metric, struct code_rows *out, int at, struct error *error) {
  const struct scheme *s = &out->scheme;
  int groups = code_rows_groups(out), width = s->group ? s->group : out->cols;
  for (int g = 0; g < groups; g++) {
    int first = g * width, count = out->cols - first < width ? out->cols - first : width;
    struct affine a = affine_fit(s, row + first, count, metric ? metric + (size_t)first * s->group : NULL);
    if (!affine_finite(&a))
      return error_set(error, ERROR_UNSUPPORTED,
                       "has numbers in columns %d to %d that are not finite or too large for their scales; choose "
                       "quant_mode BF16 or FP32.",
                       first, first + count - 1);
    float inverse = affine_inverse(&a);
    uint8_t *code = out->code + (size_t)at * (size_t)out->cols + first;
    for (int i = 0; i < count; i++) code[i] = (uint8_t)code_of(&a, inverse, row[first + i]);
    out->scale[at * groups + g] = a.scale;
    if (s->has_min) out->min[at * groups + g] = a.min;
  }
  return true;
}

/* No clip search: the greatest number of a group is E4M3's greatest, and small ones keep their bits. */
static bool e4m3_fill(const float *row, struct code_rows *out, int at, struct error *error) {
  int groups = code_rows_groups(out), width = out->scheme.group ? out->scheme.group : out->cols;
  uint8_t *code = out->code + (size_t)at * (size_t)out->cols;
  for (int g = 0; g < groups; g++) {
    int first = g * width, end = out->cols - first < width ? out->cols : first + width;
    float peak = 0;
    for (int i = first; i < end; i++) {
      if (!isfinite(row[i]))
        return error_set(error, ERROR_UNSUPPORTED, "has a number in column %d that is not finite; repair the model.",
                         i);
      peak = fmaxf(peak, fabsf(row[i]));
    }
    float scale = peak / E4M3_MAX, inverse = scale > 0 ? 1 / scale : 0;
    for (int i = first; i < end; i++) code[i] = isfinite(inverse) ? e4m3_from_float(row[i] * inverse) : 0;
    out->scale[at * groups + g] = scale;
  }
  return true;
}

static bool halves_fill(const float *row, uint16_t *out, int cols, struct error *error) {
  for (int i = 0; i < cols; i++) {
    out[i] = half_from_float(row[i]);
    if (isfinite(row[i]) && !isfinite(half_to_float(out[i])))
      return error_set(error, ERROR_UNSUPPORTED,
                       "has the value %g in column %d, and FP16 ends at 65504; choose quant_mode BF16 or FP32.", row[i],
                       i);
  }
  return true;
}

bool quantize_row(const float *row, const float *metric, struct code_rows *out, int at, struct error *error) {
  size_t cols = (size_t)out->cols, first = (size_t)at * cols;
  uint16_t *words = out->dense;
  switch (out->scheme.kind) {
  case SCHEME_F32: memcpy((float *)out->dense + first, row, cols * sizeof *row); return true;
  case SCHEME_F16: return halves_fill(row, words + first, out->cols, error);
  case SCHEME_BF16:
    for (size_t i = 0; i < cols; i++) words[first + i] = bfloat_from_float(row[i]);
    return true;
  case SCHEME_F8: return e4m3_fill(row, out, at, error);
  default: return integers_fill(row, metric, out, at, error);
  }
}

void activation_round(const struct scheme *scheme, float *row, int cols) {
  if (scheme->activation == ACTIVATION_FLOAT) return;
  bool e4m3 = scheme->activation == ACTIVATION_E4M3_TOKEN;
  int group = scheme->activation == ACTIVATION_INT8 ? ACTIVATION_GROUP : cols;
  float top = e4m3 ? E4M3_MAX : 127;
  for (int first = 0; first < cols; first += group) {
    int end = first + group < cols ? first + group : cols;
    float peak = 0;
    for (int i = first; i < end; i++) peak = fmaxf(peak, fabsf(row[i]));
    float scale = peak / top, inverse = peak > 1e-30f ? top / peak : 0;
    for (int i = first; i < end; i++)
      row[i] = (e4m3 ? e4m3_to_float(e4m3_from_float(row[i] * inverse)) : rintf(row[i] * inverse)) * scale;
  }
}
