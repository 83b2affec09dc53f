/* A team of threads that runs one function on all its members and lets them meet at barriers. The thread that calls
 * team_run is worker 0; the others wait between runs, first spinning (a step follows the last within microseconds),
 * then asleep. One run at a time. Nothing here allocates or locks after team_open. */
#ifndef SPATE_BACKEND_TEAM_H
#define SPATE_BACKEND_TEAM_H

#include "base/error.h"

struct team;

/* A run of consecutive work items. */
struct range {
  int first, count;
};

/* n_thread 0: cpu_share_count(). When the team fills all CPUs that the process may use, workers from 1 on are pinned,
 * one to a CPU; worker 0, the caller's own thread, is moved to the CPU that is left when a run finds it elsewhere. */
struct team *team_open(int n_thread, struct error *error);
void team_close(struct team *team);
int team_size(const struct team *team);

/* work(context, worker) on every worker; returns when all have returned. */
void team_run(struct team *team, void (*work)(void *context, int worker), void *context);

/* Within work: returns when every worker has come here. What was written before is visible to all after. */
void team_barrier(struct team *team);

/* Within work: the next at most `chunk` of [0, total) that nobody has claimed since the last barrier; false when all
 * are claimed. At most one such loop between two barriers. */
bool team_claim(struct team *team, int total, int chunk, struct range *range);

/* The part of [0, total) that is this worker's when it is dealt out evenly. */
struct range team_share(const struct team *team, int total, int worker);

#endif
