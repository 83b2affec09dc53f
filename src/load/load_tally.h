/* What a run's requests come to. Latencies are those of answers that came whole; percentiles lie between neighbouring
 * values where they fall between them, as numpy has it. */
#ifndef SPATE_LOAD_LOAD_TALLY_H
#define SPATE_LOAD_LOAD_TALLY_H

#include "load/load_run.h"

/* What is promised to one request, in milliseconds; 0: nothing. itl is the mean time between its tokens. */
struct load_slo {
  double ttft, itl, e2e;
};

enum load_quantile { LOAD_P50, LOAD_P90, LOAD_P99, LOAD_P999, LOAD_QUANTILES };
extern const char *const load_quantile_name[LOAD_QUANTILES];

/* In milliseconds; NAN where there are no values. */
struct load_spread {
  int64_t count;
  double mean, quantile[LOAD_QUANTILES], most;
};

struct load_tally {
  double seconds, processor;
  int ended[LOAD_END_COUNT];
  int sent, good;                               /* good: answered within the SLO */
  int64_t prompt_tokens, output_tokens, events; /* of whole answers; prompt_tokens −1: not told */
  struct load_spread ttft, itl, e2e, lag;       /* lag: how late requests were sent */
};

static inline double load_per_second(const struct load_tally *tally, double count) {
  return tally->seconds > 0 ? count / tally->seconds : 0;
}

/* "ttft=400,itl=30,e2e=5000", any of them. */
bool load_slo_parse(const char *text, struct load_slo *slo);

/* slo: NULL: none. */
bool load_tally_make(const struct load_plan *plan, const struct load_result *result, const struct load_slo *slo,
                     struct load_tally *tally, struct error *error);

#endif
