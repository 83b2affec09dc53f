/* Remembers what pieces merged to while one text is encoded: prose repeats its words. Direct-mapped, so a piece may
 * push another one out. */
#ifndef SPATE_TEXT_PIECE_CACHE_H
#define SPATE_TEXT_PIECE_CACHE_H

#include "text/token_list.h"

#include "base/slice.h"

enum { CACHED_BYTES = 22, CACHED_IDS = 8, PIECE_CACHE_SLOTS = 4096 };

struct cached_piece { /* a cache line */
  uint64_t hash;
  uint8_t size, count; /* size 0: empty */
  uint8_t bytes[CACHED_BYTES];
  int32_t ids[CACHED_IDS];
};

static inline struct cached_piece *piece_cache_slot(struct cached_piece *cache, uint64_t hash) {
  return &cache[hash % PIECE_CACHE_SLOTS];
}

/* True when the slot holds the piece; *done is then whether its ids went into out. */
static inline bool cached_piece_take(const struct cached_piece *slot, struct slice piece, uint64_t hash,
                                     struct token_list *out, bool *done) {
  if (slot->hash != hash || slot->size != piece.size || memcmp(slot->bytes, piece.data, piece.size) != 0) return false;
  *done = true;
  for (int i = 0; *done && i < slot->count; i++) *done = token_list_append(out, slot->ids[i]);
  return true;
}

/* Keeps a piece and its ids, if both are short; ids is NULL where there are none. */
static inline void cached_piece_put(struct cached_piece *slot, struct slice piece, uint64_t hash, const int32_t *ids,
                                    size_t count) {
  if (piece.size > CACHED_BYTES || count > CACHED_IDS) return;
  *slot = (struct cached_piece){.hash = hash, .size = (uint8_t)piece.size, .count = (uint8_t)count};
  memcpy(slot->bytes, piece.data, piece.size);
  if (ids) memcpy(slot->ids, ids, count * sizeof *ids);
}

#endif
