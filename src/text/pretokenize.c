/* Pre-tokenizing: matches and the gaps between them become pieces, by the pattern's mode. */
#include "text/pretokenize.h"

/* One level of splitting. Runs of text come in from the left, alternating as the pattern matches; `pending` is a piece
 * that the next run may still join. */
struct cutter {
  const struct split_pattern *patterns; /* this level's, then the levels inside */
  int count;
  pcre2_match_data *match;
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

bool pretokenize(const struct split_pattern *patterns, int count, pcre2_match_data *match, struct slice text,
                 const struct piece_sink *sink, struct error *error) {
  if (count == 0) return sink->take(sink->context, text, error);
  struct cutter cutter = {.patterns = patterns, .count = count, .match = match, .sink = sink, .error = error};
  struct error failure = {0};
  size_t at = 0, start, end;
  while (at < text.size && split_pattern_next(patterns, match, text, at, &start, &end, &failure)) {
    if (!cut(&cutter, slice_make(text.data + at, start - at), false) ||
        !cut(&cutter, slice_make(text.data + start, end - start), true))
      return false;
    at = end;
  }
  if (failure.code) {
    if (error) *error = failure;
    return false;
  }
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
