/* Picking items by attribute or test, and sorting them. */
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

static bool follow_path(struct rendering *r, struct datum object, struct datum path, const struct datum *fallback,
                        struct datum *out) {
  static const struct marked dot = {(const uint8_t *)".", NULL, 1};
  if (path.kind != DATUM_TEXT) return eval_item(r, object, path, out);
  *out = object;
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

/* --- order ------------------------------------------------------------------------------------------------------ */

struct sort_item {
  struct datum key, value;
};

/* Items with what they are compared by: an attribute (path, may be NULL), in lower case unless case_sensitive. */
static bool sort_items(struct rendering *r, const struct datum_list *list, const struct datum *path,
                       bool case_sensitive, struct sort_item **items) {
  *items = rendering_alloc(r, 2 * list->count * sizeof **items); /* the second half is for merging */
  if (!*items) return false;
  for (size_t i = 0; i < list->count; i++) {
    struct datum key = list->items[i];
    if (path && path->kind != DATUM_NONE && !follow_path(r, list->items[i], *path, NULL, &key)) return false;
    if (key.kind == DATUM_TEXT && !case_sensitive && !text_recase(r, *key.text, CASE_LOWER, &key)) return false;
    (*items)[i] = (struct sort_item){key, list->items[i]};
  }
  return true;
}

/* Whether b goes before a. */
static bool goes_before(struct rendering *r, const struct sort_item *a, const struct sort_item *b, bool reverse,
                        bool *before) {
  int order;
  if (!datum_order(r, a->key, b->key, &order)) return false;
  *before = reverse ? order < 0 : order > 0;
  return true;
}

/* Merges the neighbours from[low, middle) and from[middle, high) into to. */
static bool merge(struct rendering *r, const struct sort_item *from, struct sort_item *to, size_t low, size_t middle,
                  size_t high, bool reverse) {
  size_t left = low, right = middle;
  for (size_t i = low; i < high; i++) {
    bool take_right = left == middle;
    if (left < middle && right < high && !goes_before(r, &from[left], &from[right], reverse, &take_right)) return false;
    to[i] = take_right ? from[right++] : from[left++];
  }
  return true;
}

/* Sorts stably; *items may end up as the second half. */
static bool merge_sort(struct rendering *r, struct sort_item **items, size_t count, bool reverse) {
  struct sort_item *from = *items, *to = *items + count;
  for (size_t width = 1; width < count; width *= 2) {
    for (size_t low = 0; low < count; low += 2 * width) {
      size_t middle = low + width < count ? low + width : count;
      size_t high = low + 2 * width < count ? low + 2 * width : count;
      if (!merge(r, from, to, low, middle, high, reverse)) return false;
    }
    struct sort_item *swap = from;
    from = to;
    to = swap;
  }
  *items = from;
  return true;
}

static bool sorted_list(struct rendering *r, struct sort_item *items, size_t count, bool reverse, struct datum *out) {
  if (!merge_sort(r, &items, count, reverse) || !list_new(r, count, out)) return false;
  for (size_t i = 0; i < count; i++)
    if (!list_append(r, out->list, items[i].value)) return false;
  return true;
}

static bool filter_sort(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct datum_list *list;
  struct sort_item *items;
  bool reverse = argument_truth(a, 0, "reverse", false), sensitive = argument_truth(a, 1, "case_sensitive", false);
  return datum_items(r, d, &list) && sort_items(r, list, argument(a, 2, "attribute"), sensitive, &items) &&
         sorted_list(r, items, list->count, reverse, out);
}

static bool filter_dictsort(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *by = argument(a, 1, "by");
  const struct datum place = datum_int(by && datum_is_text(*by, "value"));
  bool sensitive = argument_truth(a, 0, "case_sensitive", false), reverse = argument_truth(a, 2, "reverse", false);
  struct sort_item *items;
  struct datum pairs, pair;
  if (d.kind != DATUM_MAP) return rendering_fail(r, "dictsort needs a map, not a %s", datum_kind_name(d));
  if (!list_new(r, d.map->count, &pairs)) return false;
  for (size_t i = 0; i < d.map->count; i++)
    if (!list_pair(r, d.map->entries[i].key, d.map->entries[i].value, &pair) || !list_append(r, pairs.list, pair))
      return false;
  return sort_items(r, pairs.list, &place, sensitive, &items) && sorted_list(r, items, pairs.list->count, reverse, out);
}

static bool filter_unique(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct datum_list *list;
  struct sort_item *items;
  bool sensitive = argument_truth(a, 0, "case_sensitive", false);
  if (!datum_items(r, d, &list) || !sort_items(r, list, argument(a, 1, "attribute"), sensitive, &items)) return false;
  if (!list_new(r, 0, out)) return false;
  out->list->form = FORM_GENERATOR;
  for (size_t i = 0; i < list->count; i++) {
    bool seen = false;
    if (!rendering_charge(r, i * datum_weight(items[i].key))) return false;
    for (size_t j = 0; j < i && !seen; j++) seen = datum_equal(items[j].key, items[i].key);
    if (!seen && !list_append(r, out->list, items[i].value)) return false;
  }
  return true;
}

static bool extreme(struct rendering *r, struct datum d, const struct arguments *a, bool largest, struct datum *out) {
  struct datum_list *list;
  struct sort_item *items;
  bool sensitive = argument_truth(a, 0, "case_sensitive", false);
  if (!datum_items(r, d, &list) || !sort_items(r, list, argument(a, 1, "attribute"), sensitive, &items)) return false;
  *out = datum_undefined(NULL);
  for (size_t i = 0, best = 0; i < list->count; i++) {
    bool better = i == 0;
    if (i && !goes_before(r, &items[best], &items[i], largest, &better)) return false;
    if (better) best = i;
    *out = items[best].value;
  }
  return true;
}

static bool filter_min(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  return extreme(r, d, a, false, out);
}

static bool filter_max(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  return extreme(r, d, a, true, out);
}

const struct jinja_filter select_filters[] = {
    {"map", "* **", filter_map},
    {"select", "* **", filter_select},
    {"reject", "* **", filter_reject},
    {"sort", "reverse? case_sensitive? attribute?", filter_sort},
    {"unique", "case_sensitive? attribute?", filter_unique},
    {"dictsort", "case_sensitive? by? reverse?", filter_dictsort},
    {"min", "case_sensitive? attribute?", filter_min},
    {"max", "case_sensitive? attribute?", filter_max},
    {"selectattr", "* **", filter_selectattr},
    {"rejectattr", "* **", filter_rejectattr},
    {NULL, NULL, NULL},
};
