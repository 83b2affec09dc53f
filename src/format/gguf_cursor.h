/* Reading a GGUF header from its start: a position that never passes the end, and what is being read, for the sentence
 * when the bytes run out. Inside the format room only. */
#ifndef SPATE_FORMAT_GGUF_CURSOR_H
#define SPATE_FORMAT_GGUF_CURSOR_H

#include "base/error.h"
#include "base/slice.h"

struct gguf;

struct gguf_cursor {
  struct slice bytes;
  size_t at;
  char subject[240]; /* "tensor 3", "key \"general.name\"" */
  struct error *error;
};

void cursor_subject(struct gguf_cursor *cursor, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline size_t cursor_left(const struct gguf_cursor *cursor) { return cursor->bytes.size - cursor->at; }

/* The next bytes, or NULL with a sentence when there are fewer left. */
const uint8_t *cursor_take(struct gguf_cursor *cursor, size_t size);

bool cursor_u32(struct gguf_cursor *cursor, uint32_t *out);
bool cursor_u64(struct gguf_cursor *cursor, uint64_t *out);

/* An 8-byte length and that many bytes. */
bool cursor_string(struct gguf_cursor *cursor, struct slice *out);

/* Reads the n_value metadata pairs at the cursor into gguf and indexes them (gguf_metadata.c). */
bool gguf_read_metadata(struct gguf *gguf, struct gguf_cursor *cursor, uint64_t n_value);

#endif
