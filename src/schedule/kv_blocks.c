/* Free stacks of KV blocks. */
#include "schedule/kv_blocks.h"

#include <assert.h>
#include <stdlib.h>

bool kv_blocks_init(struct kv_blocks *blocks, int n_group, const uint32_t *n_total) {
  *blocks = (struct kv_blocks){.n_group = n_group};
  for (int g = 0; g < n_group; g++) {
    blocks->free[g] = calloc((size_t)n_total[g] + 1, sizeof *blocks->free[g]);
    if (!blocks->free[g]) {
      kv_blocks_release(blocks);
      return false;
    }
    blocks->n_total[g] = blocks->n_free[g] = n_total[g];
    for (uint32_t i = 0; i < n_total[g]; i++) blocks->free[g][i] = n_total[g] - 1 - i; /* block 0 on top */
  }
  return true;
}

void kv_blocks_release(struct kv_blocks *blocks) {
  for (int g = 0; g < blocks->n_group; g++) free(blocks->free[g]);
  *blocks = (struct kv_blocks){0};
}

bool kv_blocks_take(struct kv_blocks *blocks, uint32_t count, uint32_t *const *table) {
  for (int g = 0; g < blocks->n_group; g++)
    if (blocks->n_free[g] < count) return false;
  for (int g = 0; g < blocks->n_group; g++)
    for (uint32_t i = 0; i < count; i++) table[g][i] = blocks->free[g][--blocks->n_free[g]];
  return true;
}

void kv_blocks_give(struct kv_blocks *blocks, uint32_t count, uint32_t *const *table) {
  for (int g = 0; g < blocks->n_group; g++) {
    assert(blocks->n_free[g] + count <= blocks->n_total[g]);
    for (uint32_t i = count; i > 0; i--) blocks->free[g][blocks->n_free[g]++] = table[g][i - 1];
  }
}
