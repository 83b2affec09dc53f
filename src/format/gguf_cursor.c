/* The bounds-checked position in a GGUF header. */
#include "format/gguf_cursor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void cursor_subject(struct gguf_cursor *cursor, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(cursor->subject, sizeof cursor->subject, format, args);
  va_end(args);
}

const uint8_t *cursor_take(struct gguf_cursor *cursor, size_t size) {
  if (size > cursor_left(cursor)) {
    error_set(cursor->error, ERROR_FORMAT,
              "The file ends at byte %zu, within %s, which needs %zu bytes from byte %zu: it is truncated or damaged; "
              "get it again.",
              cursor->bytes.size, cursor->subject, size, cursor->at);
    return NULL;
  }
  const uint8_t *data = cursor->bytes.data + cursor->at;
  cursor->at += size;
  return data;
}

bool cursor_u32(struct gguf_cursor *cursor, uint32_t *out) {
  const uint8_t *data = cursor_take(cursor, sizeof *out);
  if (data) memcpy(out, data, sizeof *out);
  return data;
}

bool cursor_u64(struct gguf_cursor *cursor, uint64_t *out) {
  const uint8_t *data = cursor_take(cursor, sizeof *out);
  if (data) memcpy(out, data, sizeof *out);
  return data;
}

bool cursor_string(struct gguf_cursor *cursor, struct slice *out) {
  uint64_t size;
  if (!cursor_u64(cursor, &size)) return false;
  const uint8_t *data = cursor_take(cursor, size);
  if (data) *out = slice_make(data, size);
  return data;
}
