/* Attributes, items, slices, and what loops go over. */
#include "text/jinja_rendering.h"

#include "base/limits.h"

/* --- attributes ------------------------------------------------------------------------------------------------- */

static struct datum loop_item(const struct loop_state *loop, size_t index) {
  return index < loop->items->count ? loop->items->items[index] : datum_undefined(NULL);
}

/* Numbers, by name; false when there is none of it. */
static bool loop_number(const struct loop_state *loop, struct slice name, struct datum *out) {
  int64_t count = (int64_t)loop->items->count, index = (int64_t)loop->index;
  const struct {
    const char *name;
    int64_t value;
  } numbers[] = {
      {"index0", index}, {"index", index + 1},    {"revindex0", count - index - 1}, {"revindex", count - index},
      {"length", count}, {"depth0", loop->depth}, {"depth", loop->depth + 1},
  };
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    if (!slice_is(name, numbers[i].name)) continue;
    *out = datum_int(numbers[i].value);
    return true;
  }
  return false;
}

static struct datum loop_attribute(const struct loop_state *loop, const struct slice *name) {
  struct datum number;
  if (slice_is(*name, "first")) return datum_bool(loop->index == 0);
  if (slice_is(*name, "last")) return datum_bool(loop->index + 1 == loop->items->count);
  if (slice_is(*name, "previtem")) return loop_item(loop, loop->index - 1); /* SIZE_MAX is beyond every list */
  if (slice_is(*name, "nextitem")) return loop_item(loop, loop->index + 1);
  return loop_number(loop, *name, &number) ? number : datum_undefined(name);
}

static bool bind_method(struct rendering *r, struct datum self, struct slice name, struct datum *out, bool *found) {
  bool bare = self.kind == DATUM_LIST && (self.list->form > FORM_RANGE || /* it has none */
                                          (self.list->form != FORM_LIST && slice_is(name, "copy")));
  const struct jinja_method *method = bare ? NULL : method_find(self, name);
  *found = method != NULL;
  if (!method) return true;
  struct bound_method *bound = rendering_alloc(r, sizeof *bound);
  if (!bound) return false;
  *bound = (struct bound_method){method, self};
  *out = (struct datum){.kind = DATUM_METHOD, .method = bound};
  return true;
}

static bool undefined_object(struct rendering *r, struct datum object) {
  if (!object.missing) return rendering_fail(r, "an undefined value has no attributes");
  return rendering_fail(r, "'%.*s' is undefined", SLICE_ARGS(*object.missing));
}

static bool macro_attribute(struct rendering *r, const struct macro *macro, const struct slice *name,
                            struct datum *out) {
  const struct node *node = macro->node;
  static const struct {
    const char *name;
    unsigned use;
  } uses[] = {{"catch_varargs", USES_VARARGS}, {"catch_kwargs", USES_KWARGS}, {"caller", USES_CALLER}};
  for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
    if (!slice_is(*name, uses[i].name)) continue;
    *out = datum_bool((node->uses & uses[i].use) != 0);
    return true;
  }
  *out = datum_undefined(name);
  if (slice_is(*name, "name")) {
    *out = datum_none();
    return node->kind != NODE_MACRO || datum_text(r, node->name, out);
  }
  if (!slice_is(*name, "arguments")) return true;
  if (!list_new(r, node->others.count, out)) return false;
  out->list->form = FORM_TUPLE;
  for (size_t i = 0; i < node->others.count; i++) {
    struct datum parameter;
    if (!datum_text(r, node->others.at[i]->name, &parameter) || !list_append(r, out->list, parameter)) return false;
  }
  return true;
}

