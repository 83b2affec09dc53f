/* Arena: a list of chunks, malloc'ed or mapped, bump allocation in the newest. */
#include "base/arena.h"

#include "base/checked.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { CHUNK_BYTES = 64 << 10, ARENA_ALIGN = 16, GREAT_PAGE_BYTES = 2 << 20, RESERVE_LEAST = 2 * GREAT_PAGE_BYTES };

struct arena_chunk {
  struct arena_chunk *next;
  size_t mapped;     /* bytes that were mapped for it; 0: it was malloc'ed */
  size_t used, size; /* bytes of data[] */
  size_t dirty;      /* of them, what was handed out before arena_renew */
  _Alignas(ARENA_ALIGN) unsigned char data[];
};

void arena_init(struct arena *arena, size_t max) { *arena = (struct arena){.max = max}; }

static struct arena_chunk *chunk_new(size_t size) {
  size_t total;
  if (!size_add(size, sizeof(struct arena_chunk), &total)) return NULL;
  struct arena_chunk *chunk = calloc(1, total);
  if (chunk) chunk->size = size;
  return chunk;
}

/* Of pages of 2 MiB: touching 80 MB for the first time then takes 10 ms less. */
void arena_reserve(struct arena *arena, size_t bytes) {
  size_t total;
  if (bytes < RESERVE_LEAST || bytes > arena->max - arena->used ||
      !size_add(bytes, sizeof(struct arena_chunk), &total) || !size_align(total, GREAT_PAGE_BYTES, &total))
    return;
  void *map = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) return;
  madvise(map, total, MADV_HUGEPAGE); /* a kernel without them refuses, and has small ones */
  struct arena_chunk *chunk = map;
  *chunk = (struct arena_chunk){.next = arena->chunks, .mapped = total, .size = total - sizeof *chunk};
  arena->chunks = chunk;
}

static void chunk_free(struct arena_chunk *chunk) {
  if (chunk->mapped)
    munmap(chunk, chunk->mapped);
  else
    free(chunk);
}

void arena_renew(struct arena *arena, size_t bytes) {
  struct arena_chunk *kept = NULL;
  for (struct arena_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
    next = chunk->next;
    if (!kept && chunk->mapped && chunk->size >= bytes && chunk->size / 2 <= bytes)
      kept = chunk;
    else
      chunk_free(chunk);
  }
  arena->chunks = kept;
  arena->used = 0;
  if (!kept) {
    arena_reserve(arena, bytes);
    return;
  }
  kept->next = NULL;
  if (kept->used > kept->dirty) kept->dirty = kept->used;
  kept->used = 0;
}

void *arena_alloc(struct arena *arena, size_t size) {
  size_t rounded;
  if (!size_align(size ? size : 1, ARENA_ALIGN, &rounded)) return NULL;
  if (rounded > arena->max - arena->used) return NULL;
  struct arena_chunk *chunk = arena->chunks;
  if (!chunk || chunk->size - chunk->used < rounded) {
    chunk = chunk_new(rounded > CHUNK_BYTES ? rounded : CHUNK_BYTES);
    if (!chunk) {
      arena->starved = true;
      return NULL;
    }
    chunk->next = arena->chunks;
    arena->chunks = chunk;
  }
  unsigned char *memory = chunk->data + chunk->used;
  if (chunk->used < chunk->dirty) {
    size_t before = chunk->dirty - chunk->used;
    memset(memory, 0, rounded < before ? rounded : before);
  }
  chunk->used += rounded;
  arena->used += rounded;
  return memory;
}

void *arena_array(struct arena *arena, size_t count, size_t size) {
  size_t total;
  return size_mul(count, size, &total) ? arena_alloc(arena, total) : NULL;
}

char *arena_text(struct arena *arena, struct slice text) {
  if (text.size == SIZE_MAX) return NULL;
  char *copy = arena_alloc(arena, text.size + 1);
  if (copy && text.size) memcpy(copy, text.data, text.size);
  return copy;
}

void arena_release(struct arena *arena) {
  while (arena->chunks) {
    struct arena_chunk *next = arena->chunks->next;
    chunk_free(arena->chunks);
    arena->chunks = next;
  }
  arena->used = 0;
}
