/* Filters that give numbers. */
#include "text/jinja_filters.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The text without white space around it as a number: whole, or else real. False: neither. */
static bool parse_number(const struct marked *text, int base, struct datum *out) {
  char copy[64];
  size_t start = 0, size = text->size;
  while (size > 0 && text->bytes[size - 1] <= ' ') size--;
  while (start < size && text->bytes[start] <= ' ') start++;
  size -= start;
  if (size == 0 || size >= sizeof copy) return false;
  memcpy(copy, text->bytes + start, size);
  copy[size] = '\0';
  char *end;
  long long integer = strtoll(copy, &end, base);
  if (end == copy + size && integer != LLONG_MAX && integer != LLONG_MIN) {
    *out = datum_int(integer);
    return true;
  }
  if (strpbrk(copy, "xX(")) return false; /* forms of C that Python does not read */
  *out = datum_float(strtod(copy, &end));
  return end == copy + size;
}

/* A number from a number or a text; undefined fails, anything else is none. */
static bool read_number(struct rendering *r, struct datum d, int base, struct datum *number, bool *found) {
  if (d.kind == DATUM_UNDEFINED) return rendering_fail(r, "an undefined value is no number");
  *found = d.kind == DATUM_TEXT ? parse_number(d.text, base, number)
                                : d.kind == DATUM_INT || d.kind == DATUM_FLOAT || d.kind == DATUM_BOOL;
  if (d.kind != DATUM_TEXT) *number = d.kind == DATUM_BOOL ? datum_int(d.truth) : d;
  return true;
}

bool filter_int(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *fallback = argument(a, 0, "default");
  int64_t base = 10;
  bool found = false;
  struct datum number;
  if (!argument_int(r, a, 1, "base", "int", &base)) return false;
  if (base != 0 && (base < 2 || base > 36)) return rendering_fail(r, "int needs a base from 2 to 36");
  if (!read_number(r, d, (int)base, &number, &found)) return false;
  if (found && number.kind == DATUM_FLOAT) {
    found = fabs(number.number) < 9e18;
    if (found) number = datum_int((int64_t)number.number);
  }
  *out = found ? number : fallback ? *fallback : datum_int(0);
  return true;
}

bool filter_float(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *fallback = argument(a, 0, "default");
  bool found = false;
  struct datum number;
  double value = 0;
  if (!read_number(r, d, 10, &number, &found)) return false;
  if (found) datum_number(number, &value);
  *out = found || !fallback ? datum_float(value) : *fallback;
  return true;
}

bool filter_abs(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  (void)a;
  double value;
  if (!datum_number(d, &value)) return rendering_fail(r, "abs needs a number, not a %s", datum_kind_name(d));
  *out = d.kind == DATUM_FLOAT ? datum_float(fabs(value)) : d;
  if (d.kind == DATUM_FLOAT) return true;
  return eval_binary(r, value < 0 ? OPERATOR_SUBTRACT : OPERATOR_ADD, datum_int(0), d, out); /* True is 1 */
}

bool filter_round(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct marked *method = NULL;
  int64_t precision = 0;
  double value;
  char text[400];
  if (!argument_int(r, a, 0, "precision", "round", &precision)) return false;
  if (!argument_text(r, a, 1, "method", "round", &method)) return false;
  if (!datum_number(d, &value)) return rendering_fail(r, "round needs a number, not a %s", datum_kind_name(d));
  if (precision < 0 || precision > 30) return rendering_fail(r, "round needs a precision from 0 to 30");
  double scale = pow(10, (double)precision);
  *out = d.kind == DATUM_BOOL ? datum_int(d.truth) : d;
  if (method && slice_is(marked_slice(method), "ceil"))
    *out = datum_float(ceil(value * scale) / scale);
  else if (method && slice_is(marked_slice(method), "floor"))
    *out = datum_float(floor(value * scale) / scale);
  else if (d.kind == DATUM_FLOAT && snprintf(text, sizeof text, "%.*f", (int)precision, value) < (int)sizeof text)
    *out = datum_float(strtod(text, NULL));
  return true;
}
