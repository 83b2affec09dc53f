/* Byte pair encoding of one piece of text: from its symbols (bytes or characters) by merges to tokens. */
#ifndef SPATE_TEXT_BPE_MERGE_H
#define SPATE_TEXT_BPE_MERGE_H

#include "text/token_list.h"
#include "text/tokenizer_blob.h"

/* Memory for long pieces, reused from piece to piece; zero to begin with. */
struct bpe_scratch {
  size_t capacity;               /* symbols */
  uint32_t *ids, *next, *prev;   /* [capacity] a doubly linked list of symbols */
  uint32_t *rank;                /* [capacity] of the merge with the next symbol, TOKEN_NONE when there is none */
  uint64_t *heap;                /* [2 * capacity] rank << 32 | symbol: the merges that may be next */
  uint64_t *dead;                /* [capacity / 64 + 1] bits: ends that a walk goes to no more */
  const struct merge_slot *last; /* that was made of the last piece; NULL: none was */
};

void bpe_scratch_release(struct bpe_scratch *scratch);

/* Room for this many symbols in each list; what they held is lost. */
bool bpe_scratch_reserve(struct bpe_scratch *scratch, size_t symbols);

/* Appends the piece's tokens to out. O(n log n). False when out is full or memory is out. */
bool bpe_merge_piece(const struct tokenizer_tables *tables, struct slice piece, struct bpe_scratch *scratch,
                     struct token_list *out);

#endif
