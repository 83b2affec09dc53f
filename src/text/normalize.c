/* Normalizing steps: Unicode forms by utf8proc, prefix and replacements by hand; those that map single characters are
 * in normalize_characters.c. Text that a step leaves as it is (most
 * English) is passed on without a copy. */
#include "text/normalize.h"

#include "base/limits.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/charsmap.h"

#include <stdlib.h>
#include <utf8proc.h>

static const struct {
  int options;
  uint8_t inert; /* text whose bytes are all below it is in this form: U+0300 is 0xCC 0x80, U+0080 is 0xC2 0x80 */
} forms[] = {
    [STEP_NFC] = {UTF8PROC_STABLE | UTF8PROC_COMPOSE, 0xCC},
    [STEP_NFD] = {UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, 0x80},
    [STEP_NFKC] = {UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT, 0x80},
    [STEP_NFKD] = {UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, 0x80},
};

/* The first byte from `at` on that is at or above limit; text.size when there is none. */
static size_t find_above(struct slice text, size_t at, uint8_t limit) {
  while (at < text.size && text.data[at] < limit) at++;
  return at;
}

/* Characters below the limit never change, and none of them joins the character before it: so only the stretches of
 * others are normalized, each with the character before it, which marks may join. */
static size_t stretch_end(struct slice text, size_t at, uint8_t limit) {
  while (at < text.size && (text.data[at] >= limit || (text.data[at] & 0xC0) == 0x80)) at++;
  return at;
}

static size_t character_start(struct slice text, size_t at, size_t from) {
  while (at > from && (text.data[at] & 0xC0) == 0x80) at--;
  return at;
}

/* Marks after a character are put in order by utf8proc swapping neighbours: a megabyte of them in the wrong order would
 * take it minutes. A few Tibetan vowels count, which become two marks without being any. */
static bool marks_sortable(struct slice text) {
  uint32_t code;
  int run = 0, last = 0;
  bool sorted = true;
  for (size_t at = 0, size; at < text.size; at += size) {
    size = utf8_read(slice_make(text.data + at, text.size - at), &code);
    if (size == 0) return false;
    const utf8proc_property_t *property = utf8proc_get_property((utf8proc_int32_t)code);
    bool pair = property->category == UTF8PROC_CATEGORY_MN && property->decomp_seqindex != UINT16_MAX;
    bool mark = property->combining_class > 0 || pair;
    sorted = !mark || run == 0 || (sorted && !pair && property->combining_class >= last);
    run = mark ? run + 1 : 0;
    last = property->combining_class;
    if (run > LIMIT_UNSORTED_MARKS && !sorted) return false;
  }
  return true;
}

static bool append_part(enum step_kind kind, struct slice text, struct buffer *out) {
  uint8_t *normal = NULL;
  utf8proc_ssize_t size =
      utf8proc_map(text.data, (utf8proc_ssize_t)text.size, &normal, (utf8proc_option_t)forms[kind].options);
  bool done = size >= 0 && buffer_append(out, normal, (size_t)size);
  free(normal);
  return done;
}

/* U+11A7 is no consonant at the end of a syllable, but utf8proc 2.8 takes it for one and loses it: it begins a part of
 * its own, as nothing composes across its beginning. */
static bool append_form(enum step_kind kind, struct slice text, struct buffer *out) {
  if (!marks_sortable(text)) return false;
  while (text.size > 0) {
    const uint8_t *next = memmem(text.data + 1, text.size - 1, "\xE1\x86\xA7", 3);
    size_t size = next ? (size_t)(next - text.data) : text.size;
    if (!append_part(kind, slice_make(text.data, size), out)) return false;
    text = slice_make(text.data + size, text.size - size);
  }
  return true;
}

static bool unicode_form(enum step_kind kind, struct slice text, struct buffer *out, struct slice *result) {
  uint8_t limit = forms[kind].inert;
  size_t done = 0, high = find_above(text, 0, limit);
  if (high == text.size) return true;
  for (; high < text.size; high = find_above(text, done, limit)) {
    size_t start = high > done ? character_start(text, high - 1, done) : done, end = stretch_end(text, high, limit);
    buffer_append(out, text.data + done, start - done);
    if (!append_form(kind, slice_make(text.data + start, end - start), out)) return false;
    done = end;
  }
  buffer_append(out, text.data + done, text.size - done);
  *result = buffer_slice(out);
  return !out->failed;
}

static bool replace(struct slice from, struct slice to, struct slice text, struct buffer *out, struct slice *result) {
  size_t at = 0;
  for (;;) {
    const uint8_t *found = memmem(text.data + at, text.size - at, from.data, from.size);
    if (!found) break;
    size_t start = (size_t)(found - text.data);
    buffer_append(out, text.data + at, start - at);
    if (!buffer_append(out, to.data, to.size) && to.size) return false;
    at = start + from.size;
  }
  if (at == 0) return true;
  buffer_append(out, text.data + at, text.size - at);
  *result = buffer_slice(out);
  return !out->failed;
}

