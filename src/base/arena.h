/* An arena: allocations that live and die together, with a declared maximum. One owner at a time; no locks. */
#ifndef SPATE_BASE_ARENA_H
#define SPATE_BASE_ARENA_H

#include "base/slice.h"

#include <stddef.h>

struct arena_chunk;

struct arena {
  struct arena_chunk *chunks; /* newest first */
  size_t used;                /* bytes handed out, padding included */
  size_t max;                 /* bytes it may hand out */
  bool starved;               /* the system once had none: what was refused is not for the maximum's sake */
};

void arena_init(struct arena *arena, size_t max);

/* Takes memory for so many bytes in one piece, of great pages where there are any: what follows is handed out from it.
 * Few bytes, or none to be had: nothing happens. */
void arena_reserve(struct arena *arena, size_t bytes);

/* Frees everything and reserves so many bytes, in memory that was reserved before where there is enough and not more
 * than twice as much: pages that have been touched are quicker than fresh ones. */
void arena_renew(struct arena *arena, size_t bytes);

/* Zeroed memory aligned to 16 bytes, or NULL when the maximum would be passed or the system has none. */
void *arena_alloc(struct arena *arena, size_t size);

/* count × size with the product checked. */
void *arena_array(struct arena *arena, size_t count, size_t size);

/* A NUL-terminated copy of a slice, or NULL. */
char *arena_text(struct arena *arena, struct slice text);

/* Frees everything; the arena is empty and usable again with the same maximum. */
void arena_release(struct arena *arena);

#endif
