/* Maps of chat templates: entries in their order, found by hash where there are many. */
#include "text/jinja_rendering.h"

#include "base/limits.h"

#include <math.h>

enum { FEW = 8 /* entries that are looked through one by one */ };

bool map_new(struct rendering *r, size_t capacity, struct datum *out) {
  if (capacity > LIMIT_TEMPLATE_ITEMS) return rendering_fail(r, "a map has more than %d entries", LIMIT_TEMPLATE_ITEMS);
  struct datum_map *map = rendering_alloc(r, sizeof *map);
  if (!map) return false;
  *map = (struct datum_map){.extent = {.depth = 1, .weight = 1}, .capacity = capacity, .rendering = r};
  if (capacity && !(map->entries = rendering_alloc(r, capacity * sizeof *map->entries))) return false;
  *out = (struct datum){.kind = DATUM_MAP, .map = map};
  return true;
}

/* --- the index -------------------------------------------------------------------------------------------------- */

/* A double that is equal to a whole number of any size has its hash; those that differ share none. */
static uint64_t number_hash(struct datum key, const struct hash_key *hash_key) {
  double number = key.kind == DATUM_BIG ? big_number(key.text) : 0;
  datum_number(key, &number);
  if (!datum_equal(key, datum_float(number))) {
    if (key.kind == DATUM_BIG) return keyed_hash(hash_key, marked_slice(key.text)).low;
    if (key.kind == DATUM_INT) return keyed_hash(hash_key, slice_make(&key.integer, sizeof key.integer)).low;
    number = NAN; /* whatever its bits */
  }
  number += 0.0; /* -0.0 is 0.0 */
  return keyed_hash(hash_key, slice_make(&number, sizeof number)).low;
}

/* Equal keys have one hash: numbers by value whatever their kind, what is equal to itself alone by where it is. */
static uint64_t key_hash(struct datum key, const struct hash_key *hash_key) {
  if (key.kind == DATUM_TEXT) return keyed_hash(hash_key, marked_slice(key.text)).low;
  if (datum_is_number(key)) return number_hash(key, hash_key);
  if (key.kind == DATUM_UNDEFINED || key.kind == DATUM_NONE)
    return keyed_hash(hash_key, slice_make(&key.kind, sizeof key.kind)).low;
  if (key.kind != DATUM_LIST) return keyed_hash(hash_key, slice_make(&key.function, sizeof key.function)).low;
  struct hash_key next = *hash_key;
  next.low = keyed_hash(hash_key, slice_make(&key.list->count, sizeof key.list->count)).low;
  for (size_t i = 0; i < key.list->count; i++) next.low = key_hash(key.list->items[i], &next);
  return next.low;
}

/* The slot of the key's entry, or the empty one where it belongs; NULL: the budget is spent. */
static uint32_t *slot_find(const struct datum_map *map, struct datum key) {
  size_t at = key_hash(key, &map->rendering->key) & (map->n_slot - 1);
  while (map->slots[at] && !datum_same(map->entries[map->slots[at] - 1].key, key)) {
    if (!rendering_charge(map->rendering, datum_weight(key))) return NULL;
    at = (at + 1) & (map->n_slot - 1);
  }
  return &map->slots[at];
}

static bool slot_set(struct datum_map *map, size_t index) {
  uint32_t *slot = slot_find(map, map->entries[index].key);
  if (slot) *slot = (uint32_t)(index + 1);
  return slot != NULL;
}

/* Room for twice the entries, so that a half of the slots stays empty. */
static bool index_grow(struct rendering *r, struct datum_map *map) {
  size_t wanted = 2 * FEW;
  while (wanted < 2 * map->capacity || wanted < 2 * map->count) wanted *= 2;
  if (!rendering_charge(r, 1 + map->count)) return false;
  if (!(map->slots = rendering_alloc(r, wanted * sizeof *map->slots))) return false;
  map->n_slot = wanted;
  for (size_t i = 0; i < map->count; i++)
    if (!slot_set(map, i)) return false;
  return true;
}

static bool index_add(struct rendering *r, struct datum_map *map) {
  if (map->count <= FEW) return true;
  if (2 * map->count > map->n_slot) return index_grow(r, map);
  return slot_set(map, map->count - 1);
}

/* --- entries ---------------------------------------------------------------------------------------------------- */

bool map_append(struct rendering *r, struct datum_map *map, struct datum key, struct datum value) {
  void *entries = map->entries;
  if (!rendering_charge(r, 1 + datum_weight(key))) return false;
  if (!collection_grow(r, &entries, map->count, &map->capacity, sizeof *map->entries)) return false;
  map->entries = entries;
  map->entries[map->count++] = (struct map_entry){key, value};
  return index_add(r, map) && collection_extend(r, &map->extent, key) && collection_extend(r, &map->extent, value);
}

bool map_set(struct rendering *r, struct datum_map *map, struct datum key, struct datum value) {
  if (!map_charge(r, key)) return false;
  struct datum *old = (struct datum *)map_find(map, key);
  if (!old) return map_append(r, map, key, value);
  map->extent.weight -= datum_weight(*old); /* nobody has counted the map yet, and nobody counts a namespace */
  *old = value;
  return collection_extend(r, &map->extent, value);
}

bool datum_is_key(struct datum d) {
  if (d.kind == DATUM_MAP || (d.kind == DATUM_LIST && d.list->form != FORM_TUPLE)) return false;
  for (size_t i = 0; d.kind == DATUM_LIST && i < d.list->count; i++)
    if (!datum_is_key(d.list->items[i])) return false;
  return true;
}

bool map_charge(struct rendering *r, struct datum key) {
  if (!rendering_charge(r, 1 + datum_weight(key))) return false;
  return datum_is_key(key) || rendering_fail(r, "a %s cannot be the key of a map", datum_kind_name(key));
}

const struct datum *map_find(const struct datum_map *map, struct datum key) {
  if (map->slots) {
    const uint32_t *slot = slot_find(map, key);
    return slot && *slot ? &map->entries[*slot - 1].value : NULL;
  }
  for (size_t i = 0; i < map->count; i++)
    if (datum_same(map->entries[i].key, key)) return &map->entries[i].value;
  return NULL;
}

const struct datum *map_find_name(const struct datum_map *map, struct slice name) {
  struct marked text = {.bytes = name.data, .size = name.size};
  return map_find(map, (struct datum){.kind = DATUM_TEXT, .text = &text});
}