/* Each non-empty match of the regex by `to`. *failure says why matching failed, if it did. */
static bool replace_matches(const struct split_pattern *matches, struct split_match *match, struct slice to,
                            struct slice text, struct buffer *out, struct slice *result, struct error *failure) {
  size_t at = 0, start, end;
  while (split_pattern_next(matches, match, text, at, &start, &end, failure)) {
    buffer_append(out, text.data + at, start - at);
    if (!buffer_append(out, to.data, to.size) && to.size) return false;
    at = end;
  }
  if (failure->code) return false;
  if (at == 0) return true;
  buffer_append(out, text.data + at, text.size - at);
  *result = buffer_slice(out);
  return !out->failed;
}

static bool prepend(enum prepend_mode mode, struct slice a, struct slice text, struct buffer *out,
                    struct slice *result) {
  struct slice first = mode == PREPEND_BEHIND ? text : a, last = mode == PREPEND_BEHIND ? a : text;
  buffer_append(out, first.data, first.size);
  if (!buffer_append(out, last.data, last.size)) return false;
  *result = buffer_slice(out);
  return true;
}

static bool apply_charsmap(struct slice map, enum charsmap_mode mode, struct slice text, struct buffer *out,
                           struct slice *result) {
  if (!charsmap_apply(map, mode, text, out)) return false;
  *result = buffer_slice(out);
  return true;
}

static bool spell(struct slice text, struct buffer *out, struct slice *result) {
  uint8_t *room = text.size > out->max / 2 ? NULL : buffer_reserve(out, 2 * text.size);
  if (!room) return false;
  *result = slice_make(room, byte_level_encode(text, room));
  return true;
}

static bool apply(const struct normalizer *step, struct split_match *match, struct slice text, struct buffer *out,
                  struct slice *result, struct error *failure) {
  switch (step->kind) {
  case STEP_NFC:
  case STEP_NFD:
  case STEP_NFKC:
  case STEP_NFKD: return unicode_form(step->kind, text, out, result);
  case STEP_STRIP: *result = normalize_strip(text, step->mode); return true;
  case STEP_CHARSMAP: return apply_charsmap(step->a, (enum charsmap_mode)step->mode, text, out, result);
  case STEP_PREPEND: return prepend(step->mode, step->a, text, out, result);
  case STEP_REPLACE: return replace(step->a, step->b, text, out, result);
  case STEP_SPELL: return spell(text, out, result);
  case STEP_REPLACE_MATCHES: return replace_matches(&step->matches, match, step->b, text, out, result, failure);
  default: return normalize_characters(step->kind, step->mode, text, out, result);
  }
}

bool normalize_step(const struct normalizer *step, struct split_match *match, struct slice text, struct buffer *out,
                    struct slice *result, struct error *error) {
  struct error failure = {0};
  *result = text;
  if (text.size == 0) return true;
  buffer_clear(out);
  if (apply(step, match, text, out, result, &failure)) return true;
  if (failure.code && error) *error = failure;
  if (failure.code) return false;
  return error_set(error, ERROR_LIMIT,
                   "Normalizing the text makes it larger than %zu bytes, or more than %d unsorted combining marks "
                   "follow a character.",
                   out->max, LIMIT_UNSORTED_MARKS);
}

bool normalizer_open(struct normalizer *step, struct error *error) {
  return step->kind != STEP_REPLACE_MATCHES || split_pattern_open(&step->matches, step->a, VIEW_TEXT, error);
}

void normalizer_close(struct normalizer *step) { split_pattern_close(&step->matches); }

/* What begins a text may be made longer alone than together with what follows, and end amid a character that both have
 * become. */
static size_t first_within(struct slice text, size_t first) {
  if (first > text.size) first = text.size;
  while (first < text.size && (text.data[first] & 0xC0) == 0x80) first++;
  return first;
}

bool normalize_first(const struct normalizer *step, struct split_match *match, struct slice text, struct slice result,
                     size_t *first, struct error *error) {
  struct slice start = slice_make(text.data, *first), left;
  struct error failure = {0};
  size_t from = 0, end = 0;
  if (step->kind == STEP_STRIP) {
    size_t gone = (size_t)(result.data - text.data);
    *first = first_within(result, *first > gone ? *first - gone : 0);
    return true;
  }
  if (step->kind == STEP_PREPEND && step->mode == PREPEND_BEHIND) return true;
  if (step->kind == STEP_REPLACE && text.size >= step->a.size && memcmp(text.data, step->a.data, step->a.size) == 0)
    end = step->a.size;
  if (step->kind == STEP_REPLACE_MATCHES &&
      (!split_pattern_next(&step->matches, match, text, 0, &from, &end, &failure) || from > 0))
    end = 0;
  if (end > *first) {
    *first = 0;
    return true;
  }
  struct buffer out;
  buffer_init(&out, LIMIT_NORMALIZED_BYTES);
  bool done = normalize_step(step, match, start, &out, &left, error);
  *first = first_within(result, left.size);
  buffer_release(&out);
  return done;
}
