/* What the tests of images share: fixtures by name. */
#ifndef IMAGE_SUPPORT_H
#define IMAGE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/slice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* A file of tests/fixtures/image, NUL-terminated beyond its size; the caller frees its data. */
static inline struct slice fixture_read(const char *folder, const char *name) {
  char path[512];
  snprintf(path, sizeof path, FIXTURES "/image/%s%s%s", folder, *folder ? "/" : "", name);
  FILE *file = fopen(path, "rb");
  if (!file) fail_msg("%s cannot be opened", path);
  size_t size = 0, room = 1 << 22;
  char *data = malloc(room);
  size = fread(data, 1, room - 1, file);
  fclose(file);
  data = realloc(data, size + 1); /* so that a sanitizer sees what is read beyond */
  data[size] = 0;
  return slice_make(data, size);
}

static inline void fixture_free(struct slice data) { free((void *)(uintptr_t)data.data); }

static inline uint32_t crc_of(const void *bytes, size_t size) { return (uint32_t)crc32(0, bytes, (uInt)size); }

/* As tools/make_image_fixtures.py has it. */
static inline void random_fill(uint8_t *bytes, size_t count, uint32_t seed) {
  uint32_t state = seed * 2654435761u + 12345u;
  for (size_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    bytes[i] = (uint8_t)(state >> 24);
  }
}

#endif
