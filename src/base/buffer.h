/* A growing byte buffer with a declared maximum. Appending past it (or out of memory) marks the buffer failed and
 * leaves what was there; callers append freely and look at `failed` once at the end. */
#ifndef SPATE_BASE_BUFFER_H
#define SPATE_BASE_BUFFER_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>

struct buffer {
  char *data; /* owned; not NUL-terminated */
  size_t size, capacity, max;
  bool failed;
};

void buffer_init(struct buffer *buffer, size_t max);
void buffer_release(struct buffer *buffer);
void buffer_clear(struct buffer *buffer); /* size 0, failed false, memory kept */

bool buffer_append(struct buffer *buffer, const void *data, size_t size);
bool buffer_text(struct buffer *buffer, const char *text);
bool buffer_print(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Room for size more bytes at data + size, for callers that write in place; NULL when failed. Add to size yourself. */
void *buffer_reserve(struct buffer *buffer, size_t size);

/* Drops the first count bytes. */
void buffer_consume(struct buffer *buffer, size_t count);

static inline struct slice buffer_slice(const struct buffer *buffer) {
  return (struct slice){(const uint8_t *)buffer->data, buffer->size};
}

#endif
