/* What spate tune has found: the table for people, and the file for spate serve. */
#ifndef SPATE_CLI_TUNE_REPORT_H
#define SPATE_CLI_TUNE_REPORT_H

#include "base/buffer.h"
#include "cli/tune_settings.h"
#include "cli/tune_trial.h"

/* How a file begins that spate tune may write over. */
static const char tune_report_mark[] = "# Written by spate tune";

struct tune {
  const struct settings *given;
  const char *workload, *output;
  char device[256];
  struct tune_load load;
  struct tune_watch watch;
  struct tune_settings settings;
  struct tune_search search;
  struct load_tally side[2][TUNE_PAIRS_MAX]; /* of the start, of the best; without a proof the start's first ones */
  int n_side[2];
  int n_run; /* measurements */
};

void tune_report_print(const struct tune *tune);

/* The settings as spate.yaml, under comments that say what they gained. False: out of memory. */
bool tune_report_write(const struct tune *tune, struct settings *best, struct buffer *out);

#endif
