/* Token ids to text, as they arrive. Output is always whole, valid UTF-8 characters: the bytes of an unfinished one
 * are held until the next token completes it, and bytes that can never be one become U+FFFD. Fixed size, allocates
 * nothing: one per sequence, owned by whoever runs the sequence. */
#ifndef SPATE_TEXT_DETOKENIZER_H
#define SPATE_TEXT_DETOKENIZER_H

#include "base/limits.h"
#include "text/tokenizer.h"

enum detokenizer_flag {
  DETOKENIZE_SPECIAL = 1, /* write special tokens out; by default they are skipped */
  DETOKENIZE_START = 2,   /* these ids start a text (not a continuation of a prompt): the SentencePiece rule that drops
                             its first space applies */
  DETOKENIZE_MARKS =
      4, /* write special tokens that begin and end no text or turn: what models mark thoughts and calls with */
  DETOKENIZE_WHOLE = 8, /* a character that the end of the ids leaves unfinished is left out, not U+FFFD */
};

/* What one token, and the end of the ids, may produce at most: every byte may become a U+FFFD of three bytes. The 4 are
 * bytes that are held, or the two of "##" before a first token, when none are; TEXT_CHANGES_HELD bytes are whole. */
enum {
  DETOKENIZER_OUT_MAX = 3 * (LIMIT_TOKEN_BYTES + 4 + LIMIT_TOKEN_REST_BYTES) + TEXT_CHANGES_HELD,
  DETOKENIZER_REST_MAX = 3 * (LIMIT_TOKEN_REST_BYTES + 4) + TEXT_CHANGES_HELD,
};

struct detokenizer {
  const struct tokenizer *tokenizer; /* borrowed */
  unsigned flags;                    /* DETOKENIZE_START goes with the first token */
  uint8_t held[4];                   /* beginning of a character, or a space that may end the text */
  size_t n_held;
  uint32_t n_strip; /* spaces of the beginning that may still go */
  int32_t last;     /* the token before; -1: none */
  int32_t waiting;  /* the token whose end depends on what comes behind it; -1: none */
  struct text_changing changing;
  bool first_waits; /* which was a text's first */
};

void detokenizer_init(struct detokenizer *detokenizer, const struct tokenizer *tokenizer, unsigned flags);

/* Writes the text that id completes to out (DETOKENIZER_OUT_MAX bytes of room); returns its size, maybe 0. */
size_t detokenizer_feed(struct detokenizer *detokenizer, int32_t id, uint8_t *out);

/* The end of the ids: what waited for another token, and held bytes as one U+FFFD, but with DETOKENIZE_WHOLE (out:
 * DETOKENIZER_REST_MAX bytes of room). */
size_t detokenizer_flush(struct detokenizer *detokenizer, uint8_t *out);

/* All of ids at once, appended to a bounded buffer; false when it is full. */
bool detokenize(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, unsigned flags,
                struct buffer *out);

#endif
