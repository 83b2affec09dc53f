/* spate pull: the files of a model from the Hugging Face hub into the cache that others use too (hub/hub_cache.h). What
 * was broken off goes on where it ended. The hub is not trusted: names, sizes and digests are checked, and everything
 * that it makes Spate keep is bounded. */
#ifndef SPATE_PULL_PULL_H
#define SPATE_PULL_PULL_H

#include "hub/hub_id.h"

#include <limits.h>
#include <stdint.h>

struct pull_options {
  struct hub_id id;
  /* Bytes of the file that are there; asked some ten times a second too, also while there is no file (NULL). False:
   * stop. May be NULL. */
  bool (*progress)(void *user, const char *file, uint64_t done, uint64_t total);
  void (*note)(void *user, const char *sentence); /* of what goes on; may be NULL */
  void *user;
};

struct pull_result {
  char path[PATH_MAX]; /* what to open: a folder or a GGUF file */
  int n_file;          /* of the model */
  uint64_t bytes;      /* of all of them */
  uint64_t fetched;    /* of those that were not there */
};

/* On the calling thread, which waits. ERROR_CANCELLED: it was stopped. */
bool pull_run(const struct pull_options *options, struct pull_result *result, struct error *error);

#endif
