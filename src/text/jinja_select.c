/* Picking items by attribute or test. */
#include "text/jinja_filters.h"

#include "text/jinja_text.h"

/* --- attributes ------------------------------------------------------------------------------------------------- */

/* One part of a path: digits are an index. */
static bool path_part(struct rendering *r, struct datum object, struct marked part, struct datum *out) {
  int64_t index = 0;
  size_t digits = 0;
  while (digits < part.size && digits < 9 && part.bytes[digits] >= '0' && part.bytes[digits] <= '9')
    index = 10 * index + part.bytes[digits++] - '0';
  struct datum key = datum_int(index);
  if ((digits == 0 || digits < part.size) && !datum_marked(r, part, &key)) return false;
  return eval_item(r, object, key, out);
}

bool follow_path(struct rendering *r, struct datum object, struct datum path, const struct datum *fallback,
                 struct datum *out) {
  static const struct marked dot = {(const uint8_t *)".", NULL, 1};
  *out = object;
  if (path.kind == DATUM_NONE) return true;
  if (path.kind != DATUM_TEXT) {
    if (!eval_item(r, object, path, out)) return false;
    if (fallback && out->kind == DATUM_UNDEFINED) *out = *fallback;
    return true;
  }
  for (size_t at = 0; at <= path.text->size;) {
    size_t found = text_find(*path.text, at, dot), end = found == SIZE_MAX ? path.text->size : found;
    if (!path_part(r, *out, marked_part(*path.text, at, end), out)) return false;
    if (fallback && out->kind == DATUM_UNDEFINED) *out = *fallback;
    at = end + 1;
  }
  return true;
}

bool select_attributes(struct rendering *r, const struct datum_list *items, struct datum path,
                       const struct datum *fallback, struct datum *out) {
  if (!list_new(r, items->count, out)) return false;
  out->list->form = FORM_GENERATOR;
  for (size_t i = 0; i < items->count; i++) {
    struct datum value;
    if (!follow_path(r, items->items[i], path, fallback, &value) || !list_append(r, out->list, value)) return false;
  }
  return true;
}

/* What map, select and reject go over: anything false is as good as an empty list. */
static bool items_or_none(struct rendering *r, struct datum d, struct datum_list **items) {
  return datum_items(r, datum_truth(d) ? d : datum_undefined(NULL), items);
}

/* What follows the first `count` positional arguments. */
static struct arguments arguments_after(const struct arguments *a, size_t count) {
  struct arguments rest = *a;
  if (count > rest.count) count = rest.count;
  if (count) rest.items += count;
  rest.count -= count;
  return rest;
}

static bool filter_map(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *path = argument(a, SIZE_MAX, "attribute"), *filter = argument(a, 0, NULL);
  struct arguments rest = arguments_after(a, 1);
  struct datum_list *items;
  if (!items_or_none(r, d, &items)) return false;
  if (path && a->count == 0) return select_attributes(r, items, *path, argument(a, SIZE_MAX, "default"), out);
  if (!filter || filter->kind != DATUM_TEXT) return rendering_fail(r, "map needs a filter or attribute=...");
  if (!rendering_enter(r) || !list_new(r, items->count, out)) return false; /* the filter may be map again */
  out->list->form = FORM_GENERATOR;
  for (size_t i = 0; i < items->count; i++) {
    struct datum value;
    if (!filter_apply(r, marked_slice(filter->text), items->items[i], &rest, &value)) return false;
    if (!list_append(r, out->list, value)) return false;
  }
  rendering_leave(r);
  return true;
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

/* Whether the test (the first of the arguments, the others its own; none: truth) holds. */
static bool holds(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  const struct datum *test = argument(a, 0, NULL);
  struct arguments rest = arguments_after(a, 1);
  *result = datum_truth(d);
  if (!test) return true;
  if (test->kind != DATUM_TEXT) return rendering_fail(r, "a test is named by a text");
  return test_apply(r, marked_slice(test->text), d, &rest, result);
}

/* The items of which the test of a says `wanted`; path: of their attribute. */
static bool keep(struct rendering *r, struct datum d, const struct datum *path, const struct arguments *a, bool wanted,
                 struct datum *out) {
  struct datum_list *items;
  if (!items_or_none(r, d, &items) || !list_new(r, 0, out)) return false;
  out->list->form = FORM_GENERATOR;
  for (size_t i = 0; i < items->count; i++) {
    struct datum value = items->items[i];
    bool result;
    if (!rendering_charge(r, 1) || (path && !follow_path(r, items->items[i], *path, NULL, &value))) return false;
    if (!holds(r, value, a, &result)) return false;
    if (result == wanted && !list_append(r, out->list, items->items[i])) return false;
  }
  return true;
}

static bool filter_select(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  return keep(r, d, NULL, a, true, out);
}

static bool filter_reject(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  return keep(r, d, NULL, a, false, out);
}

static bool keep_by_attribute(struct rendering *r, struct datum d, const struct arguments *a, bool wanted,
                              struct datum *out) {
  struct arguments rest = arguments_after(a, 1);
  const struct datum *path = argument(a, 0, NULL);
  return path ? keep(r, d, path, &rest, wanted, out) : rendering_fail(r, "an attribute to select by is missing");
}

static bool filter_selectattr(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  return keep_by_attribute(r, d, a, true, out);
}

static bool filter_rejectattr(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  return keep_by_attribute(r, d, a, false, out);
}

const struct jinja_filter select_filters[] = {
    {"map", "* **", filter_map},
    {"select", "* **", filter_select},
    {"reject", "* **", filter_reject},
    {"selectattr", "* **", filter_selectattr},
    {"rejectattr", "* **", filter_rejectattr},
    {NULL, NULL, NULL},
};
