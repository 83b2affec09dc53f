/* Bounded buffer: doubles until its maximum. */
#include "base/buffer.h"

#include "base/checked.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buffer_init(struct buffer *buffer, size_t max) { *buffer = (struct buffer){.max = max}; }

void buffer_release(struct buffer *buffer) {
  free(buffer->data);
  buffer_init(buffer, buffer->max);
}

void buffer_clear(struct buffer *buffer) {
  buffer->size = 0;
  buffer->failed = false;
}

static bool buffer_grow(struct buffer *buffer, size_t need) {
  size_t capacity = buffer->capacity ? buffer->capacity : 256;
  while (capacity < need) capacity = capacity > buffer->max / 2 ? buffer->max : capacity * 2;
  char *data = realloc(buffer->data, capacity);
  if (!data) return false;
  buffer->data = data;
  buffer->capacity = capacity;
  return true;
}

void *buffer_reserve(struct buffer *buffer, size_t size) {
  size_t need;
  bool fits = !buffer->failed && size_add(buffer->size, size, &need) && need <= buffer->max;
  if (fits && need > buffer->capacity) fits = buffer_grow(buffer, need);
  if (fits && buffer->data) return buffer->data + buffer->size;
  if (fits && buffer_grow(buffer, 1)) return buffer->data;
  buffer->failed = true;
  return NULL;
}

bool buffer_append(struct buffer *buffer, const void *data, size_t size) {
  if (size == 0) return !buffer->failed;
  void *room = buffer_reserve(buffer, size);
  if (!room) return false;
  memcpy(room, data, size);
  buffer->size += size;
  return true;
}

bool buffer_text(struct buffer *buffer, const char *text) { return buffer_append(buffer, text, strlen(text)); }

bool buffer_print(struct buffer *buffer, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(NULL, 0, format, arguments);
  va_end(arguments);
  char *room = length < 0 ? NULL : buffer_reserve(buffer, (size_t)length + 1);
  if (!room) return false;
  va_start(arguments, format);
  vsnprintf(room, (size_t)length + 1, format, arguments);
  va_end(arguments);
  buffer->size += (size_t)length;
  return true;
}

void buffer_consume(struct buffer *buffer, size_t count) {
  if (count >= buffer->size) {
    buffer->size = 0;
    return;
  }
  memmove(buffer->data, buffer->data + count, buffer->size - count);
  buffer->size -= count;
}
