/* Tokens with ranks, of tiktoken's files (vocab_ranks.c) and of Mistral's (vocab_tekken.c). */
#ifndef SPATE_TEXT_VOCAB_RANKS_H
#define SPATE_TEXT_VOCAB_RANKS_H

#include "text/vocab_spec.h"

/* Tokens by id; those of text have ranks, in the order of which they merge. */
struct ranked {
  struct tokenizer_spec *spec;
  uint32_t *ranks; /* [n_token] */
  struct buffer bytes;
};

bool ranked_reserve(struct ranked *ranked, size_t count, struct error *error);

/* A token of text, in base64; and one that is looked for as it is written. */
bool ranked_text(struct ranked *ranked, uint32_t id, uint32_t rank, struct slice base64, struct error *error);
bool ranked_marker(struct ranked *ranked, uint32_t id, struct slice text, bool special, struct error *error);

/* After all tokens; the steps are there already. */
bool ranked_finish(struct ranked *ranked, struct error *error);

/* The id of a marker; -1: there is none, or the text has no data. */
int32_t ranked_find(const struct tokenizer_spec *spec, struct slice text);

#endif
