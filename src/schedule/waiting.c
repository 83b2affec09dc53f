/* Waiting lists and the round robin between them. */
#include "schedule/waiting.h"

#include <math.h>

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
  w->n_adapted += q->n_adapter > 0 || q->n_span > 0;
  w->n_deadline += q->deadline_us > 0;
}

void waiting_remove(struct waiting *w, struct sequence *q) {
  struct tenant *tenant = &w->tenant[q->tenant];
  *(q->previous ? &q->previous->next : &tenant->first) = q->next;
  *(q->next ? &q->next->previous : &tenant->last) = q->previous;
  if (tenant->look == q) tenant->look = q->next;
  q->previous = q->next = NULL;
  w->count--;
  w->n_adapted -= q->n_adapter > 0 || q->n_span > 0;
  w->n_deadline -= q->deadline_us > 0;
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

/* --- who waits behind how many ------------------------------------------------------------------------------------ */

static const double start_memory = 1.0 / 32;
enum { STARTS_KNOWN = 32 };

void start_observe(struct start_pace *pace, uint64_t now_us, bool others_wait) {
  if (pace->last_us > 0) {
    double interval = (double)(now_us - pace->last_us);
    pace->n_start += pace->n_start < STARTS_KNOWN;
    pace->interval_us += (interval - pace->interval_us) * fmax(start_memory, 1.0 / pace->n_start);
  }
  pace->last_us = others_wait ? now_us : 0;
}

int64_t start_wait_us(const struct start_pace *pace, int ahead) {
  return pace->n_start < STARTS_KNOWN ? 0 : (int64_t)(ahead * pace->interval_us);
}

/* Behind so many; true when it is too late for it then. */
static bool rank_set(struct sequence *q, int ahead, const struct start_pace *pace, uint64_t now_us) {
  int64_t wait_us = start_wait_us(pace, ahead);
  q->ahead = ahead;
  q->hopeless = wait_us > 0 && q->started_us == 0 && q->deadline_us > 0 && now_us + (uint64_t)wait_us > q->deadline_us;
  return q->hopeless;
}

/* Passes the next of a tenant, of this priority, that has a chance behind so many; those before it have none. */
static bool turn_take(struct sequence **next, int32_t priority, int ahead, const struct start_pace *pace,
                      uint64_t now_us) {
  struct sequence *q = *next;
  while (q && q->priority == priority && rank_set(q, ahead, pace, now_us)) q = q->next;
  bool taken = q && q->priority == priority;
  *next = taken ? q->next : q;
  return taken;
}

/* Tenants of whom some are left to be ranked, the best priority first. */
struct contest {
  struct sequence *next[SCHEDULE_TENANTS];
  int count;
};

/* Moves entry i to its place among those after it, which are in order; NULL, a tenant that has nobody left, leaves. */
static void contest_settle(struct contest *contest, int i) {
  struct sequence **next = contest->next, *q = next[i];
  for (; i + 1 < contest->count && (!q || next[i + 1]->priority < q->priority); i++) next[i] = next[i + 1];
  next[i] = q;
  contest->count -= !q;
}

static struct contest contest_begin(const struct waiting *w) {
  struct contest contest = {.count = 0};
  for (int t = 0; t < SCHEDULE_TENANTS; t++)
    if (w->tenant[t].first) contest.next[contest.count++] = w->tenant[t].first;
  for (int i = contest.count - 1; i >= 0; i--) contest_settle(&contest, i);
  return contest;
}

/* Tenants of the best priority. */
static int contenders_count(const struct contest *contest) {
  int count = 1;
  while (count < contest->count && contest->next[count]->priority == contest->next[0]->priority) count++;
  return count;
}

/* A turn of each of the first `count` tenants, all of this priority; how many of them have others. */
static int round_take(struct contest *contest, int count, int32_t priority, const struct start_pace *pace,
                      uint64_t now_us, int *ahead) {
  int round = *ahead, left = 0;
  for (int i = 0; i < count; i++) {
    struct sequence *next = contest->next[i];
    *ahead += turn_take(&next, priority, round, pace, now_us);
    contest->next[i] = contest->next[left];
    contest->next[left] = next;
    left += next && next->priority == priority;
  }
  return left;
}

void waiting_rank(struct waiting *w, const struct start_pace *pace, uint64_t now_us) {
  if (w->n_deadline == 0) return;
  struct contest contest = contest_begin(w);
  int ahead = 0;
  while (contest.count > 0) {
    int count = contenders_count(&contest);
    int32_t priority = contest.next[0]->priority;
    for (int left = count; left > 0;) left = round_take(&contest, left, priority, pace, now_us, &ahead);
    for (int i = count - 1; i >= 0; i--) contest_settle(&contest, i);
  }
}

uint64_t waiting_since(const struct waiting *w) {
  uint64_t since = UINT64_MAX;
  for (int t = 0; t < SCHEDULE_TENANTS; t++)
    for (const struct sequence *q = w->tenant[t].first; q; q = q->next)
      if (q->arrived_us < since) since = q->arrived_us;
  return since;
}
