/* Progress on standard error: a bar with bytes, rate and time left on a terminal, a plain line per stage elsewhere. */
#ifndef SPATE_CLI_PROGRESS_H
#define SPATE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
  char stage[32];
  uint64_t start_us;
};

/* A spate_progress; user is a struct progress, zeroed before the first call. */
bool progress_show(void *user, const char *stage, uint64_t done, uint64_t total);

#endif
