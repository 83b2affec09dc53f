/* Seats, and the list of those that run: by priority and then arrival. */
#include "schedule/schedule_state.h"

#include <assert.h>
#include <string.h>

void running_enter(struct schedule *s, struct sequence *q) {
  assert(s->n_free_seat > 0);
  int at = s->n_running++;
  for (; at > 0 && sequence_before(q, s->running[at - 1]); at--) s->running[at] = s->running[at - 1];
  s->running[at] = q;
  q->seat = s->free_seat[--s->n_free_seat];
  q->state = SEQUENCE_RUNNING;
  adapters_enter(s, q);
}

void blocks_drop(struct schedule *s, struct sequence *q) {
  const uint32_t *table = sequence_table(s, q);
  while (q->n_block > 0) block_drop(s, q, table[--q->n_block]);
  q->n_findable = 0;
}

void running_leave(struct schedule *s, struct sequence *q) {
  int at = 0;
  while (s->running[at] != q) at++;
  s->n_running--;
  memmove(s->running + at, s->running + at + 1, (size_t)(s->n_running - at) * sizeof(struct sequence *));
  blocks_drop(s, q);
  if (sequence_beams(q)) beams_leave(s, q->group);
  adapters_leave(s, q);
  s->free_seat[s->n_free_seat++] = q->seat;
  q->seat = -1;
  q->state = SEQUENCE_OUT;
}
