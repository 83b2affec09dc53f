/* The table behind prefix reuse. */
#include "schedule/prefix_index.h"

#include <stdlib.h>
#include <string.h>

bool prefix_index_init(struct prefix_index *index, uint32_t n_block) {
  uint32_t size = 1;
  while (size < n_block && size < 1u << 31) size *= 2;
  *index = (struct prefix_index){.mask = size - 1,
                                 .bucket = malloc(size * sizeof *index->bucket),
                                 .link = malloc(((size_t)n_block + 1) * sizeof *index->link),
                                 .hash = malloc(((size_t)n_block + 1) * sizeof *index->hash)};
  if (!index->bucket || !index->link || !index->hash) {
    prefix_index_release(index);
    return false;
  }
  memset(index->bucket, 0xFF, size * sizeof *index->bucket);
  return true;
}

void prefix_index_release(struct prefix_index *index) {
  free(index->bucket);
  free(index->link);
  free(index->hash);
  *index = (struct prefix_index){0};
}

static uint32_t *bucket_of(const struct prefix_index *index, struct hash128 hash) {
  return &index->bucket[hash.low & index->mask];
}

uint32_t prefix_index_find(const struct prefix_index *index, struct hash128 hash) {
  uint32_t block = *bucket_of(index, hash);
  while (block != NO_BLOCK && !hash_equal(index->hash[block], hash)) block = index->link[block];
  return block;
}

void prefix_index_add(struct prefix_index *index, struct hash128 hash, uint32_t block) {
  uint32_t *bucket = bucket_of(index, hash);
  index->hash[block] = hash;
  index->link[block] = *bucket;
  *bucket = block;
}

void prefix_index_remove(struct prefix_index *index, uint32_t block) {
  uint32_t *at = bucket_of(index, index->hash[block]);
  while (*at != block) at = &index->link[*at];
  *at = index->link[block];
}
