/* Progress on standard error: a bar with bytes, rate and time left on a terminal, a plain line per stage elsewhere. */
#ifndef SPATE_CLI_PROGRESS_H
#define SPATE_CLI_PROGRESS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct progress {
  char stage[32];
  uint64_t start_us, last_us;       /* of the stage; of the last report */
  bool bytes;                       /* all stages count bytes */
  char note[64];                    /* shown behind it; the caller's */
  uint64_t quiet_until_us;          /* what ends before is not shown */
  uint64_t told_us;                 /* when a service manager was last told that the start goes on */
  struct sigaction on_int, on_term; /* what stood before progress_begin */
};

/* Between the two, the first SIGINT or SIGTERM lets progress_show cancel, so that the library tidies up; a second one
 * ends the process. progress_end returns false when there was one. */
void progress_begin(struct progress *progress);
bool progress_end(const struct progress *progress);
bool progress_interrupted(void); /* so far */

/* For what mostly ends at once: nothing is shown in the first second. */
struct progress progress_quiet(void);

/* A spate_progress; user is a struct progress, begun or zeroed before the first call. */
bool progress_show(void *user, const char *stage, uint64_t done, uint64_t total);

#endif
