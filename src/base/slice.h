/* A view of bytes that somebody else owns. Not NUL-terminated; may hold any byte. */
#ifndef SPATE_BASE_SLICE_H
#define SPATE_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
  const uint8_t *data;
  size_t size; /* bytes */
};

static inline struct slice slice_make(const void *data, size_t size) { return (struct slice){data, size}; }
static inline struct slice slice_text(const char *text) { return (struct slice){(const uint8_t *)text, strlen(text)}; }

static inline bool slice_equal(struct slice a, struct slice b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool slice_is(struct slice a, const char *text) { return slice_equal(a, slice_text(text)); }

static inline bool slice_starts(struct slice a, const char *prefix) {
  size_t size = strlen(prefix);
  return a.size >= size && memcmp(a.data, prefix, size) == 0;
}

/* How many bytes both begin with alike. */
static inline size_t slice_common(struct slice a, struct slice b) {
  size_t size = 0;
  while (size < a.size && size < b.size && a.data[size] == b.data[size]) size++;
  return size;
}

/* For printf's "%.*s": SLICE_ARGS(s) expands to the length and the pointer. */
#define SLICE_ARGS(s) (int)((s).size > 200 ? 200 : (s).size), (const char *)(s).data

#endif
