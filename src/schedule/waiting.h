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
    int64_t credit;        /* tokens */
    int n_live;            /* its sequences, running ones too */
    struct sequence *look; /* where the search for one that may start goes on, in the step: those before it may not */
    uint64_t look_step;
  } tenant[SCHEDULE_TENANTS];
  int count;      /* how many wait, */
  int n_adapted;  /* and of them with adapters or images, */
  int n_deadline; /* and with a deadline */
  int turn;       /* the tenant that is being served */
};

void waiting_add(struct waiting *waiting, struct sequence *q);
void waiting_remove(struct waiting *waiting, struct sequence *q);

/* Does a run before b? */
bool sequence_before(const struct sequence *a, const struct sequence *b);

/* Which of the tenants' candidates (NULL: none) is next. Gives credit; changes nothing else. */
struct sequence *waiting_choose(struct waiting *waiting, struct sequence *const candidate[SCHEDULE_TENANTS]);

/* The time between two starts while others wait. */
struct start_pace {
  double interval_us; /* moving average */
  uint64_t last_us;   /* 0: nobody waited after the last start */
  int n_start;        /* observed; counted up to a few */
};

void start_observe(struct start_pace *pace, uint64_t now_us, bool others_wait);
int64_t start_wait_us(const struct start_pace *pace, int ahead);

/* Sets each sequence's `ahead` and `hopeless`, unless none has a deadline. Of one priority, those of its own tenant
 * that came before are ahead, and of each other as many at most: they take turns. Who has no chance is ahead of nobody.
 */
void waiting_rank(struct waiting *waiting, const struct start_pace *pace, uint64_t now_us);

/* A sequence has come, or is out for good. */
void tenant_enter(struct waiting *waiting, const struct sequence *q);
void tenant_leave(struct waiting *waiting, const struct sequence *q);

/* The time at which the oldest came; count must not be 0. */
uint64_t waiting_since(const struct waiting *waiting);

#endif
