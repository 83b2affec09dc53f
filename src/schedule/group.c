/* Sequences of one prompt. Those of a group share its blocks; whoever writes into a block that others hold copies it
 * first.
 *
 * n answers: the first sequence computes the prompt up to its last token, then each computes that token itself and goes
 * its own way. Who finds no seat then, or more running than a target between tokens allows, waits like any other.
 *
 * Beam search: all sequences take seats together and, into the group's pool, all blocks that the search may ever need.
 * So it is never preempted: beams go on together, and one that waited for its turn to be computed again would keep the
 * others, and what they hold, from going on. The pool is a chain through blocks.older, which blocks in use leave alone.
 */
#include "schedule/schedule_state.h"

#include <assert.h>
#include <string.h>

/* --- blocks of a beam search -------------------------------------------------------------------------------------- */

static void pool_push(struct schedule *s, struct sequence_group *group, uint32_t block) {
  s->blocks.older[block] = group->pool;
  group->pool = block;
  group->n_pool++;
}

static uint32_t pool_pop(struct schedule *s, struct sequence_group *group) {
  assert(group->n_pool > 0);
  uint32_t block = group->pool;
  group->pool = s->blocks.older[block];
  group->n_pool--;
  return block;
}

uint32_t beams_blocks(const struct schedule *s, int64_t n_prompt, int64_t max_tokens, int64_t n_beam) {
  uint32_t prompt = (uint32_t)(n_prompt / s->limits.block_size); /* full ones, which all share */
  return prompt + (uint32_t)n_beam * (blocks_for(s, n_prompt + max_tokens) - prompt);
}

uint32_t group_seats(const struct sequence *q) { return sequence_beams(q) ? (uint32_t)q->group->n : 1; }

void beams_enter(struct schedule *s, struct sequence *first) {
  struct sequence_group *group = first->group;
  uint32_t need = beams_blocks(s, first->n_prompt, first->max_tokens, group->n) - first->n_block;
  while (group->n_pool < need) pool_push(s, group, kv_blocks_take(&s->blocks));
  for (struct sequence *q = first->sibling; q; q = q->sibling) {
    running_enter(s, q);
    q->held = true;
  }
  group->forked = true;
  group->n_in = group->n;
}

void beams_leave(struct schedule *s, struct sequence_group *group) {
  if (--group->n_in > 0) return;
  while (group->n_pool > 0) kv_blocks_drop(&s->blocks, pool_pop(s, group));
}

/* --- any sequence's blocks ---------------------------------------------------------------------------------------- */

uint32_t block_take(struct schedule *s, const struct sequence *q) {
  return sequence_beams(q) ? pool_pop(s, q->group) : kv_blocks_take(&s->blocks);
}

void block_drop(struct schedule *s, const struct sequence *q, uint32_t block) {
  bool last = s->blocks.holders[block] == 1 && !s->blocks.findable[block];
  if (sequence_beams(q) && last)
    pool_push(s, q->group, block);
  else
    kv_blocks_drop(&s->blocks, block);
}

bool block_own(struct schedule *s, struct step *step, struct sequence *q) {
  if (q->length % s->limits.block_size == 0) return true; /* the next token begins a block, which is new */
  uint32_t *place = sequence_table(s, q) + q->length / s->limits.block_size, shared = *place;
  if (s->blocks.holders[shared] == 1) return true;
  uint32_t block = block_reach(s, q);
  if (block == NO_BLOCK) return false;
  step_copy(step, s->n_group, shared, block);
  *place = block;
  block_drop(s, q, shared);
  return true;
}

/* --- forks -------------------------------------------------------------------------------------------------------- */

static void blocks_share(struct schedule *s, struct sequence *to, const struct sequence *from) {
  const uint32_t *table = sequence_table(s, from);
  memcpy(sequence_table(s, to), table, from->n_block * sizeof *table);
  for (uint32_t i = 0; i < from->n_block; i++) kv_blocks_hold(&s->blocks, table[i]);
  to->n_block = from->n_block;
  to->n_findable = from->n_findable;
  to->hash = from->hash;
  to->chained = from->chained;
  to->length = from->length;
  to->reached = from->reached;
}

void schedule_fork(struct schedule *s, struct sequence *to, const struct sequence *from) {
  assert(sequence_beams(to) && to->group == from->group && to->n_step == 0 && from->n_step == 0);
  blocks_drop(s, to);
  blocks_share(s, to, from);
  memcpy(to->tokens + to->n_prompt, from->tokens + from->n_prompt,
         (size_t)(from->n_token - from->n_prompt) * sizeof *to->tokens);
  to->n_token = from->n_token;
  to->held = false;
}

void schedule_extend(struct schedule *s, struct sequence *q, int32_t token) {
  assert(sequence_beams(q) && q->n_step == 0 && q->n_token < q->n_prompt + q->max_tokens);
  q->tokens[q->n_token++] = token;
  s->stats.generated_tokens++;
}

static void sibling_start(struct schedule *s, struct sequence *q, const struct sequence *first) {
  if (q->state != SEQUENCE_COMING) return; /* removed meanwhile */
  if (s->n_free_seat == 0 || !target_open(s, q)) {
    q->state = SEQUENCE_WAITING;
    waiting_add(&s->waiting, q);
    return;
  }
  running_enter(s, q);
  blocks_share(s, q, first);
}

void group_fork(struct schedule *s, struct sequence *first) {
  if (!group_forks(first) || first->length < first->n_prompt - 1 || first->leaving || first->retreating) return;
  first->group->forked = true;
  for (struct sequence *q = first->sibling; q; q = q->sibling) sibling_start(s, q, first);
}

void groups_fork(struct schedule *s) {
  for (int i = 0; i < s->n_running; i++) group_fork(s, s->running[i]);
}
