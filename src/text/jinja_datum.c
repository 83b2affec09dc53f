/* Values of chat templates: truth, equality, order; lists. */
#include "text/jinja_rendering.h"

#include "base/limits.h"

#include <math.h>

const char *datum_kind_name(struct datum d) {
  static const char *const names[DATUM_KINDS] = {
      "undefined", "None", "bool",     "int",    "float", "int of more than 64 bits", "str",     "list", "dict",
      "namespace", "loop", "function", "method", "macro", "cycler or joiner",         "nothing",
  };
  static const char *const forms[] = {"list", "tuple", "range", "dict view", "generator"};
  if (d.kind == DATUM_LIST) return forms[d.list->form];
  return names[d.kind];
}

bool datum_truth(struct datum d) {
  switch (d.kind) {
  case DATUM_UNDEFINED:
  case DATUM_NONE: return false;
  case DATUM_BOOL: return d.truth;
  case DATUM_INT: return d.integer != 0;
  case DATUM_FLOAT: return d.number != 0;
  case DATUM_BIG: return true;
  case DATUM_TEXT: return d.text->size > 0;
  case DATUM_LIST: return d.list->count > 0 || d.list->form == FORM_GENERATOR;
  case DATUM_MAP: return d.map->count > 0;
  default: return true;
  }
}

bool datum_number(struct datum d, double *number) {
  if (d.kind == DATUM_FLOAT)
    *number = d.number;
  else if (d.kind == DATUM_INT)
    *number = (double)d.integer;
  else if (d.kind == DATUM_BOOL)
    *number = d.truth;
  else
    return false;
  return true;
}

static bool lists_equal(const struct datum_list *a, const struct datum_list *b) {
  if (a->form != b->form || a->count != b->count) return a == b;
  for (size_t i = 0; i < a->count; i++)
    if (!datum_same(a->items[i], b->items[i])) return false;
  return true;
}

static bool maps_equal(const struct datum_map *a, const struct datum_map *b) {
  if (a->count != b->count) return false;
  for (size_t i = 0; i < a->count; i++) {
    const struct datum *other = map_find(b, a->entries[i].key);
    if (!other || !datum_same(a->entries[i].value, *other)) return false;
  }
  return true;
}

/* A double holds whole numbers up to 2^53 exactly. */
static bool is_exact(struct datum d, double *number) {
  return datum_number(d, number) && (d.kind == DATUM_FLOAT || fabs(*number) < 0x1p53);
}

static bool numbers_equal(struct datum a, struct datum b) {
  double x, y;
  if (a.kind == DATUM_INT && b.kind == DATUM_INT) return a.integer == b.integer;
  return is_exact(a, &x) && is_exact(b, &y) ? x == y : big_equal(a, b);
}

static bool is_nan(struct datum d) { return d.kind == DATUM_FLOAT && isnan(d.number); }

bool datum_same(struct datum a, struct datum b) { return datum_equal(a, b) || (is_nan(a) && is_nan(b)); }

bool datum_equal(struct datum a, struct datum b) {
  if (datum_is_number(a) && datum_is_number(b)) return numbers_equal(a, b);
  if (a.kind != b.kind) return false;
  switch (a.kind) {
  case DATUM_UNDEFINED:
  case DATUM_NONE: return true;
  case DATUM_TEXT: return slice_equal(marked_slice(a.text), marked_slice(b.text));
  case DATUM_LIST: return lists_equal(a.list, b.list);
  case DATUM_MAP: return maps_equal(a.map, b.map);
  case DATUM_NAMESPACE: return a.map == b.map;
  case DATUM_MACRO: return a.macro == b.macro;
  case DATUM_TURN: return a.turn == b.turn;
  case DATUM_FUNCTION: return a.function == b.function;
  case DATUM_METHOD: return a.method == b.method;
  case DATUM_LOOP: return a.loop == b.loop;
  default: return false;
  }
}

