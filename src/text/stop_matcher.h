/* Stop strings over streamed text. Holds back the longest end of the text that may still become a stop string, so that
 * no byte of one is ever emitted. The string that completes first wins; of several that complete at the same byte, the
 * longest. How the text is cut into pieces makes no difference. Fixed size, allocates nothing: one per sequence. */
#ifndef SPATE_TEXT_STOP_MATCHER_H
#define SPATE_TEXT_STOP_MATCHER_H

#include "base/error.h"
#include "base/limits.h"
#include "base/slice.h"

struct stop_string {
  uint16_t size;    /* bytes */
  uint16_t matched; /* bytes of the string that the text now ends with */
  uint8_t text[LIMIT_STOP_BYTES];
  uint8_t border[LIMIT_STOP_BYTES]; /* [i]: the longest proper prefix of text that ends at text[i] */
};

struct stop_matcher {
  int n_string;
  int found;  /* index of the string that stopped it, -1 before */
  bool shown; /* the caller's to set: the string that stops it is written too */
  bool muted; /* the caller's to change: a string that completes now does not stop it */
  size_t n_held;
  uint8_t held[LIMIT_STOP_BYTES];
  struct stop_string strings[LIMIT_STOP_STRINGS];
};

/* Copies the strings; neither shown nor muted. Refuses empty ones, ones over LIMIT_STOP_BYTES and more than
 * LIMIT_STOP_STRINGS. */
bool stop_matcher_init(struct stop_matcher *matcher, const struct slice *strings, size_t count, struct error *error);

/* As before any text. */
void stop_matcher_reset(struct stop_matcher *matcher);

/* Takes more text and writes to out what may be shown now (room for text.size + LIMIT_STOP_BYTES); *out_size is its
 * size. Returns true when a stop string is complete: it (unless `shown`) and what follows it are not written, and the
 * matcher is done. */
bool stop_matcher_feed(struct stop_matcher *matcher, struct slice text, uint8_t *out, size_t *out_size);

/* The end of the text: writes what was held back (room for LIMIT_STOP_BYTES); returns its size. */
size_t stop_matcher_flush(struct stop_matcher *matcher, uint8_t *out);

#endif
