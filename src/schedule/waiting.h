/* Sequences that wait: a list per tenant, by priority and then arrival, and whose turn it is. Tenants of one priority
 * share by deficit round robin over tokens: a tenant's credit pays for every token that is computed for it, one that
 * has credit left keeps its turn, and when none has, all that wait get the same. A tenant with no sequence left starts
 * again from zero: nobody saves up, or is punished for yesterday. */
#ifndef SPATE_SCHEDULE_WAITING_H
#define SPATE_SCHEDULE_WAITING_H

#include "schedule/schedule.h"

struct waiting {
  struct tenant {
    struct sequence *first, *last;
    int64_t credit; /* tokens */
    int n_live;     /* its sequences, running ones too */
  } tenant[SCHEDULE_TENANTS];
  int count; /* how many wait */
  int turn;  /* the tenant that is being served */
};

void waiting_add(struct waiting *waiting, struct sequence *q);
void waiting_remove(struct waiting *waiting, struct sequence *q);

/* Does a run before b? */
bool sequence_before(const struct sequence *a, const struct sequence *b);

/* Which of the tenants' candidates (NULL: none) is next. Gives credit; changes nothing else. */
struct sequence *waiting_choose(struct waiting *waiting, struct sequence *const candidate[SCHEDULE_TENANTS]);

/* A sequence has come, or is out for good. */
void tenant_enter(struct waiting *waiting, const struct sequence *q);
void tenant_leave(struct waiting *waiting, const struct sequence *q);

/* The time at which the oldest came; count must not be 0. */
uint64_t waiting_since(const struct waiting *waiting);

#endif
