/* When blocks run out: who gives up theirs. What a preempted sequence has computed is dropped (but stays findable for
 * as long as nobody needs the blocks) and computed again when it returns; its tokens are kept. */
#include "schedule/schedule_state.h"

#include <assert.h>

static void sequence_retreat(struct schedule *s, struct sequence *q) {
  running_leave(s, q);
  q->retreating = false;
  q->returning = true;
  q->n_preempted++;
  q->length = 0;
  q->state = SEQUENCE_WAITING;
  waiting_add(&s->waiting, q);
  s->stats.preemptions++;
}

void sequence_preempt(struct schedule *s, struct sequence *q) {
  assert(q->state == SEQUENCE_RUNNING && !q->retreating && !q->leaving);
  if (q->n_step == 0) {
    sequence_retreat(s, q);
    return;
  }
  q->retreating = true;
  s->n_retreating++;
}

bool sequence_settle(struct schedule *s, struct sequence *q) {
  if (q->n_step > 0 || q->state != SEQUENCE_RUNNING) return false;
  if (q->retreating) s->n_retreating--;
  if (q->leaving) {
    running_leave(s, q);
    tenant_leave(&s->waiting, q);
  } else if (q->retreating) {
    sequence_retreat(s, q);
  }
  return q->leaving;
}

/* The newest of the lowest priority; those that go anyway do not count, nor beams, whose blocks nobody else gets. */
static struct sequence *victim_choose(const struct schedule *s) {
  for (int i = s->n_running - 1; i >= 0; i--)
    if (!s->running[i]->leaving && !s->running[i]->retreating && !sequence_beams(s->running[i])) return s->running[i];
  return NULL;
}

/* One sequence fewer that holds blocks; false when waiting for it, or for an earlier one, is all that can be done. */
static bool room_make(struct schedule *s, const struct sequence *q) {
  if (s->n_retreating > 0) return false;
  struct sequence *victim = victim_choose(s);
  sequence_preempt(s, victim); /* there is one: q itself runs */
  return victim != q && victim->state == SEQUENCE_WAITING;
}

uint32_t block_reach(struct schedule *s, const struct sequence *q) {
  uint32_t block = block_take(s, q);
  while (block == NO_BLOCK && room_make(s, q)) block = block_take(s, q);
  return block;
}

bool blocks_reach(struct schedule *s, struct sequence *q, int64_t tokens) {
  uint32_t need = blocks_for(s, tokens);
  while (q->n_block < need) {
    uint32_t block = block_reach(s, q);
    if (block == NO_BLOCK) return false;
    sequence_table(s, q)[q->n_block++] = block;
  }
  return true;
}
