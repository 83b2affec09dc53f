/* A piece to tokens: what is known of it is asked first, then the model. */
#include "text/piece_encode.h"

#include "text/bpe_walk.h"
#include "text/word_pieces.h"

#include <stdlib.h>

void piece_scratch_cache(struct piece_scratch *scratch) {
  if (!scratch->cache) scratch->cache = calloc(PIECE_CACHE_SLOTS, sizeof *scratch->cache);
}

void piece_scratch_release(struct piece_scratch *scratch) {
  bpe_scratch_release(&scratch->bpe);
  unigram_scratch_release(&scratch->unigram);
  free(scratch->cache);
  scratch->cache = NULL;
}

bool piece_encode_anew(const struct tokenizer_tables *tables, struct slice piece, struct piece_scratch *scratch,
                       struct token_list *out) {
  switch (tables->header->model) {
  case MODEL_UNIGRAM: return unigram_encode(tables, piece, &scratch->unigram, out);
  case MODEL_WORDPIECE: return word_pieces_encode(tables, piece, out);
  case MODEL_WORDLEVEL: return word_encode(tables, piece, out);
  default: return bpe_merge_piece(tables, piece, &scratch->bpe, out);
  }
}

/* The token that a whole piece may be: its bytes, and behind them the suffix of a word. */
static uint32_t find_whole(const struct tokenizer_tables *tables, struct slice piece, uint64_t *hash) {
  uint8_t word[LIMIT_TOKEN_BYTES + LIMIT_AFFIX_BYTES];
  if (tables->suffix.size > 0 && !(tables->header->flags & MODEL_IGNORE_MERGES)) {
    memcpy(word, piece.data, piece.size);
    memcpy(word + piece.size, tables->suffix.data, tables->suffix.size);
    piece = slice_make(word, piece.size + tables->suffix.size);
  }
  *hash = hash_bytes(piece, 0).low;
  return tables_find_hashed(tables, piece, *hash);
}

/* A piece that is no token. */
static bool encode_parts(const struct tokenizer_tables *tables, struct slice piece, struct piece_scratch *scratch,
                         struct token_list *out) {
  if (tables->cuts) return bpe_walk_piece(tables, piece, &scratch->bpe, out);
  return piece_encode_anew(tables, piece, scratch, out);
}

bool piece_encode(const struct tokenizer_tables *tables, struct slice piece, struct piece_scratch *scratch,
                  struct token_list *out) {
  if (piece.size > LIMIT_TOKEN_BYTES) return encode_parts(tables, piece, scratch, out);
  uint64_t hash;
  uint32_t id = find_whole(tables, piece, &hash);
  if (id != TOKEN_NONE && tables->token_flags[id] & TOKEN_ATOMIC) return token_list_append(out, (int32_t)id);
  if (!scratch->cache || piece.size > CACHED_BYTES) return encode_parts(tables, piece, scratch, out);
  struct cached_piece *slot = piece_cache_slot(scratch->cache, hash);
  size_t before = out->count;
  bool done;
  if (cached_piece_take(slot, piece, hash, out, &done)) return done;
  done = encode_parts(tables, piece, scratch, out);
  const int32_t *ids = out->count > before ? out->ids + before : NULL;
  if (done) cached_piece_put(slot, piece, hash, ids, out->count - before);
  return done;
}
