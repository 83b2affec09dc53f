/* Added tokens: a sorted array of texts searched as a trie. */
#include "text/added_tokens.h"

#include "base/utf8.h"
#include "text/character_kind.h"

void added_set_init(struct added_set *set, const struct tokenizer_tables *tables, bool normalized) {
  *set = (struct added_set){.tables = tables};
  uint32_t count = tables->header->n_added, border = 0;
  while (border < count && !(tables->added[border].flags & ADDED_NORMALIZED)) border++;
  set->first = normalized ? border : 0;
  set->last = normalized ? count : border;
  for (uint32_t i = set->first; i < set->last; i++) {
    set->starts[tables_text(tables, tables->added[i].text).data[0]] = true;
    set->has_special |= (tables->added[i].flags & ADDED_SPECIAL) != 0;
  }
}

size_t special_guard_range(const struct special_guard *guard, size_t start) {
  size_t low = 0, high = guard->n_plain;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (guard->plain[middle].end <= start)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

bool special_guard_allows(const struct special_guard *guard, size_t start, size_t end) {
  size_t range = special_guard_range(guard, start);
  return guard->parse && (range == guard->n_plain || guard->plain[range].start >= end);
}

/* In [low, high), whose texts agree on their first `depth` bytes: the first one whose byte at depth is >= byte. Those
 * that end at depth sort first. */
static uint32_t lower_bound(const struct added_set *set, uint32_t low, uint32_t high, size_t depth, int byte) {
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    struct slice text = tables_text(set->tables, set->tables->added[middle].text);
    if (text.size <= depth || text.data[depth] < byte)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* The longest token that stands at byte `at`, or NULL. */
static const struct blob_added *longest_at(const struct added_set *set, struct slice whole, size_t at,
                                           const struct special_guard *guard) {
  struct slice text = slice_make(whole.data + at, whole.size - at);
  const struct blob_added *longest = NULL;
  uint32_t low = set->first, high = set->last;
  for (size_t depth = 0; depth < text.size && low < high; depth++) {
    low = lower_bound(set, low, high, depth, text.data[depth]);
    high = lower_bound(set, low, high, depth, text.data[depth] + 1);
    if (low == high) break;
    const struct blob_added *added = &set->tables->added[low];
    if (added->text.size != depth + 1) continue;
    if (!(added->flags & ADDED_SPECIAL) || special_guard_allows(guard, at, at + depth + 1)) longest = added;
  }
  return longest;
}

/* --- characters around a match -------------------------------------------------------------------------------- */

static size_t character_before(struct slice text, size_t end, uint32_t *code) {
  size_t start = end;
  while (start > 0 && end - start < 4) {
    start--;
    if ((text.data[start] & 0xC0) == 0x80) continue;
    return utf8_read(slice_make(text.data + start, end - start), code);
  }
  return 0;
}

static size_t character_after(struct slice text, size_t start, uint32_t *code) {
  return utf8_read(slice_make(text.data + start, text.size - start), code);
}

/* What a regex calls \w: letters, marks, digits, connectors and joiners. */
static bool is_word(uint32_t code) {
  utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) || category == UTF8PROC_CATEGORY_PC ||
         code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9);
}

static bool stands_alone(struct slice text, size_t start, size_t end) {
  uint32_t code;
  if (character_before(text, start, &code) && is_word(code)) return false;
  return !character_after(text, end, &code) || !is_word(code);
}

/* Widens the match over the white space that the token takes, not before `taken`. */
static void take_space(struct slice text, uint32_t flags, size_t taken, struct added_match *match) {
  uint32_t code;
  size_t size;
  if (flags & ADDED_LSTRIP)
    while (match->start > taken && (size = character_before(text, match->start, &code)) && character_is_space(code))
      match->start -= size;
  if (!(flags & ADDED_RSTRIP)) return;
  if (match->end < match->space_end) match->end = match->space_end;
  while ((size = character_after(text, match->end, &code)) && character_is_space(code)) match->end += size;
  match->space_end = match->end;
}

bool added_set_next(const struct added_set *set, struct slice text, size_t from, size_t taken,
                    const struct special_guard *guard, struct added_match *match) {
  if (set->first == set->last) return false;
  for (size_t at = from; at < text.size; at++) {
    if (!set->starts[text.data[at]]) continue;
    const struct blob_added *added = longest_at(set, text, at, guard);
    if (!added) continue;
    size_t end = at + added->text.size;
    if (added->flags & ADDED_SINGLE_WORD && !stands_alone(text, at, end)) {
      at = end - 1;
      continue;
    }
    *match = (struct added_match){at, end, end, added->id, match->space_end};
    take_space(text, added->flags, taken, match);
    return true;
  }
  return false;
}
