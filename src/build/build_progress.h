/* Progress of a build, or of another use of its stages, towards the caller; at most about ten times a second. Owned by
 * the thread that builds. */
#ifndef SPATE_BUILD_BUILD_PROGRESS_H
#define SPATE_BUILD_BUILD_PROGRESS_H

#include "base/error.h"

#include <stdint.h>

struct build_progress {
  bool (*report)(void *user, const char *stage, uint64_t done, uint64_t total); /* may be NULL */
  void *user;
  uint64_t last_us; /* of the last report */
};

/* done == total is always reported. False when the caller cancels, with the sentence. */
bool progress_report(struct build_progress *progress, const char *stage, uint64_t done, uint64_t total,
                     struct error *error);

#endif
