/* The file that remembers tactics: a first line that names the format and the version of Spate, then one
 * "key<TAB>number" a line. */
#ifndef SPATE_BACKEND_TACTIC_CACHE_H
#define SPATE_BACKEND_TACTIC_CACHE_H

#include "base/buffer.h"

struct tactic_cache {
  struct buffer text; /* the whole file as it should be */
  bool changed;
};

/* Reads path; anything but a well-formed file counts as an empty one. path NULL: empty. */
void tactic_cache_open(struct tactic_cache *cache, const char *path);
/* Writes the file if anything was added (through a temporary name, so that it is never half there), then releases. */
void tactic_cache_close(struct tactic_cache *cache, const char *path);

bool tactic_cache_get(const struct tactic_cache *cache, const char *key, int *value);
void tactic_cache_put(struct tactic_cache *cache, const char *key, int value);

#endif
