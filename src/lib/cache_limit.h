/* Keeping the cache of built engines below a size: those used longest ago go first. */
#ifndef SPATE_LIB_CACHE_LIMIT_H
#define SPATE_LIB_CACHE_LIMIT_H

#include <stdint.h>

/* Notes that the engine at path is used now, and removes engines of its folder, never this one, until all together take
 * at most `most` bytes; 0: any number. One that another process serves goes on being served. What cannot be removed
 * stays. */
void cache_keep(const char *path, uint64_t most);

#endif
