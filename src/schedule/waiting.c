/* Waiting lists and the round robin between them. */
#include "schedule/waiting.h"

enum { QUANTUM = 256 }; /* tokens: what all waiting tenants are given when none has credit */

bool sequence_before(const struct sequence *a, const struct sequence *b) {
  return a->priority != b->priority ? a->priority < b->priority : a->arrival < b->arrival;
}

void waiting_add(struct waiting *w, struct sequence *q) {
  struct tenant *tenant = &w->tenant[q->tenant];
  struct sequence *before = tenant->last;
  while (before && sequence_before(q, before)) before = before->previous;
  q->previous = before;
  q->next = before ? before->next : tenant->first;
  *(q->next ? &q->next->previous : &tenant->last) = q;
  *(before ? &before->next : &tenant->first) = q;
  w->count++;
}

void waiting_remove(struct waiting *w, struct sequence *q) {
  struct tenant *tenant = &w->tenant[q->tenant];
  *(q->previous ? &q->previous->next : &tenant->first) = q->next;
  *(q->next ? &q->next->previous : &tenant->last) = q->previous;
  q->previous = q->next = NULL;
  w->count--;
}

void tenant_enter(struct waiting *w, const struct sequence *q) { w->tenant[q->tenant].n_live++; }

void tenant_leave(struct waiting *w, const struct sequence *q) {
  struct tenant *tenant = &w->tenant[q->tenant];
  if (--tenant->n_live == 0) tenant->credit = 0;
}

/* Enough quanta to all contenders that the one with most credit has some. */
static void credit_give(struct waiting *w, struct sequence *const candidate[SCHEDULE_TENANTS], int32_t priority) {
  int64_t most = INT64_MIN;
  for (int t = 0; t < SCHEDULE_TENANTS; t++)
    if (candidate[t] && candidate[t]->priority == priority && w->tenant[t].credit > most) most = w->tenant[t].credit;
  if (most > 0) return;
  int64_t gift = (-most / QUANTUM + 1) * QUANTUM;
  for (int t = 0; t < SCHEDULE_TENANTS; t++)
    if (candidate[t] && candidate[t]->priority == priority) w->tenant[t].credit += gift;
}

struct sequence *waiting_choose(struct waiting *w, struct sequence *const candidate[SCHEDULE_TENANTS]) {
  const struct sequence *best = NULL;
  for (int t = 0; t < SCHEDULE_TENANTS; t++)
    if (candidate[t] && (!best || candidate[t]->priority < best->priority)) best = candidate[t];
  if (!best) return NULL;
  credit_give(w, candidate, best->priority);
  int t = w->turn;
  while (!candidate[t] || candidate[t]->priority != best->priority || w->tenant[t].credit <= 0)
    t = (t + 1) % SCHEDULE_TENANTS;
  w->turn = t;
  return candidate[t];
}

uint64_t waiting_since(const struct waiting *w) {
  uint64_t since = UINT64_MAX;
  for (int t = 0; t < SCHEDULE_TENANTS; t++)
    for (const struct sequence *q = w->tenant[t].first; q; q = q->next)
      if (q->arrived_us < since) since = q->arrived_us;
  return since;
}
