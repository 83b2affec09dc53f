/* Pre-tokenizing: matches and the gaps between them become pieces, by the pattern's mode. */
#include "text/pretokenize.h"

#include "text/byte_level.h"

#include <stdlib.h>

/* A piece as its pattern sees it, and a place that both know: matches are asked for from the left. */
struct sight {
  enum split_view view;
  struct slice text;
  uint8_t *written;  /* owned, where a piece is long */
  size_t at, place;  /* bytes of the text, and of the piece that they stand for */
  uint8_t some[256]; /* room for short pieces */
};

enum { MARK_SIZE = sizeof SPACE_MARK - 1 };

static size_t marks_write(struct slice piece, uint8_t *out) {
  size_t size = 0;
  for (size_t i = 0; i < piece.size; i++) {
    bool space = piece.data[i] == ' ';
    memcpy(out + size, space ? (const uint8_t *)SPACE_MARK : piece.data + i, space ? MARK_SIZE : 1);
    size += space ? MARK_SIZE : 1;
  }
  return size;
}

static bool sight_open(struct sight *s, enum split_view view, struct slice piece, struct error *error) {
  s->view = view;
  s->text = piece;
  s->written = NULL;
  s->at = s->place = 0;
  if (view != VIEW_LETTERS && view != VIEW_MARKS) return true;
  size_t most = MARK_SIZE * piece.size; /* letters take two bytes at most */
  uint8_t *out = most <= sizeof s->some ? s->some : (s->written = malloc(most));
  if (!out) return error_set(error, ERROR_MEMORY, "No memory to split a text of this size.");
  s->text = slice_make(out, view == VIEW_MARKS ? marks_write(piece, out) : byte_level_encode(piece, out));
  return true;
}

/* The piece's byte at which the text's `offset` stands. */
static size_t sight_place(struct sight *s, size_t offset) {
  if (s->view != VIEW_LETTERS && s->view != VIEW_MARKS) return offset;
  for (; s->at < offset; s->place++) {
    uint8_t byte = s->text.data[s->at];
    bool mark = s->view == VIEW_MARKS && slice_starts(slice_make(s->text.data + s->at, offset - s->at), SPACE_MARK);
    s->at += mark ? MARK_SIZE : s->view == VIEW_LETTERS && byte >= 0x80 ? 2 : 1;
  }
  return s->place;
}

/* One level of splitting. Runs of text come in from the left, alternating as the pattern matches; `pending` is a piece
 * that the next run may still join. */
struct cutter {
  const struct split_pattern *patterns; /* this level's, then the levels inside */
  int count;
  struct split_match *match;
  const struct piece_sink *sink;
  struct error *error;
  struct slice pending; /* data NULL: none */
  bool last_matched;
};

static bool emit(struct cutter *c, struct slice piece) {
  return pretokenize(c->patterns + 1, c->count - 1, c->match, piece, c->sink, c->error);
}

static bool emit_pending(struct cutter *c) {
  struct slice piece = c->pending;
  c->pending = slice_make(NULL, 0);
  return !piece.data || emit(c, piece);
}

/* Joins run to the pending piece (they are adjacent) or starts a new one. */
static bool join(struct cutter *c, struct slice run, bool joins) {
  if (joins && c->pending.data) {
    c->pending.size += run.size;
    return true;
  }
  if (!emit_pending(c)) return false;
  c->pending = run;
  return true;
}

static bool cut(struct cutter *c, struct slice run, bool matched) {
  if (run.size == 0) return true;
  matched ^= c->patterns->inverted;
  bool last_matched = c->last_matched;
  c->last_matched = matched;
  switch (c->patterns->mode) {
  case SPLIT_REMOVED: return matched || emit(c, run);
  case SPLIT_WITH_PREVIOUS: return join(c, run, matched && !last_matched);
  case SPLIT_WITH_NEXT: return join(c, run, last_matched && !matched);
  case SPLIT_CONTIGUOUS: return join(c, run, last_matched == matched);
  default: return emit(c, run);
  }
}

bool pretokenize(const struct split_pattern *patterns, int count, struct split_match *match, struct slice text,
                 const struct piece_sink *sink, struct error *error) {
  if (count == 0) return sink->take(sink->context, text, error);
  struct cutter cutter = {.patterns = patterns, .count = count, .match = match, .sink = sink, .error = error};
  struct error failure = {0};
  struct sight sight;
  if (!sight_open(&sight, patterns->view, text, error)) return false;
  size_t seen = 0, at = 0, start, end;
  bool fine = true;
  while (fine && seen < sight.text.size &&
         split_pattern_next(patterns, match, sight.text, seen, &start, &end, &failure)) {
    seen = end;
    start = sight_place(&sight, start);
    end = sight_place(&sight, end);
    fine = cut(&cutter, slice_make(text.data + at, start - at), false) &&
           cut(&cutter, slice_make(text.data + start, end - start), true);
    at = end;
  }
  free(sight.written);
  if (failure.code && error) *error = failure;
  if (failure.code || !fine) return false;
  return cut(&cutter, slice_make(text.data + at, text.size - at), false) && emit_pending(&cutter);
}

bool pretokenize_words(struct slice text, const struct piece_sink *sink, struct error *error) {
  size_t start = 0, at = 0;
  while (at < text.size) {
    while (at < text.size && text.data[at] == ' ') at++;
    const uint8_t *space = memchr(text.data + at, ' ', text.size - at);
    at = space ? (size_t)(space - text.data) : text.size;
    if (!sink->take(sink->context, slice_make(text.data + start, at - start), error)) return false;
    start = at;
  }
  return true;
}
