/* Filters that give numbers. */
#include "text/jinja_filters.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NUMBER_MAX = 4400 };

/* White space around it and underscores between digits left out; false: too long, or nothing is left. */
static bool number_text(struct marked text, char copy[NUMBER_MAX], size_t *size) {
  size_t start = 0, end = text.size;
  while (end > 0 && text.bytes[end - 1] <= ' ') end--;
  while (start < end && text.bytes[start] <= ' ') start++;
  *size = 0;
  if (end - start >= NUMBER_MAX) return false;
  for (size_t i = start; i < end; i++) {
    bool between = i > start && i + 1 < end && isalnum(text.bytes[i - 1]) && isalnum(text.bytes[i + 1]);
    if (text.bytes[i] == '_' && !between) return false;
    if (text.bytes[i] != '_') copy[(*size)++] = (char)text.bytes[i];
  }
  copy[*size] = '\0';
  return *size > 0;
}

/* Digits of another base, perhaps behind 0x, 0o or 0b, which tell the base 0. */
static bool parse_based(struct rendering *r, const char *copy, size_t size, int base, struct datum *out, bool *found) {
  char digits[NUMBER_MAX + 1], *end;
  size_t sign = copy[0] == '-' || copy[0] == '+';
  const char *rest = copy + sign;
  int told = rest[0] != '0' || !rest[1] ? 0
             : (rest[1] | 32) == 'x'    ? 16
             : (rest[1] | 32) == 'o'    ? 8
             : (rest[1] | 32) == 'b'    ? 2
                                        : 0;
  if (told && (base == 0 || base == told)) {
    base = told;
    rest += 2;
  } else if (base == 0) {
    base = rest[0] == '0' && strspn(rest, "0") < size - sign ? 1 : 10; /* no number begins with a 0 */
  }
  *found = base > 1 && isalnum((unsigned char)rest[0]);
  if (!*found) return true;
  snprintf(digits, sizeof digits, "%s%s", copy[0] == '-' ? "-" : "", rest);
  errno = 0;
  *out = datum_int(strtoll(digits, &end, base));
  *found = *end == '\0';
  return !*found || errno == 0 || rendering_fail(r, "a whole number is beyond 64 bits");
}

static bool parse_decimal(struct rendering *r, const char *copy, size_t size, struct datum *out, bool *found) {
  size_t plus = copy[0] == '+', sign = plus || copy[0] == '-';
  *found = size > sign && strspn(copy + sign, "0123456789") == size - sign;
  return !*found || datum_digits(r, slice_make(copy + plus, size - plus), out);
}

/* The text as a number: whole, or else real. */
static bool parse_number(struct rendering *r, const struct marked *text, int base, struct datum *out, bool *found) {
  char copy[NUMBER_MAX], *end;
  size_t size;
  *found = number_text(*text, copy, &size);
  if (!*found) return true;
  bool done = base == 10 ? parse_decimal(r, copy, size, out, found) : parse_based(r, copy, size, base, out, found);
  if (!done || *found) return done;
  *found = !strpbrk(copy, "xX("); /* forms of C that Python does not read */
  *out = datum_float(strtod(copy, &end));
  *found = *found && end == copy + size;
  return true;
}

/* A number from a number or a text; undefined fails, anything else is none. */
static bool read_number(struct rendering *r, struct datum d, int base, struct datum *number, bool *found) {
  if (d.kind == DATUM_UNDEFINED) return rendering_fail(r, "an undefined value is no number");
  if (d.kind == DATUM_TEXT && (!rendering_charge_characters(r, d.text->size) || !rendering_charge_real(r)))
    return false;
  *found = datum_is_number(d);
  if (d.kind == DATUM_TEXT && !parse_number(r, d.text, base, number, found)) return false;
  if (d.kind != DATUM_TEXT) *number = d.kind == DATUM_BOOL ? datum_int(d.truth) : d;
  return true;
}

bool datum_read_number(struct rendering *r, struct datum d, struct datum *number, bool *found) {
  return read_number(r, d, 10, number, found);
}

/* Without its fraction; the fallback for what is no number, an infinity of a text among it. */
static bool whole_part(struct rendering *r, struct datum d, double number, const struct datum *fallback,
                       struct datum *out) {
  char digits[400];
  if (isinf(number) && d.kind == DATUM_FLOAT) return rendering_fail(r, "an infinity has no whole part");
  *out = fallback ? *fallback : datum_int(0);
  if (!isfinite(number)) return true;
  int size = snprintf(digits, sizeof digits, "%.0f", trunc(number));
  if (number > -1 && number < 1) size = snprintf(digits, sizeof digits, "0");
  return datum_digits(r, slice_make(digits, (size_t)size), out);
}

