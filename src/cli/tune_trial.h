/* One measurement of spate tune: an engine opened with some settings, served on the loopback of this machine, under the
 * load that all others have, and what came of it. */
#ifndef SPATE_CLI_TUNE_TRIAL_H
#define SPATE_CLI_TUNE_TRIAL_H

#include "cli/option.h"
#include "cli/progress.h"
#include "cli/tune_search.h"
#include "load/load_tally.h"

/* The load of every measurement: the same lengths and times, other words. */
struct tune_load {
  struct load_shape shape;
  const char *trace; /* requests of a file instead; NULL: drawn */
  int clients;       /* a closed loop of so many; 0: an open one */
  double rate;       /* of an open loop, requests a second */
  struct load_slo slo;
  bool has_slo;
  int runs; /* so far: each has words of its own */
};

/* What shows that it goes on. */
struct tune_watch {
  struct progress progress;
  uint64_t begin_us; /* of the budget */
  double budget_s;
  double limit_s; /* of this load: what takes longer has lost, and is ended; 0: none */
  bool cut;       /* the requests that came last were broken off by one of these */
};

struct tune_trial {
  struct load_tally tally;
  struct tune_score score;
  double load_s; /* of the load alone */
};

/* False with a sentence: with these settings nothing can be served. */
bool tune_trial_run(struct tune_load *load, const struct settings *settings, struct tune_watch *watch,
                    struct tune_trial *trial, struct error *error);

double tune_watch_seconds(const struct tune_watch *watch); /* of the budget, so far */

/* The user wants no more, or the budget is spent: what was cut off by that says nothing. */
bool tune_watch_over(const struct tune_watch *watch);

#endif