bool eval_attribute(struct rendering *r, struct datum object, const struct slice *name, struct datum *out) {
  bool found = false;
  const struct datum *entry = NULL;
  if (object.kind == DATUM_UNDEFINED) return undefined_object(r, object);
  if (object.kind == DATUM_MACRO) return macro_attribute(r, object.macro, name, out);
  if (object.kind == DATUM_FUNCTION && strcmp(object.function->name, "dict") == 0) /* it has fromkeys, as maps do */
    if (slice_is(*name, "fromkeys") && !map_new(r, 0, &object)) return false;
  if (!bind_method(r, object, *name, out, &found)) return false;
  if (found) return true;
  if (object.kind != DATUM_MAP && object_lacks(object, *name))
    return rendering_fail(r, "%.*s of a %s is not given here", SLICE_ARGS(*name), datum_kind_name(object));
  if (object.kind == DATUM_NAMESPACE || (object.kind == DATUM_MAP && !object_forbids(*name))) {
    if (!rendering_charge_bytes(r, name->size)) return false;
    entry = map_find_name(object.map, *name);
  }
  bool group = object.kind == DATUM_LIST && object.list->is_group;
  if (group && (slice_is(*name, "grouper") || slice_is(*name, "list")))
    *out = object.list->items[slice_is(*name, "list")];
  else if (object.kind == DATUM_TURN && !object.turn->joins && slice_is(*name, "current"))
    *out = object.turn->items->items[object.turn->at];
  else if (object.kind == DATUM_LOOP)
    *out = loop_attribute(object.loop, name);
  else
    *out = entry ? *entry : datum_undefined(name);
  return true;
}

/* --- items ------------------------------------------------------------------------------------------------------ */

/* The name that a missing key leaves behind for a sentence. */
static bool missing_key(struct rendering *r, struct datum key, struct datum *out) {
  struct slice *name = NULL;
  if (key.kind == DATUM_TEXT) {
    if (!(name = rendering_alloc(r, sizeof *name))) return false;
    *name = marked_slice(key.text);
  }
  *out = datum_undefined(name);
  return true;
}

/* An index from the end is negative; false: out of range. */
static bool index_within(int64_t *index, size_t count) {
  if (*index < 0) *index += (int64_t)count;
  return *index >= 0 && (uint64_t)*index < count;
}

static bool text_item(struct rendering *r, const struct marked *text, bool html, int64_t index, struct datum *out) {
  if (!rendering_charge_bytes(r, 2 * text->size)) return false;
  if (!index_within(&index, marked_length(*text))) return missing_key(r, datum_none(), out);
  size_t start = marked_offset(*text, 0, (size_t)index);
  if (!datum_marked(r, marked_part(*text, start, marked_offset(*text, start, 1)), out)) return false;
  out->html = html;
  return true;
}

bool eval_item(struct rendering *r, struct datum object, struct datum key, struct datum *out) {
  if (object.kind == DATUM_UNDEFINED) return undefined_object(r, object);
  if (key.kind == DATUM_BOOL && object.kind != DATUM_MAP) key = datum_int(key.truth);
  if (key.kind == DATUM_INT && object.kind == DATUM_TEXT)
    return text_item(r, object.text, object.html, key.integer, out);
  if (key.kind == DATUM_INT && object.kind == DATUM_LIST && object.list->form <= FORM_RANGE) {
    int64_t index = key.integer;
    *out = index_within(&index, object.list->count) ? object.list->items[index] : datum_undefined(NULL);
    return true;
  }
  if (object.kind == DATUM_MAP && datum_is_key(key)) {
    if (!rendering_charge(r, datum_weight(key))) return false;
    const struct datum *entry = map_find(object.map, key);
    if (entry) {
      *out = *entry;
      return true;
    }
  }
  if (key.kind != DATUM_TEXT) return missing_key(r, key, out);
  struct slice *name = rendering_alloc(r, sizeof *name);
  if (!name) return false;
  *name = marked_slice(key.text);
  return eval_attribute(r, object, name, out);
}

/* --- slices ----------------------------------------------------------------------------------------------------- */

struct slice_range {
  int64_t start, step;
  size_t count;
};

static int64_t clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

