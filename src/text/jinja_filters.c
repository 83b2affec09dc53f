/* Filters of lists and of any value. To add one: a function and a row of the table at the end. */
#include "text/jinja_filters.h"
#include "text/jinja_html.h"
#include "text/jinja_text.h"

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
  if (d.html && items->count) html_mark(out); /* the last is looked up, where the first is gone over */
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
  if (d.kind != DATUM_TEXT) return true;
  if (!text_join(r, out->list, (struct marked){0}, out)) return false;
  out->html = d.html;
  return true;
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

/* So many lists of about the same length. */
static bool filter_slice(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *fill = argument(a, 1, "fill_with");
  struct datum_list *items;
  int64_t slices = 0;
  if (!argument_int(r, a, 0, "slices", "slice", &slices) || !datum_items(r, d, &items)) return false;
  if (slices < 1) return rendering_fail(r, "slice needs a number of slices of at least 1");
  size_t each = items->count / (size_t)slices, longer = items->count % (size_t)slices, at = 0;
  if (!list_new(r, 0, out)) return false;
  out->list->form = FORM_GENERATOR;
  for (size_t i = 0; i < (size_t)slices; i++) {
    struct datum part;
    size_t end = at + each + (i < longer);
    if (!list_new(r, each + 1, &part)) return false;
    for (; at < end; at++)
      if (!list_append(r, part.list, items->items[at])) return false;
    if (fill && fill->kind != DATUM_NONE && i >= longer && !list_append(r, part.list, *fill)) return false;
    if (!list_append(r, out->list, part)) return false;
  }
  return true;
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
  if (start && start->kind == DATUM_TEXT) return rendering_fail(r, "sum adds no texts: join does");
  *out = start ? *start : datum_int(0);
  for (size_t i = 0; i < items->count; i++)
    if (!rendering_charge(r, 1) || !eval_binary(r, OPERATOR_ADD, *out, items->items[i], out)) return false;
  return true;
}

static bool filter_random(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  (void)d, (void)a, (void)out;
  return rendering_fail(r, "random would give the same messages other prompts");
}

const struct jinja_filter value_filters[] = {
    {"default", "default_value? boolean?", filter_default},
    {"d", "default_value? boolean?", filter_default},
    {"length", "", filter_length},
    {"count", "", filter_length},
    {"attr", "name", filter_attr},
    {"first", "", filter_first},
    {"last", "", filter_last},
    {"list", "", filter_list},
    {"reverse", "", filter_reverse},
    {"join", "d? attribute?", filter_join},
    {"items", "", filter_items},
    {"batch", "linecount fill_with?", filter_batch},
    {"slice", "slices fill_with?", filter_slice},
    {"sum", "attribute? start?", filter_sum},
    {"random", "", filter_random},
    {NULL, NULL, NULL},
};
