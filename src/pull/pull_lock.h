/* One process at a time writes a blob: huggingface_hub's lock for it, so that its downloads and Spate's wait for each
 * other. */
#ifndef SPATE_PULL_PULL_LOCK_H
#define SPATE_PULL_PULL_LOCK_H

#include "base/error.h"

enum lock_outcome { LOCK_TAKEN, LOCK_BUSY, LOCK_FAILED };

/* Does not wait. *descriptor is to be closed when the work is done; the file stays, for it costs nothing. */
enum lock_outcome pull_lock_try(const char *path, int *descriptor, struct error *error);

#endif
