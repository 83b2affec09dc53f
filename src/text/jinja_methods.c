/* Methods of maps, lists and loops, as Python names them; none that would change its object. Those of texts are in
 * jinja_text_methods.c. To add one: a function and a row of the table at the end. */
#include "text/jinja_rendering.h"

#include <stdio.h>

static bool map_get(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  const struct datum *fallback = argument(a, 1, NULL);
  if (!map_charge(r, a->items[0])) return false;
  const struct datum *found = map_find(self.map, a->items[0]);
  *out = found ? *found : fallback ? *fallback : datum_none();
  return true;
}

enum map_part { MAP_KEYS, MAP_VALUES, MAP_ITEMS };

static bool map_parts(struct rendering *r, const struct datum_map *map, enum map_part part, struct datum *out) {
  if (!list_new(r, map->count, out)) return false;
  out->list->form = FORM_VIEW;
  out->list->shown = part == MAP_KEYS ? "dict_keys" : part == MAP_VALUES ? "dict_values" : "dict_items";
  for (size_t i = 0; i < map->count; i++) {
    const struct map_entry *entry = &map->entries[i];
    struct datum item = part == MAP_KEYS ? entry->key : entry->value;
    if (part == MAP_ITEMS && !list_pair(r, entry->key, entry->value, &item)) return false;
    if (!list_append(r, out->list, item)) return false;
  }
  return true;
}

static bool map_keys(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return map_parts(r, self.map, MAP_KEYS, out);
}

static bool map_values(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return map_parts(r, self.map, MAP_VALUES, out);
}

static bool map_items(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return map_parts(r, self.map, MAP_ITEMS, out);
}

/* A new map of keys that all have one value. */
static bool map_fromkeys(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  struct datum value = a->count > 1 ? a->items[1] : datum_none();
  struct datum_list *keys;
  (void)self;
  if (!datum_items(r, a->items[0], &keys) || !map_new(r, keys->count, out)) return false;
  for (size_t i = 0; i < keys->count; i++)
    if (!map_set(r, out->map, keys->items[i], value)) return false;
  return true;
}

/* Nothing changes a list or a map, so that a copy is itself. */
static bool copy_self(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  *out = self;
  return rendering_charge(r, 1);
}

static bool list_count(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  int64_t count = 0;
  if (!rendering_charge(r, datum_weight(self))) return false;
  for (size_t i = 0; i < self.list->count; i++) count += datum_equal(self.list->items[i], a->items[0]);
  *out = datum_int(count);
  return true;
}

static bool list_index(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  size_t at = 0, end = self.list->count;
  for (size_t i = 1; i < a->count; i++)
    if (a->items[i].kind == DATUM_NONE) return rendering_fail(r, "index takes no None for a place");
  if (!rendering_charge(r, datum_weight(self)) || !argument_bound(r, a, 1, "start", "index", end, &at) ||
      !argument_bound(r, a, 2, "stop", "index", self.list->count, &end))
    return false;
  if (end > self.list->count) end = self.list->count;
  while (at < end && !datum_equal(self.list->items[at], a->items[0])) at++;
  *out = datum_int((int64_t)at);
  return at < end || rendering_fail(r, "index did not find its item");
}

static bool loop_cycle(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  if (a->count == 0) return rendering_fail(r, "cycle needs values");
  *out = a->items[self.loop->index % a->count];
  return true;
}

/* Whether the values are others than in the round that asked before. */
static bool loop_changed(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  struct datum values;
  if (!list_new(r, a->count, &values)) return false;
  for (size_t i = 0; i < a->count; i++)
    if (!list_append(r, values.list, a->items[i])) return false;
  if (!rendering_charge(r, datum_weight(values))) return false;
  *out = datum_bool(!datum_equal(self.loop->changed, values));
  self.loop->changed = values;
  return true;
}

static bool turn_next(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  struct turn *turn = self.turn;
  (void)a;
  if (turn->joins) return rendering_fail(r, "a joiner has no next");
  *out = turn->items->items[turn->at];
  turn->at = (turn->at + 1) % turn->items->count;
  return true;
}

static bool turn_reset(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  if (self.turn->joins) return rendering_fail(r, "a joiner has no reset");
  self.turn->at = 0;
  *out = datum_none();
  return true;
}

const struct jinja_method object_methods[] = {
    {DATUM_MAP, "get", "key default?/", map_get},
    {DATUM_MAP, "keys", "", map_keys},
    {DATUM_MAP, "values", "", map_values},
    {DATUM_MAP, "items", "", map_items},
    {DATUM_MAP, "copy", "", copy_self},
    {DATUM_MAP, "fromkeys", "iterable value?/", map_fromkeys},
    {DATUM_LIST, "copy", "", copy_self},
    {DATUM_LIST, "count", "value/", list_count},
    {DATUM_LIST, "index", "value start? stop?/", list_index},
    {DATUM_LOOP, "cycle", "*", loop_cycle},
    {DATUM_LOOP, "changed", "*", loop_changed},
    {DATUM_TURN, "next", "", turn_next},
    {DATUM_TURN, "reset", "", turn_reset},
    {0},
};

/* --- names without a method -------------------------------------------------------------------------------------- */

bool object_lacks(struct datum self, struct slice name) {
  static const struct {
    enum datum_kind kind;
    int form; /* of a LIST */
    const char *names;
  } rows[] = {
      {DATUM_TEXT, 0, " encode isidentifier maketrans translate "},
      {DATUM_INT, 0,
       " as_integer_ratio bit_count bit_length conjugate denominator from_bytes imag numerator real to_bytes "},
      {DATUM_FLOAT, 0, " as_integer_ratio conjugate fromhex hex imag is_integer real "},
      {DATUM_LIST, FORM_RANGE, " start step stop "},
      {DATUM_LIST, FORM_VIEW, " isdisjoint mapping "},
  };
  enum datum_kind kind = self.kind == DATUM_BOOL || self.kind == DATUM_BIG ? DATUM_INT : self.kind;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (rows[i].kind != kind || (kind == DATUM_LIST && (int)self.list->form != rows[i].form)) continue;
    char word[32];
    snprintf(word, sizeof word, " %.*s ", (int)(name.size < 24 ? name.size : 24), (const char *)name.data);
    return strstr(rows[i].names, word) != NULL;
  }
  return false;
}

bool object_forbids(struct slice name) {
  switch (name.size) {
  case 3: return slice_is(name, "pop");
  case 5: return slice_is(name, "clear");
  case 6: return slice_is(name, "update");
  case 7: return slice_is(name, "popitem");
  case 10: return slice_is(name, "setdefault");
  default: return false;
  }
}