/* Python's rules for bounds that are left out, negative or beyond the ends. */
static bool slice_range(struct rendering *r, const struct datum bounds[3], size_t length, struct slice_range *range) {
  int64_t values[3] = {0, 0, 1}, size = (int64_t)length;
  for (int i = 0; i < 3; i++) {
    if (bounds[i].kind == DATUM_NONE) continue;
    if (bounds[i].kind != DATUM_INT && bounds[i].kind != DATUM_BOOL)
      return rendering_fail(r, "a slice needs whole numbers, not a %s", datum_kind_name(bounds[i]));
    values[i] = bounds[i].kind == DATUM_INT ? bounds[i].integer : bounds[i].truth;
  }
  int64_t step = clamp(values[2], -size - 1, size + 1);
  if (step == 0) return rendering_fail(r, "the step of a slice is 0");
  int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  int64_t ends[2] = {step > 0 ? low : high, step > 0 ? high : low};
  for (int i = 0; i < 2; i++)
    if (bounds[i].kind != DATUM_NONE)
      ends[i] = clamp(values[i] < 0 ? clamp(values[i], -size - 1, 0) + size : values[i], low, high);
  int64_t distance = step > 0 ? ends[1] - ends[0] : ends[0] - ends[1], stride = step > 0 ? step : -step;
  *range = (struct slice_range){ends[0], step, distance > 0 ? (size_t)((distance + stride - 1) / stride) : 0};
  return true;
}

static bool slice_text_value(struct rendering *r, const struct marked *text, const struct datum bounds[3],
                             struct datum *out) {
  struct slice_range range;
  size_t length = marked_length(*text);
  if (!rendering_charge_bytes(r, 2 * text->size) || !slice_range(r, bounds, length, &range)) return false;
  if (range.step == 1) {
    size_t start = marked_offset(*text, 0, (size_t)range.start);
    return datum_marked(r, marked_part(*text, start, marked_offset(*text, start, range.count)), out);
  }
  size_t *offsets = rendering_alloc(r, (length + 1) * sizeof *offsets);
  if (!offsets || !rendering_charge(r, length)) return false;
  for (size_t i = 0; i < length; i++) offsets[i + 1] = marked_offset(*text, offsets[i], 1);
  struct builder b = {0};
  for (size_t i = 0; i < range.count; i++) {
    int64_t at = range.start + (int64_t)i * range.step;
    if (!builder_marked(r, &b, marked_part(*text, offsets[at], offsets[at + 1]))) return false;
  }
  return builder_take(r, &b, out);
}

bool eval_slice(struct rendering *r, struct datum object, const struct datum bounds[3], struct datum *out) {
  struct slice_range range;
  if (object.kind == DATUM_UNDEFINED) return undefined_object(r, object);
  if (object.kind == DATUM_TEXT) {
    if (!slice_text_value(r, object.text, bounds, out)) return false;
    out->html = object.html;
    return true;
  }
  if (object.kind != DATUM_LIST || object.list->form > FORM_RANGE)
    return rendering_fail(r, "a %s cannot be sliced", datum_kind_name(object));
  if (!slice_range(r, bounds, object.list->count, &range) || !list_new(r, range.count, out)) return false;
  out->list->form = object.list->form;
  for (size_t i = 0; i < range.count; i++)
    if (!list_append(r, out->list, object.list->items[range.start + (int64_t)i * range.step])) return false;
  return true;
}

/* --- items to loop over ----------------------------------------------------------------------------------------- */

static bool text_characters(struct rendering *r, const struct marked *text, struct datum_list *list) {
  for (size_t at = 0, end; at < text->size; at = end) {
    struct datum character;
    end = marked_offset(*text, at, 1);
    if (!datum_marked(r, marked_part(*text, at, end), &character) || !list_append(r, list, character)) return false;
  }
  return true;
}

bool datum_items(struct rendering *r, struct datum d, struct datum_list **items) {
  static const struct datum_list nothing = {.form = FORM_TUPLE};
  struct datum list;
  *items = (struct datum_list *)&nothing; /* what a caller finds who goes on after a failure */
  if (d.kind == DATUM_LIST) {
    *items = d.list;
    return true;
  }
  if (!list_new(r, 0, &list)) return false;
  *items = list.list;
  if (d.kind == DATUM_UNDEFINED) return true;
  if (d.kind == DATUM_TEXT) return text_characters(r, d.text, list.list);
  if (d.kind != DATUM_MAP) return rendering_fail(r, "a %s is nothing to go over", datum_kind_name(d));
  for (size_t i = 0; i < d.map->count; i++)
    if (!list_append(r, list.list, d.map->entries[i].key)) return false;
  return true;
}
