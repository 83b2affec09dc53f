/* Which KV blocks are free: a stack of block numbers for each KV group. The storage itself is the backend's. */
#ifndef SPATE_SCHEDULE_KV_BLOCKS_H
#define SPATE_SCHEDULE_KV_BLOCKS_H

#include "plan/plan.h"

struct kv_blocks {
  int n_group;
  uint32_t *free[PLAN_GROUPS]; /* owned */
  uint32_t n_free[PLAN_GROUPS], n_total[PLAN_GROUPS];
};

bool kv_blocks_init(struct kv_blocks *blocks, int n_group, const uint32_t *n_total);
void kv_blocks_release(struct kv_blocks *blocks);

/* Takes count blocks of every group into table[group], or none at all and false. */
bool kv_blocks_take(struct kv_blocks *blocks, uint32_t count, uint32_t *const *table);
void kv_blocks_give(struct kv_blocks *blocks, uint32_t count, uint32_t *const *table);

#endif
