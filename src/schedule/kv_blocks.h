/* Which KV blocks are free, how many sequences hold each, and which idle ones can still be found by the hash of their
 * tokens. A block is a run of limits.block_size tokens in every KV group at once: one number names it in all of them.
 * The storage itself is the backend's.
 *
 * Every block is in one of three states: free (holds nothing), held (by one or more sequences), idle (held by none, but
 * findable). Idle blocks are taken when no free one is left, the longest idle first. A sequence drops its last block
 * first, and whoever holds a block also holds those before it; so a block has always been idle for longer than the one
 * that it follows, and leaves go before what they hang on. */
#ifndef SPATE_SCHEDULE_KV_BLOCKS_H
#define SPATE_SCHEDULE_KV_BLOCKS_H

#include "schedule/prefix_index.h"

struct kv_blocks {
  uint32_t n_total, n_free, n_idle;
  uint32_t *free;          /* [n_total] stack; owned, like all below */
  uint32_t *holders;       /* [n_total] */
  uint32_t *older, *newer; /* [n_total + 1] ring of idle blocks; n_total is its anchor */
  bool *findable;          /* [n_total] */
  struct prefix_index index;
};

bool kv_blocks_init(struct kv_blocks *blocks, uint32_t n_total);
void kv_blocks_release(struct kv_blocks *blocks);

static inline uint32_t kv_blocks_available(const struct kv_blocks *blocks) { return blocks->n_free + blocks->n_idle; }

/* A block that holds nothing, held once; NO_BLOCK when all are held. */
uint32_t kv_blocks_take(struct kv_blocks *blocks);
/* One holder more, of a held or idle block. */
void kv_blocks_hold(struct kv_blocks *blocks, uint32_t block);
void kv_blocks_drop(struct kv_blocks *blocks, uint32_t block);

/* A findable block; NO_BLOCK when there is none of that hash. */
uint32_t kv_blocks_find(const struct kv_blocks *blocks, struct hash128 hash);
/* Makes a held block, which is full, findable. */
void kv_blocks_publish(struct kv_blocks *blocks, uint32_t block, struct hash128 hash);
/* A held block, which others may hold too, can be found no more. */
void kv_blocks_withdraw(struct kv_blocks *blocks, uint32_t block);
/* All idle blocks become free. */
void kv_blocks_forget(struct kv_blocks *blocks);

#endif
