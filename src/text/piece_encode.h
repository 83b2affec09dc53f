/* A piece of text, as splitting leaves it, to tokens: by the model of the tokenizer. */
#ifndef SPATE_TEXT_PIECE_ENCODE_H
#define SPATE_TEXT_PIECE_ENCODE_H

#include "text/bpe_merge.h"
#include "text/piece_cache.h"
#include "text/unigram.h"

/* Memory of one encoding, reused from piece to piece; zero to begin with. */
struct piece_scratch {
  struct cached_piece *cache; /* [PIECE_CACHE_SLOTS], or NULL: not worth it */
  struct bpe_scratch bpe;
  struct unigram_scratch unigram;
};

/* Makes the cache of pieces; without memory for one, encoding is only slower. */
void piece_scratch_cache(struct piece_scratch *scratch);
void piece_scratch_release(struct piece_scratch *scratch);

/* Appends the piece's tokens to out: at once when the piece is a token that the model would end in. O(n log n) for BPE,
 * O(n × the longest token), at worst for the others. False when out is full or memory is out. */
bool piece_encode(const struct tokenizer_tables *tables, struct slice piece, struct piece_scratch *scratch,
                  struct token_list *out);

/* The same, by the model always. */
bool piece_encode_anew(const struct tokenizer_tables *tables, struct slice piece, struct piece_scratch *scratch,
                       struct token_list *out);

#endif
