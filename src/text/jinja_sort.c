/* Filters that order items. */
#include "text/jinja_filters.h"

#include "text/jinja_text.h"

struct sort_item {
  struct datum key, value;
};

/* How items are compared. */
struct sort_way {
  const struct datum *path;     /* of an attribute; NULL: themselves */
  const struct datum *fallback; /* where it is undefined; may be NULL */
  bool sensitive;               /* else texts in lower case */
};

static bool sort_key(struct rendering *r, struct datum item, const struct sort_way *way, struct datum path,
                     struct datum *key) {
  if (!follow_path(r, item, path, way->fallback, key)) return false;
  return key->kind != DATUM_TEXT || way->sensitive || text_recase(r, *key->text, CASE_LOWER, key);
}

/* Of a path with commas all parts, as a list. */
static bool sort_keys(struct rendering *r, struct datum item, const struct sort_way *way, struct datum *key) {
  static const struct marked comma = {(const uint8_t *)",", NULL, 1};
  const struct marked *path = way->path && way->path->kind == DATUM_TEXT ? way->path->text : NULL;
  if (!way->path || way->path->kind == DATUM_NONE) {
    *key = item;
    return item.kind != DATUM_TEXT || way->sensitive || text_recase(r, *item.text, CASE_LOWER, key);
  }
  if (!path || text_find(*path, 0, comma) == SIZE_MAX) return sort_key(r, item, way, *way->path, key);
  if (!list_new(r, 2, key)) return false;
  for (size_t at = 0; at <= path->size;) {
    size_t found = text_find(*path, at, comma), end = found == SIZE_MAX ? path->size : found;
    struct datum part, value;
    if (!datum_marked(r, marked_part(*path, at, end), &part) || !sort_key(r, item, way, part, &value)) return false;
    if (!list_append(r, key->list, value)) return false;
    at = end + 1;
  }
  return true;
}

/* Items with what they are compared by. */
static bool sort_items(struct rendering *r, const struct datum_list *list, const struct sort_way *way,
                       struct sort_item **items) {
  *items = rendering_alloc(r, 2 * list->count * sizeof **items); /* the second half is for merging */
  if (!*items || !rendering_charge(r, list->count)) return false;
  for (size_t i = 0; i < list->count; i++) {
    struct datum key;
    if (!sort_keys(r, list->items[i], way, &key)) return false;
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
  bool sensitive = argument_truth(a, 1, "case_sensitive", false);
  int64_t reverse = false;
  const struct sort_way way = {.path = argument(a, 2, "attribute"), .sensitive = sensitive};
  return argument_int(r, a, 0, "reverse", "sort", &reverse) && datum_items(r, d, &list) &&
         sort_items(r, list, &way, &items) && sorted_list(r, items, list->count, reverse != 0, out);
}

static bool filter_dictsort(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *by = argument(a, 1, "by");
  if (by && !datum_is_text(*by, "value") && !datum_is_text(*by, "key"))
    return rendering_fail(r, "dictsort sorts by \"key\" or \"value\"");
  const struct datum place = datum_int(by && datum_is_text(*by, "value"));
  const struct sort_way way = {.path = &place, .sensitive = argument_truth(a, 0, "case_sensitive", false)};
  int64_t reverse = false;
  struct sort_item *items;
  struct datum pairs, pair;
  if (!argument_int(r, a, 2, "reverse", "dictsort", &reverse)) return false;
  if (d.kind != DATUM_MAP) return rendering_fail(r, "dictsort needs a map, not a %s", datum_kind_name(d));
  if (!list_new(r, d.map->count, &pairs)) return false;
  for (size_t i = 0; i < d.map->count; i++)
    if (!list_pair(r, d.map->entries[i].key, d.map->entries[i].value, &pair) || !list_append(r, pairs.list, pair))
      return false;
  return sort_items(r, pairs.list, &way, &items) && sorted_list(r, items, pairs.list->count, reverse != 0, out);
}

static bool filter_unique(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct datum_list *list;
  struct sort_item *items;
  const struct sort_way way = {.path = argument(a, 1, "attribute"),
                               .sensitive = argument_truth(a, 0, "case_sensitive", false)};
  if (!datum_items(r, d, &list) || !sort_items(r, list, &way, &items)) return false;
  if (!list_new(r, 0, out)) return false;
  out->list->form = FORM_GENERATOR;
  for (size_t i = 0; i < list->count; i++) {
    bool seen = false;
    if (!datum_is_key(items[i].key)) return rendering_fail(r, "unique compares no %s", datum_kind_name(items[i].key));
    if (!rendering_charge(r, i * datum_weight(items[i].key))) return false;
    for (size_t j = 0; j < i && !seen; j++) seen = datum_equal(items[j].key, items[i].key);
    if (!seen && !list_append(r, out->list, items[i].value)) return false;
  }
  return true;
}

/* (what they share, the items) for each value of an attribute, in order. */
static bool filter_groupby(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct sort_way way = {.path = argument(a, 0, "attribute"),
                         .fallback = argument(a, 1, "default"),
                         .sensitive = argument_truth(a, 2, "case_sensitive", false)};
  struct datum_list *list;
  struct sort_item *items;
  struct datum shared, members, group;
  if (way.fallback && way.fallback->kind == DATUM_NONE) way.fallback = NULL;
  if (!datum_items(r, d, &list) || !sort_items(r, list, &way, &items)) return false;
  if (!merge_sort(r, &items, list->count, false) || !list_new(r, 0, out)) return false;
  const struct sort_way as_it_is = {.path = way.path, .fallback = way.fallback, .sensitive = true};
  for (size_t at = 0, end; at < list->count; at = end) {
    if (!sort_keys(r, items[at].value, &as_it_is, &shared) || !list_new(r, 1, &members)) return false;
    for (end = at; end < list->count && (end == at || datum_equal(items[end].key, items[at].key)); end++)
      if (!rendering_charge(r, datum_weight(items[at].key)) || !list_append(r, members.list, items[end].value))
        return false;
    if (!list_pair(r, shared, members, &group) || !list_append(r, out->list, group)) return false;
    group.list->is_group = true;
  }
  return true;
}

static bool extreme(struct rendering *r, struct datum d, const struct arguments *a, bool largest, struct datum *out) {
  struct datum_list *list;
  struct sort_item *items;
  const struct sort_way way = {.path = argument(a, 1, "attribute"),
                               .sensitive = argument_truth(a, 0, "case_sensitive", false)};
  if (!datum_items(r, d, &list) || !sort_items(r, list, &way, &items)) return false;
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

const struct jinja_filter sort_filters[] = {
    {"sort", "reverse? case_sensitive? attribute?", filter_sort},
    {"unique", "case_sensitive? attribute?", filter_unique},
    {"dictsort", "case_sensitive? by? reverse?", filter_dictsort},
    {"groupby", "attribute default? case_sensitive?", filter_groupby},
    {"min", "case_sensitive? attribute?", filter_min},
    {"max", "case_sensitive? attribute?", filter_max},
    {NULL, NULL, NULL},
};
