/* From the hash of a block's tokens, and of all before them, to the block. A table of chains of fixed size; hashes are
 * keyed, so nobody can choose where they fall. */
#ifndef SPATE_SCHEDULE_PREFIX_INDEX_H
#define SPATE_SCHEDULE_PREFIX_INDEX_H

#include "base/hash.h"

#include <stdbool.h>

#define NO_BLOCK UINT32_MAX

struct prefix_index {
  uint32_t mask;
  uint32_t *bucket;     /* [mask + 1] first block of the chain, or NO_BLOCK; owned */
  uint32_t *link;       /* [n_block] next of the chain; owned */
  struct hash128 *hash; /* [n_block]; owned */
};

bool prefix_index_init(struct prefix_index *index, uint32_t n_block);
void prefix_index_release(struct prefix_index *index);

/* NO_BLOCK when there is none. */
uint32_t prefix_index_find(const struct prefix_index *index, struct hash128 hash);
void prefix_index_add(struct prefix_index *index, struct hash128 hash, uint32_t block);
void prefix_index_remove(struct prefix_index *index, uint32_t block);

#endif
