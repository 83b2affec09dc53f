/* Maps of chat templates: entries in their order, found by hash where there are many. */
#include "text/jinja_rendering.h"

#include "base/limits.h"

enum { FEW = 8 /* entries that are looked through one by one */ };

bool map_new(struct rendering *r, size_t capacity, struct datum *out) {
  if (capacity > LIMIT_TEMPLATE_ITEMS) return rendering_fail(r, "a map has more than %d entries", LIMIT_TEMPLATE_ITEMS);
  struct datum_map *map = rendering_alloc(r, sizeof *map);
  if (!map) return false;
  *map = (struct datum_map){.extent = {.depth = 1, .weight = 1}, .capacity = capacity, .hash_key = &r->key};
  if (capacity && !(map->entries = rendering_alloc(r, capacity * sizeof *map->entries))) return false;
  *out = (struct datum){.kind = DATUM_MAP, .map = map};
  return true;
}

/* --- the index -------------------------------------------------------------------------------------------------- */

/* Equal keys have one hash: numbers by value whatever their kind, what is equal to itself alone by where it is. */
static uint64_t key_hash(struct datum key, const struct hash_key *hash_key) {
  double number;
  if (key.kind == DATUM_TEXT) return keyed_hash(hash_key, marked_slice(key.text)).low;
  if (datum_number(key, &number) || (key.kind == DATUM_BIG && (number = big_number(key.text), true))) {
    number += 0.0; /* -0.0 is 0.0 */
    return keyed_hash(hash_key, slice_make(&number, sizeof number)).low;
  }
  if (key.kind == DATUM_UNDEFINED || key.kind == DATUM_NONE) return hash_key->low;
  if (key.kind != DATUM_LIST) return keyed_hash(hash_key, slice_make(&key.function, sizeof key.function)).low;
  struct hash_key next = *hash_key;
  for (size_t i = 0; i < key.list->count; i++) next.low = key_hash(key.list->items[i], &next);
  return next.low;
}

/* The slot of the key's entry, or the empty one where it belongs. */
static uint32_t *slot_find(const struct datum_map *map, struct datum key) {
  size_t at = key_hash(key, map->hash_key) & (map->n_slot - 1);
  while (map->slots[at] && !datum_equal(map->entries[map->slots[at] - 1].key, key)) at = (at + 1) & (map->n_slot - 1);
  return &map->slots[at];
}

/* Room for twice the entries, so that a half of the slots stays empty. */
static bool index_grow(struct rendering *r, struct datum_map *map) {
  size_t wanted = 2 * FEW;
  while (wanted < 2 * map->capacity || wanted < 2 * map->count) wanted *= 2;
  if (!rendering_charge(r, 1 + map->count)) return false;
  if (!(map->slots = rendering_alloc(r, wanted * sizeof *map->slots))) return false;
  map->n_slot = wanted;
  for (size_t i = 0; i < map->count; i++) *slot_find(map, map->entries[i].key) = (uint32_t)(i + 1);
  return true;
}

static bool index_add(struct rendering *r, struct datum_map *map) {
  if (map->count <= FEW) return true;
  if (2 * map->count > map->n_slot) return index_grow(r, map);
  *slot_find(map, map->entries[map->count - 1].key) = (uint32_t)map->count;
  return true;
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
    uint32_t slot = *slot_find(map, key);
    return slot ? &map->entries[slot - 1].value : NULL;
  }
  for (size_t i = 0; i < map->count; i++)
    if (datum_equal(map->entries[i].key, key)) return &map->entries[i].value;
  return NULL;
}

const struct datum *map_find_name(const struct datum_map *map, struct slice name) {
  struct marked text = {.bytes = name.data, .size = name.size};
  return map_find(map, (struct datum){.kind = DATUM_TEXT, .text = &text});
}
