/* Filters of single values and of lists without a key; those that sort or pick by an attribute are in jinja_select.c,
 * those that give texts in jinja_text_filters.c. To add one: a function and a row of the table at the end. */
#include "text/jinja_select.h"
#include "text/jinja_text.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* --- any value -------------------------------------------------------------------------------------------------- */

static bool filter_default(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *fallback = argument(a, 0, "default_value");
  bool replaces = d.kind == DATUM_UNDEFINED || (argument_truth(a, 1, "boolean", false) && !datum_truth(d));
  *out = d;
  if (!replaces) return true;
  if (!fallback) return datum_text(r, slice_text(""), out);
  *out = *fallback;
  return true;
}

static bool filter_length(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  (void)a;
  size_t length = 0;
  if (d.kind == DATUM_TEXT)
    length = marked_length(*d.text);
  else if (d.kind == DATUM_LIST && d.list->form != FORM_GENERATOR)
    length = d.list->count;
  else if (d.kind == DATUM_MAP)
    length = d.map->count;
  else if (d.kind != DATUM_UNDEFINED)
    return rendering_fail(r, "a %s has no length", datum_kind_name(d));
  *out = datum_int((int64_t)length);
  return rendering_charge_bytes(r, length);
}

static bool filter_attr(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct marked *name = NULL;
  struct slice *copy = rendering_alloc(r, sizeof *copy);
  if (!copy || !argument_text(r, a, 0, "name", "attr", &name)) return false;
  if (!name) return rendering_fail(r, "attr needs a name");
  *copy = marked_slice(name);
  if (d.kind != DATUM_MAP) return eval_attribute(r, d, copy, out);
  *out = datum_undefined(copy); /* entries of a map are no attributes */
  return true;
}

/* --- numbers ---------------------------------------------------------------------------------------------------- */

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