static bool filter_int(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *fallback = argument(a, 0, "default");
  int64_t base = 10;
  bool found = false;
  struct datum number;
  if (!argument_int(r, a, 1, "base", "int", &base)) return false;
  if (base != 0 && (base < 2 || base > 36)) return rendering_fail(r, "int needs a base from 2 to 36");
  if (!read_number(r, d, (int)base, &number, &found)) return false;
  if (found && number.kind == DATUM_FLOAT) return whole_part(r, d, number.number, fallback, out);
  *out = found ? number : fallback ? *fallback : datum_int(0);
  return true;
}

static bool filter_float(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *fallback = argument(a, 0, "default");
  bool found = false;
  struct datum number;
  double value = 0;
  if (!read_number(r, d, 10, &number, &found)) return false;
  if (found && number.kind == DATUM_BIG)
    value = big_number(number.text);
  else if (found)
    datum_number(number, &value);
  *out = found || !fallback ? datum_float(value) : *fallback;
  return true;
}

static bool filter_abs(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  (void)a;
  double value;
  if (!datum_number(d, &value)) return rendering_fail(r, "abs needs a number, not a %s", datum_kind_name(d));
  *out = d.kind == DATUM_FLOAT ? datum_float(fabs(value)) : d;
  if (d.kind == DATUM_FLOAT) return true;
  return eval_binary(r, value < 0 ? OPERATOR_SUBTRACT : OPERATOR_ADD, datum_int(0), d, out); /* True is 1 */
}

/* To so many decimals, or with fewer than 0 to tens and hundreds. */
static double round_real(double value, int64_t precision) {
  char text[400];
  if (!isfinite(value) || (precision >= 0 && fabs(value) >= 0x1p53)) return value;
  if (precision < 0) {
    double scale = pow(10, (double)-precision);
    return isfinite(scale) ? nearbyint(value / scale) * scale : value * 0.0;
  }
  snprintf(text, sizeof text, "%.*f", (int)precision, value);
  return strtod(text, NULL);
}

/* A whole number stays one; halves go to the even side. False: beyond 64 bits. */
static bool round_whole(int64_t value, int64_t precision, int64_t *rounded) {
  int64_t scale = 1;
  *rounded = 0;
  for (int64_t i = precision; i < 0; i++)
    if (__builtin_mul_overflow(scale, 10, &scale)) /* the nearest is 0, or 10^19 */
      return precision < -19 || (value <= 5000000000000000000 && value >= -5000000000000000000);
  int64_t rest = value % scale, size = rest < 0 ? -rest : rest, below = value - rest;
  bool away = size > scale - size || (size == scale - size && (value / scale) % 2 != 0);
  return !__builtin_add_overflow(below, !away ? 0 : value < 0 ? -scale : scale, rounded);
}

static bool filter_round(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct marked *method = NULL;
  int64_t precision = 0, whole = 0;
  double value;
  if (!argument_int(r, a, 0, "precision", "round", &precision)) return false;
  if (!argument_text(r, a, 1, "method", "round", &method)) return false;
  if (!datum_number(d, &value)) return rendering_fail(r, "round needs a number, not a %s", datum_kind_name(d));
  if (precision < -30 || precision > 30) return rendering_fail(r, "round needs a precision from -30 to 30");
  bool up = method && slice_is(marked_slice(method), "ceil"), down = method && slice_is(marked_slice(method), "floor");
  if (method && !up && !down && !slice_is(marked_slice(method), "common"))
    return rendering_fail(r, "round knows the methods common, ceil and floor");
  if (!rendering_charge_real(r)) return false;
  double scale = pow(10, (double)precision);
  if (up || down) {
    *out = datum_float((up ? ceil : floor)(value * scale) / scale);
    return isfinite(out->number) || rendering_fail(r, "round has no whole number for this value");
  }
  if (d.kind == DATUM_FLOAT) {
    *out = datum_float(round_real(value, precision));
    return true;
  }
  if (!round_whole(d.kind == DATUM_BOOL ? d.truth : d.integer, precision, &whole))
    return rendering_fail(r, "a whole number is beyond 64 bits");
  *out = datum_int(whole);
  return true;
}

const struct jinja_filter number_filters[] = {
    {"int", "default? base?", filter_int},
    {"float", "default?", filter_float},
    {"abs", "", filter_abs},
    {"round", "precision? method?", filter_round},
    {NULL, NULL, NULL},
};