static int order_bytes(struct slice a, struct slice b) {
  size_t size = a.size < b.size ? a.size : b.size;
  int order = size ? memcmp(a.data, b.data, size) : 0; /* UTF-8 sorts like its characters */
  return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* The first items that differ decide. */
static bool order_lists(struct rendering *r, const struct datum_list *a, const struct datum_list *b, int *order) {
  for (size_t i = 0; i < a->count && i < b->count; i++) {
    if (datum_same(a->items[i], b->items[i])) continue;
    return datum_order(r, a->items[i], b->items[i], order);
  }
  *order = (a->count > b->count) - (a->count < b->count);
  return true;
}

bool datum_order(struct rendering *r, struct datum a, struct datum b, int *order) {
  double x, y;
  if (!rendering_charge(r, 2 * datum_weight(a))) return false; /* as often as lists are nested */
  if (a.kind == DATUM_INT && b.kind == DATUM_INT) {
    *order = (a.integer > b.integer) - (a.integer < b.integer);
    return true;
  }
  if (datum_is_number(a) && datum_is_number(b) && (is_nan(a) || is_nan(b)))
    return rendering_fail(r, "a value that is no number is in no order");
  if (is_exact(a, &x) && is_exact(b, &y)) {
    *order = (x > y) - (x < y);
    return true;
  }
  if (datum_is_number(a) && datum_is_number(b)) {
    *order = big_order(a, b);
    return true;
  }
  if (a.kind == DATUM_TEXT && b.kind == DATUM_TEXT) {
    *order = order_bytes(marked_slice(a.text), marked_slice(b.text));
    return true;
  }
  if (a.kind == DATUM_LIST && b.kind == DATUM_LIST && a.list->form == b.list->form && a.list->form <= FORM_TUPLE)
    return order_lists(r, a.list, b.list, order);
  return rendering_fail(r, "a %s and a %s cannot be ordered", datum_kind_name(a), datum_kind_name(b));
}

/* --- lists ------------------------------------------------------------------------------------------------------ */

static struct extent extent_of(struct datum d) {
  switch (d.kind) {
  case DATUM_LIST: return d.list->extent;
  case DATUM_MAP: return d.map->extent;
  case DATUM_BIG: return (struct extent){.weight = 1 + d.text->size / 8};
  case DATUM_TEXT: return (struct extent){.weight = 1 + d.text->size / 64};
  default: return (struct extent){.weight = 1};
  }
}

size_t datum_weight(struct datum d) { return extent_of(d).weight; }

/* Values nest and share: a list of a list twice, and so on, is short to write and endless to walk. */
bool collection_extend(struct rendering *r, struct extent *extent, struct datum inner) {
  struct extent added = extent_of(inner);
  extent->weight += added.weight;
  if (added.depth + 1 > extent->depth) extent->depth = added.depth + 1;
  if (extent->depth > LIMIT_TEMPLATE_DEPTH)
    return rendering_fail(r, "its values nest deeper than %d levels", LIMIT_TEMPLATE_DEPTH);
  return extent->weight <= LIMIT_TEMPLATE_STEPS || rendering_charge(r, LIMIT_TEMPLATE_STEPS);
}

bool collection_grow(struct rendering *r, void **items, size_t count, size_t *capacity, size_t size) {
  if (count < *capacity) return true;
  if (count >= LIMIT_TEMPLATE_ITEMS) return rendering_fail(r, "a list has more than %d items", LIMIT_TEMPLATE_ITEMS);
  size_t larger = *capacity ? 2 * *capacity : 4;
  void *copy = rendering_alloc(r, larger * size);
  if (!copy) return false;
  if (count) memcpy(copy, *items, count * size);
  *items = copy;
  *capacity = larger;
  return true;
}

bool list_new(struct rendering *r, size_t capacity, struct datum *out) {
  if (capacity > LIMIT_TEMPLATE_ITEMS) return rendering_fail(r, "a list has more than %d items", LIMIT_TEMPLATE_ITEMS);
  struct datum_list *list = rendering_alloc(r, sizeof *list);
  if (!list) return false;
  *list = (struct datum_list){.extent = {.depth = 1, .weight = 1}, .capacity = capacity};
  if (capacity && !(list->items = rendering_alloc(r, capacity * sizeof *list->items))) return false;
  *out = (struct datum){.kind = DATUM_LIST, .list = list};
  return true;
}

bool list_append(struct rendering *r, struct datum_list *list, struct datum item) {
  void *items = list->items;
  if (!rendering_charge(r, 1) || !collection_grow(r, &items, list->count, &list->capacity, sizeof item)) return false;
  list->items = items;
  list->items[list->count++] = item;
  return collection_extend(r, &list->extent, item);
}

bool list_pair(struct rendering *r, struct datum first, struct datum second, struct datum *out) {
  if (!list_new(r, 2, out)) return false;
  out->list->form = FORM_TUPLE;
  return list_append(r, out->list, first) && list_append(r, out->list, second);
}