static bool filter_int(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
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

static bool filter_float(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *fallback = argument(a, 0, "default");
  bool found = false;
  struct datum number;
  double value = 0;
  if (!read_number(r, d, 10, &number, &found)) return false;
  if (found) datum_number(number, &value);
  *out = found || !fallback ? datum_float(value) : *fallback;
  return true;
}

static bool filter_abs(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  (void)a;
  double value;
  if (!datum_number(d, &value)) return rendering_fail(r, "abs needs a number, not a %s", datum_kind_name(d));
  *out = d.kind == DATUM_FLOAT ? datum_float(fabs(value)) : d;
  if (d.kind == DATUM_FLOAT || value >= 0) return true;
  return eval_binary(r, OPERATOR_SUBTRACT, datum_int(0), d, out);
}

static bool filter_round(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct marked *method = NULL;
  int64_t precision = 0;
  double value;
  char text[400];
  if (!argument_int(r, a, 0, "precision", "round", &precision)) return false;
  if (!argument_text(r, a, 1, "method", "round", &method)) return false;
  if (!datum_number(d, &value)) return rendering_fail(r, "round needs a number, not a %s", datum_kind_name(d));
  if (precision < 0 || precision > 30) return rendering_fail(r, "round needs a precision from 0 to 30");
  double scale = pow(10, (double)precision);
  *out = d;
  if (method && slice_is(marked_slice(method), "ceil"))
    *out = datum_float(ceil(value * scale) / scale);
  else if (method && slice_is(marked_slice(method), "floor"))
    *out = datum_float(floor(value * scale) / scale);
  else if (d.kind == DATUM_FLOAT && snprintf(text, sizeof text, "%.*f", (int)precision, value) < (int)sizeof text)
    *out = datum_float(strtod(text, NULL));
  return true;
}

/* --- lists ------------------------------------------------------------------------------------------------------ */

static bool filter_first(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct datum_list *items;
  (void)a;
  if (!datum_items(r, d, &items)) return false;
  *out = items->count ? items->items[0] : datum_undefined(NULL);
  return true;
}

static bool filter_last(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct datum_list *items;
  (void)a;
  if (!datum_items(r, d, &items)) return false;
  *out = items->count ? items->items[items->count - 1] : datum_undefined(NULL);
  return true;
}

static bool filter_list(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct datum_list *items;
  (void)a;
  if (!datum_items(r, d, &items) || !list_new(r, items->count, out)) return false;
  for (size_t i = 0; i < items->count; i++)
    if (!list_append(r, out->list, items->items[i])) return false;
  return true;
}

static bool filter_reverse(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct datum_list *items;
  (void)a;
  if (!datum_items(r, d, &items) || !list_new(r, items->count, out)) return false;
  out->list->form = FORM_GENERATOR;
  for (size_t i = items->count; i > 0; i--)
    if (!list_append(r, out->list, items->items[i - 1])) return false;
  return d.kind != DATUM_TEXT || text_join(r, out->list, (struct marked){0}, out);
}

static bool filter_join(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *given = argument(a, 0, "d"), *attribute = argument(a, 1, "attribute");
  const struct marked *separator;
  struct datum_list *items;
  struct datum empty;
  if (!datum_text(r, slice_text(""), &empty)) return false;
  if (!datum_string(r, given ? *given : empty, &separator) || !datum_items(r, d, &items)) return false;
  if (attribute && attribute->kind != DATUM_NONE) {
    struct datum picked;
    if (!select_attributes(r, items, *attribute, NULL, &picked)) return false;
    items = picked.list;
  }
  return text_join(r, items, *separator, out);
}

static bool filter_items(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  (void)a;
  if (d.kind != DATUM_MAP && d.kind != DATUM_UNDEFINED)
    return rendering_fail(r, "items needs a map, not a %s", datum_kind_name(d));
  size_t count = d.kind == DATUM_MAP ? d.map->count : 0;
  if (!list_new(r, count, out)) return false;
  out->list->form = FORM_GENERATOR;
  for (size_t i = 0; i < count; i++) {
    struct datum pair;
    if (!list_pair(r, d.map->entries[i].key, d.map->entries[i].value, &pair) || !list_append(r, out->list, pair))
      return false;
  }
  return true;
}

static bool filter_batch(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *fill = argument(a, 1, "fill_with");
  struct datum_list *items;
  struct datum part = datum_none();
  int64_t size = 0;
  if (!argument_int(r, a, 0, "linecount", "batch", &size) || !datum_items(r, d, &items)) return false;
  if (size < 1) return rendering_fail(r, "batch needs a size of at least 1");
  if (!list_new(r, 0, out)) return false;
  out->list->form = FORM_GENERATOR;
  for (size_t i = 0; i < items->count; i++) {
    if (i % (size_t)size == 0 && i && !list_append(r, out->list, part)) return false;
    if (i % (size_t)size == 0 && !list_new(r, 0, &part)) return false;
    if (!list_append(r, part.list, items->items[i])) return false;
  }
  if (!items->count) return true;
  while (fill && fill->kind != DATUM_NONE && part.list->count < (size_t)size)
    if (!list_append(r, part.list, *fill)) return false;
  return list_append(r, out->list, part);
}

static bool filter_sum(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *attribute = argument(a, 0, "attribute"), *start = argument(a, 1, "start");
  struct datum_list *items;
  if (!datum_items(r, d, &items)) return false;
  if (attribute && attribute->kind != DATUM_NONE) {
    struct datum picked;
    if (!select_attributes(r, items, *attribute, NULL, &picked)) return false;
    items = picked.list;
  }
  *out = start ? *start : datum_int(0);
  for (size_t i = 0; i < items->count; i++)
    if (!eval_binary(r, OPERATOR_ADD, *out, items->items[i], out)) return false;
  return true;
}

const struct jinja_filter *filter_find(struct slice name) {
  static const struct jinja_filter filters[] = {
      {"default", filter_default},
      {"d", filter_default},
      {"length", filter_length},
      {"count", filter_length},
      {"attr", filter_attr},
      {"int", filter_int},
      {"float", filter_float},
      {"abs", filter_abs},
      {"round", filter_round},
      {"first", filter_first},
      {"last", filter_last},
      {"list", filter_list},
      {"reverse", filter_reverse},
      {"join", filter_join},
      {"items", filter_items},
      {"batch", filter_batch},
      {"sum", filter_sum},
      {"map", filter_map},
      {"select", filter_select},
      {"reject", filter_reject},
      {"sort", filter_sort},
      {"unique", filter_unique},
      {"dictsort", filter_dictsort},
      {"min", filter_min},
      {"max", filter_max},
      {"selectattr", filter_selectattr},
      {"rejectattr", filter_rejectattr},
  };
  for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
    if (slice_is(name, filters[i].name)) return &filters[i];
  return NULL;
}
