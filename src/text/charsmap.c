/* Precompiled normalization rules: units of Darts-clone's double array are walked a byte at a time. */
#include "text/charsmap.h"

#include "base/utf8.h"

#include <utf8proc.h>

enum { WHOLE_CLUSTER = 5 /* bytes */, UNIT = 4, RULE_MOST = 512 /* bytes that one is for: a spoiled trie has loops */ };

static uint32_t read_u32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

static struct slice map_trie(struct slice map) { return slice_make(map.data + UNIT, read_u32(map.data)); }

static struct slice map_texts(struct slice map) {
  size_t before = UNIT + read_u32(map.data);
  return slice_make(map.data + before, map.size - before);
}

/* What rules make is UTF-8, as all texts are taken to be from here on: the regexes of PCRE2 do not look again. */
bool charsmap_check(struct slice map) {
  if (map.size < UNIT) return false;
  size_t trie = read_u32(map.data);
  return trie >= UNIT && trie % UNIT == 0 && trie < map.size - UNIT && map.data[map.size - 1] == 0 &&
         utf8_valid(map_texts(map));
}

/* --- the trie --------------------------------------------------------------------------------------------------- */

static uint32_t unit_offset(uint32_t unit) { return (unit >> 10) << ((unit & 1u << 9) >> 6); }
static uint32_t unit_label(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
static bool unit_ends(uint32_t unit) { return unit >> 8 & 1; }
static uint32_t unit_value(uint32_t unit) { return unit & ((1u << 31) - 1); }

static bool unit_read(struct slice trie, uint32_t at, uint32_t *unit) {
  if (at >= trie.size / UNIT) return false;
  *unit = read_u32(trie.data + (size_t)at * UNIT);
  return true;
}

/* What the shortest or the longest rule that text begins with makes of its first *used bytes, a text that a NUL ends;
 * NULL: there is none. */
static const uint8_t *rule_find(struct slice map, struct slice text, bool longest, size_t *used) {
  struct slice trie = map_trie(map), texts = map_texts(map);
  const uint8_t *found = NULL;
  uint32_t at = 0, unit;
  if (!unit_read(trie, at, &unit)) return NULL;
  at ^= unit_offset(unit);
  for (size_t i = 0; i < text.size && i < RULE_MOST && text.data[i] && (longest || !found); i++) {
    at ^= text.data[i];
    if (!unit_read(trie, at, &unit) || unit_label(unit) != text.data[i]) break;
    at ^= unit_offset(unit);
    if (!unit_ends(unit)) continue;
    if (!unit_read(trie, at, &unit) || unit_value(unit) >= texts.size) break;
    const uint8_t *start = texts.data + unit_value(unit);
    if ((*start & 0xC0) == 0x80) break; /* amid a character */
    *used = i + 1;
    found = start;
  }
  return found;
}

/* --- texts ------------------------------------------------------------------------------------------------------ */

/* What a rule makes of a text, or the text itself where there is none. */
static bool append_made(const uint8_t *made, struct slice text, struct buffer *out) {
  if (!made) return buffer_append(out, text.data, text.size);
  return buffer_text(out, (const char *)made);
}

static bool append_characters(struct slice map, struct slice cluster, struct buffer *out) {
  uint32_t code;
  for (size_t at = 0, size; at < cluster.size; at += size) {
    size = utf8_read(slice_make(cluster.data + at, cluster.size - at), &code);
    if (size == 0) return false;
    size_t used;
    const uint8_t *made = rule_find(map, slice_make(cluster.data + at, size), false, &used);
    if (!append_made(made, slice_make(cluster.data + at, size), out)) return false;
  }
  return true;
}

static bool append_cluster(struct slice map, struct slice cluster, struct buffer *out) {
  size_t used;
  const uint8_t *made = cluster.size > WHOLE_CLUSTER ? NULL : rule_find(map, cluster, false, &used);
  return made ? append_made(made, cluster, out) : append_characters(map, cluster, out);
}

static bool apply_to_clusters(struct slice map, struct slice text, struct buffer *out) {
  uint32_t code, last = 0;
  utf8proc_int32_t state = 0;
  size_t start = 0;
  for (size_t at = 0, size; at < text.size; at += size, last = code) {
    size = utf8_read(slice_make(text.data + at, text.size - at), &code);
    if (size == 0) return false;
    if (at == 0 || !utf8proc_grapheme_break_stateful((utf8proc_int32_t)last, (utf8proc_int32_t)code, &state)) continue;
    if (!append_cluster(map, slice_make(text.data + start, at - start), out)) return false;
    start = at;
  }
  return append_cluster(map, slice_make(text.data + start, text.size - start), out);
}

static bool apply_longest(struct slice map, struct slice text, struct buffer *out) {
  uint32_t code;
  for (size_t at = 0, used; at < text.size; at += used) {
    struct slice rest = slice_make(text.data + at, text.size - at);
    size_t size = utf8_read(rest, &code);
    if (size == 0) return false;
    const uint8_t *made = rule_find(map, rest, true, &used);
    if (made && at + used < text.size && (text.data[at + used] & 0xC0) == 0x80) made = NULL; /* amid a character */
    if (!made) used = size;
    if (!append_made(made, slice_make(rest.data, used), out)) return false;
  }
  return true;
}

bool charsmap_apply(struct slice map, enum charsmap_mode mode, struct slice text, struct buffer *out) {
  return (mode == CHARSMAP_LONGEST ? apply_longest : apply_to_clusters)(map, text, out);
}
