/* Throttled progress. */
#include "build/build_progress.h"

#include "base/clock.h"

enum { REPORT_EVERY_US = 100000 };

bool progress_report(struct build_progress *progress, const char *stage, uint64_t done, uint64_t total,
                     struct error *error) {
  uint64_t now = clock_us();
  if (!progress->report || (done != total && now - progress->last_us < REPORT_EVERY_US)) return true;
  progress->last_us = now;
  if (progress->report(progress->user, stage, done, total)) return true;
  return error_set(error, ERROR_CANCELLED, "Cancelled by the caller in the stage \"%s\".", stage);
}
