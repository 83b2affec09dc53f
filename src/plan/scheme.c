/* Schemes: which combinations exist, their names, and the value of a code. */
#include "plan/scheme.h"

#include "base/half.h"

#include <stdio.h>

static const int8_t codebooks[CODEBOOK_COUNT][CODEBOOK_ENTRIES] = {
    [CODEBOOK_IQ4] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113},
    [CODEBOOK_E2M1] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12},
    [CODEBOOK_IQ1] = {-7, 1, 9, 0, -9, -1, 7, 0},
    [CODEBOOK_IQ2] = {8, 25, 43, 0, -8, -25, -43, 0},
    [CODEBOOK_IQ3] = {4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62},
    [CODEBOOK_ODD] = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15},
};

const int8_t *codebook_entries(enum codebook codebook) { return codebooks[codebook]; }

float codebook_unit(enum codebook codebook) {
  if (codebook == CODEBOOK_IQ1 || codebook == CODEBOOK_IQ2) return 0.125f;
  return codebook == CODEBOOK_IQ3 ? 0.25f : 1;
}

static int codebook_width(enum codebook codebook) {
  return codebook == CODEBOOK_IQ1 || codebook == CODEBOOK_IQ2 ? 3 : 4;
}

static bool scheme_refuse(const char *field, int value, const char *expected, struct error *error) {
  return error_set(error, ERROR_FORMAT, "A weight's scheme has %s %d; expected %s.", field, value, expected);
}

static bool planes_valid(const struct scheme *s) {
  if (s->bits == 8) return s->high_bits == 0;
  return (s->bits == 2 || s->bits == 4) && s->high_bits <= 2;
}

/* All fields between the kind and the activation. */
static bool integer_fields_clear(const struct scheme *s) {
  return !s->bits && !s->high_bits && !s->scale && !s->has_min && !s->codebook;
}

static bool float_check(const struct scheme *s, struct error *error) {
  if (!integer_fields_clear(s)) return scheme_refuse("integer fields set for float kind", s->kind, "all zero", error);
  bool scaled = s->kind == SCHEME_F8;
  if (s->group && !(scaled && s->group == 128))
    return scheme_refuse("group", s->group, scaled ? "0 or 128" : "0, as its kind has no scales", error);
  if (s->activation && !(scaled && s->activation == ACTIVATION_E4M3_TOKEN))
    return scheme_refuse("activation", s->activation, scaled ? "0 or 3" : "0 for its kind", error);
  return true;
}

bool scheme_check(const struct scheme *s, struct error *error) {
  if (s->kind > SCHEME_F8) return scheme_refuse("kind", s->kind, "0 to 4", error);
  if (s->kind != SCHEME_INT) return float_check(s, error);
  if (s->activation > ACTIVATION_INT8_TOKEN) return scheme_refuse("activation", s->activation, "0 to 2", error);
  if (!planes_valid(s))
    return scheme_refuse("code planes of low bits", s->bits, "2 or 4 with 0 to 2 high, or 8", error);
  if (s->scale > SCALE_TWO_LEVEL) return scheme_refuse("scale kind", s->scale, "0 to 3", error);
  if (s->has_min > 1) return scheme_refuse("has_min", s->has_min, "0 or 1", error);
  if (s->codebook >= CODEBOOK_COUNT) return scheme_refuse("codebook", s->codebook, "0 to 6", error);
  if (s->codebook && (scheme_width(s) != codebook_width(s->codebook) || s->bits + s->high_bits * 2 != 4 || s->has_min))
    return scheme_refuse("codebook with width", scheme_width(s), "its own, 3 or 4 bits, and no minimum", error);
  if (s->group == 0 && (s->scale != SCALE_F32 || s->has_min || s->codebook))
    return scheme_refuse("one scale a row and scale kind", s->scale, "0, no minimum and no codebook", error);
  if (s->group && s->group != 16 && s->group != 32 && s->group != 64 && s->group != 128)
    return scheme_refuse("group", s->group, "0, 16, 32, 64 or 128", error);
  if (s->activation == ACTIVATION_INT8_TOKEN && s->group)
    return scheme_refuse("one scale a token and group", s->group, "0: one scale a row", error);
  return true;
}

const char *scheme_name(const struct scheme *s, char out[48]) {
  static const char *const kind[] = {"F32", "F16", "BF16", "", "F8"};
  static const char *const scale[] = {"f32", "f16", "bf16", "two-level"};
  static const char *const book[CODEBOOK_COUNT] = {"", " iq4", " e2m1", " iq1", " iq2", " iq3", " odd"};
  static const char *const activation[] = {"", " a8", " a8 token", " a8 token"};
  char group[8] = "row";
  if (s->group) snprintf(group, sizeof group, "g%u", s->group & 0xFFu);
  if (s->kind == SCHEME_INT)
    snprintf(out, 48, "int%d %s %s%s%s%s", scheme_width(s), group, scale[s->scale & 3], s->has_min ? " min" : "",
             book[s->codebook % CODEBOOK_COUNT], activation[s->activation & 3]);
  else if (s->kind == SCHEME_F8)
    snprintf(out, 48, "F8 %s%s", group, activation[s->activation & 3]);
  else
    snprintf(out, 48, "%s", kind[s->kind % 3]);
  return out;
}

static double dense_value(const struct codes *codes, size_t at) {
  switch (codes->scheme.kind) {
  case SCHEME_F16: return half_to_float(((const uint16_t *)codes->dense)[at]);
  case SCHEME_BF16: return bfloat_to_float(((const uint16_t *)codes->dense)[at]);
  default: return ((const float *)codes->dense)[at];
  }
}

double codes_value(const struct codes *codes, int row, int col) {
  const struct scheme *s = &codes->scheme;
  size_t at = (size_t)row * codes->cols + col;
  if (scheme_is_plain(s)) return dense_value(codes, at);
  size_t group = (size_t)row * scheme_groups(s, codes->cols) + scheme_group_of(s, col);
  double scale, min = 0;
  if (s->scale == SCALE_TWO_LEVEL) {
    size_t super = (size_t)row * ((codes->cols + SCHEME_SUPER - 1) / SCHEME_SUPER) + col / SCHEME_SUPER;
    scale = (double)half_to_float(codes->super[super]) * codes->sub[group];
    if (s->has_min) min = -((double)half_to_float(codes->super_min[super]) * codes->sub_min[group]);
  } else {
    scale = codes->scale[group];
    if (s->has_min) min = codes->min[group];
  }
  int code = codes->code[at];
  if (s->kind == SCHEME_F8) return scale * e4m3_to_float((uint8_t)code);
  if (s->codebook) /* a byte of a damaged file may be no code */
    return scale * codebook_unit(s->codebook) * codebooks[s->codebook][code % CODEBOOK_ENTRIES];
  return s->has_min ? scale * code + min : scale * (code - (1 << (scheme_width(s) - 1)));
}
