/* Free, held and idle blocks. */
#include "schedule/kv_blocks.h"

#include <assert.h>
#include <stdlib.h>

bool kv_blocks_init(struct kv_blocks *blocks, uint32_t n_total) {
  size_t n = (size_t)n_total + 1;
  *blocks = (struct kv_blocks){.n_total = n_total,
                               .n_free = n_total,
                               .free = calloc(n, sizeof *blocks->free),
                               .holders = calloc(n, sizeof *blocks->holders),
                               .older = calloc(n, sizeof *blocks->older),
                               .newer = calloc(n, sizeof *blocks->newer),
                               .findable = calloc(n, sizeof *blocks->findable)};
  if (!blocks->free || !blocks->holders || !blocks->older || !blocks->newer || !blocks->findable ||
      !prefix_index_init(&blocks->index, n_total)) {
    kv_blocks_release(blocks);
    return false;
  }
  for (uint32_t i = 0; i < n_total; i++) blocks->free[i] = n_total - 1 - i; /* block 0 on top */
  blocks->older[n_total] = blocks->newer[n_total] = n_total;
  return true;
}

void kv_blocks_release(struct kv_blocks *blocks) {
  free(blocks->free);
  free(blocks->holders);
  free(blocks->older);
  free(blocks->newer);
  free(blocks->findable);
  prefix_index_release(&blocks->index);
  *blocks = (struct kv_blocks){0};
}

/* --- the ring of idle blocks: older[anchor] is the newest, newer[anchor] the oldest ------------------------------- */

static void idle_add(struct kv_blocks *blocks, uint32_t block) {
  uint32_t anchor = blocks->n_total, newest = blocks->older[anchor];
  blocks->older[block] = newest;
  blocks->newer[block] = anchor;
  blocks->newer[newest] = blocks->older[anchor] = block;
  blocks->n_idle++;
}

static void idle_remove(struct kv_blocks *blocks, uint32_t block) {
  blocks->newer[blocks->older[block]] = blocks->newer[block];
  blocks->older[blocks->newer[block]] = blocks->older[block];
  blocks->n_idle--;
}

static uint32_t oldest_forget(struct kv_blocks *blocks) {
  uint32_t block = blocks->newer[blocks->n_total];
  idle_remove(blocks, block);
  prefix_index_remove(&blocks->index, block);
  blocks->findable[block] = false;
  return block;
}

/* --- holders ------------------------------------------------------------------------------------------------------ */

uint32_t kv_blocks_take(struct kv_blocks *blocks) {
  if (kv_blocks_available(blocks) == 0) return NO_BLOCK;
  uint32_t block = blocks->n_free > 0 ? blocks->free[--blocks->n_free] : oldest_forget(blocks);
  assert(blocks->holders[block] == 0);
  blocks->holders[block] = 1;
  return block;
}

void kv_blocks_hold(struct kv_blocks *blocks, uint32_t block) {
  if (blocks->holders[block]++ > 0) return;
  assert(blocks->findable[block]);
  idle_remove(blocks, block);
}

void kv_blocks_drop(struct kv_blocks *blocks, uint32_t block) {
  assert(blocks->holders[block] > 0);
  if (--blocks->holders[block] > 0) return;
  if (blocks->findable[block])
    idle_add(blocks, block);
  else
    blocks->free[blocks->n_free++] = block;
}

uint32_t kv_blocks_find(const struct kv_blocks *blocks, struct hash128 hash) {
  return prefix_index_find(&blocks->index, hash);
}

void kv_blocks_publish(struct kv_blocks *blocks, uint32_t block, struct hash128 hash) {
  assert(blocks->holders[block] > 0 && !blocks->findable[block]);
  prefix_index_add(&blocks->index, hash, block);
  blocks->findable[block] = true;
}

void kv_blocks_withdraw(struct kv_blocks *blocks, uint32_t block) {
  assert(blocks->holders[block] > 0);
  if (!blocks->findable[block]) return; /* by another that holds it */
  prefix_index_remove(&blocks->index, block);
  blocks->findable[block] = false;
}

void kv_blocks_forget(struct kv_blocks *blocks) {
  while (blocks->n_idle > 0) {
    uint32_t block = oldest_forget(blocks);
    blocks->free[blocks->n_free++] = block;
  }
}
