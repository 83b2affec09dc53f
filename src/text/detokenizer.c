/* Detokenizer: bytes in, whole characters out. Invalid bytes become U+FFFD, one for each longest beginning of a
 * character that they could have been (the rule of Unicode 15, section 3.9, that browsers and Rust follow). */
#include "text/detokenizer.h"

#include "base/utf8.h"

static const uint8_t replacement[3] = {0xEF, 0xBF, 0xBD};

void detokenizer_init(struct detokenizer *detokenizer, const struct tokenizer *tokenizer, unsigned flags) {
  bool starts = flags & DETOKENIZE_START;
  *detokenizer = (struct detokenizer){.tokenizer = tokenizer, .flags = flags, .last = -1, .waiting = -1};
  if (starts) detokenizer->n_strip = tokenizer_facts(tokenizer)->strip_leading_space;
}

/* How many bytes of text, which starts with no valid character, one U+FFFD stands for. */
static size_t invalid_run(struct slice text) {
  size_t size = 1;
  while (size < text.size && size < 4 && utf8_complete(slice_make(text.data, size + 1)) == 0) size++;
  return utf8_complete(slice_make(text.data, size)) == 0 ? size : 1;
}

/* Writes the whole characters of text, with U+FFFD for what is none. */
static size_t write_valid(struct slice text, uint8_t *out) {
  size_t written = 0;
  uint32_t code;
  for (size_t at = 0; at < text.size;) {
    struct slice rest = slice_make(text.data + at, text.size - at);
    size_t size = utf8_read(rest, &code);
    memcpy(out + written, size ? rest.data : replacement, size ? size : sizeof replacement);
    written += size ? size : sizeof replacement;
    at += size ? size : invalid_run(rest);
  }
  return written;
}

static bool is_skipped(const struct detokenizer *detokenizer, int32_t id) {
  const struct tokenizer *tokenizer = detokenizer->tokenizer;
  if (detokenizer->flags & DETOKENIZE_SPECIAL || !tokenizer_is_special(tokenizer, id)) return false;
  return !(detokenizer->flags & DETOKENIZE_MARKS) || tokenizer_is_end(tokenizer, id) || tokenizer_opens(tokenizer, id);
}

static struct slice without_spaces(struct slice piece, uint32_t *most) {
  while (*most > 0 && piece.size > 0 && piece.data[0] == ' ') {
    piece = slice_make(piece.data + 1, piece.size - 1);
    --*most;
  }
  if (piece.size > 0) *most = 0;
  return piece;
}

/* What is left of the token that waits, by whether the text ends with it. */
static struct slice take_rest(struct detokenizer *detokenizer, bool ends) {
  int32_t id = detokenizer->waiting;
  if (id < 0) return slice_make("", 0);
  struct slice later = tokenizer_shown(detokenizer->tokenizer, id, detokenizer->first_waits, false);
  struct slice last = tokenizer_shown(detokenizer->tokenizer, id, detokenizer->first_waits, true);
  size_t shown = slice_common(later, last);
  detokenizer->waiting = -1;
  return ends ? slice_make(last.data + shown, last.size - shown) : slice_make(later.data + shown, later.size - shown);
}

/* The bytes of a token that do not wait for what comes behind it. */
static struct slice take_piece(struct detokenizer *detokenizer, int32_t id) {
  const struct tokenizer *tokenizer = detokenizer->tokenizer;
  const struct tokenizer_facts *facts = tokenizer_facts(tokenizer);
  bool first = detokenizer->flags & DETOKENIZE_START;
  struct slice piece = tokenizer_shown(tokenizer, id, first, false);
  detokenizer->flags &= ~(unsigned)DETOKENIZE_START;
  if (facts->shows_last) {
    piece.size = slice_common(piece, tokenizer_shown(tokenizer, id, first, true));
    detokenizer->waiting = id;
    detokenizer->first_waits = first;
  }
  uint32_t all = first && facts->bare_start ? LIMIT_TOKEN_BYTES : 0;
  return without_spaces(piece, &all);
}

/* The bytes that come next, behind those that are held. */
static size_t take_bytes(struct detokenizer *detokenizer, struct slice piece, uint8_t *out) {
  uint8_t bytes[LIMIT_TOKEN_BYTES + sizeof detokenizer->held];
  struct slice text = slice_make(bytes, detokenizer->n_held + piece.size);
  if (piece.size == 0) return 0;
  memcpy(bytes, detokenizer->held, detokenizer->n_held);
  memcpy(bytes + detokenizer->n_held, piece.data, piece.size);
  size_t complete = utf8_complete(text);
  bool waits = tokenizer_facts(detokenizer->tokenizer)->drop_trailing_space && bytes[text.size - 1] == ' ';
  if (waits) complete--;
  detokenizer->n_held = text.size - complete; /* at most 3 */
  memcpy(detokenizer->held, bytes + complete, detokenizer->n_held);
  return write_valid(slice_make(bytes, complete), out);
}

/* What is done to the text as a whole: to the next size bytes of it, in place. */
static size_t change_text(struct detokenizer *detokenizer, uint8_t *text, size_t size, bool ends) {
  const struct text_changes *changes = tokenizer_text_changes(detokenizer->tokenizer);
  if (changes->count > 0) size = text_changes_apply(changes, &detokenizer->changing, text, size, ends);
  if (detokenizer->n_strip == 0) return size;
  struct slice left = without_spaces(slice_make(text, size), &detokenizer->n_strip);
  memmove(text, left.data, left.size);
  return left.size;
}

size_t detokenizer_feed(struct detokenizer *detokenizer, int32_t id, uint8_t *out) {
  if (is_skipped(detokenizer, id)) return 0;
  bool repeats = id == detokenizer->last && tokenizer_facts(detokenizer->tokenizer)->drop_repeats;
  detokenizer->last = id;
  if (repeats || tokenizer_unseen(detokenizer->tokenizer, id)) return 0;
  size_t size = take_bytes(detokenizer, take_rest(detokenizer, false), out);
  bool bare = detokenizer->flags & DETOKENIZE_START && tokenizer_continues(detokenizer->tokenizer, id);
  if (bare) size = take_bytes(detokenizer, slice_text("##"), out); /* nothing before it */
  size += take_bytes(detokenizer, take_piece(detokenizer, id), out + size);
  return change_text(detokenizer, out, size, false);
}

size_t detokenizer_flush(struct detokenizer *detokenizer, uint8_t *out) {
  size_t size = take_bytes(detokenizer, take_rest(detokenizer, true), out);
  bool unfinished = detokenizer->n_held > 0 && detokenizer->held[0] != ' ' && /* a space that ends the text */
                    !(detokenizer->flags & DETOKENIZE_WHOLE);
  detokenizer->n_held = 0;
  if (unfinished) memcpy(out + size, replacement, sizeof replacement);
  return change_text(detokenizer, out, size + (unfinished ? sizeof replacement : 0), true);
}

bool detokenize(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, unsigned flags,
                struct buffer *out) {
  struct detokenizer detokenizer;
  detokenizer_init(&detokenizer, tokenizer, flags);
  uint8_t text[DETOKENIZER_OUT_MAX];
  for (size_t i = 0; i < count; i++)
    if (!buffer_append(out, text, detokenizer_feed(&detokenizer, ids[i], text))) return false;
  return buffer_append(out, text, detokenizer_flush(&detokenizer, text));
}
