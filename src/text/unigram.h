/* The unigram language model of SentencePiece: the likeliest way to cut a piece into tokens (Kudo 2018,
 * arXiv:1804.10959, by Viterbi's algorithm). */
#ifndef SPATE_TEXT_UNIGRAM_H
#define SPATE_TEXT_UNIGRAM_H

#include "text/token_list.h"
#include "text/tokenizer_blob.h"

/* The best way to each place of a piece. */
struct unigram_place {
  double score;   /* sum of logarithms */
  uint32_t start; /* where its last token begins; TOKEN_NONE: no way yet */
  uint32_t id;
};

/* Zero to begin with. */
struct unigram_scratch {
  size_t capacity;
  struct unigram_place *places; /* [capacity] */
  uint32_t *path;               /* [capacity] places on the best way, the last first */
};

void unigram_scratch_release(struct unigram_scratch *scratch);

/* Appends the piece's tokens. A character that no token is costs 10 more than the unlikeliest token; a run of them is
 * one unknown token, or, with MODEL_BYTE_FALLBACK, the tokens of its bytes. O(n × the longest token), at worst. False
 * when out is full or memory is out. */
bool unigram_encode(const struct tokenizer_tables *tables, struct slice piece, struct unigram_scratch *scratch,
                    struct token_list *out);

#endif
