/* As llama-gguf-split writes them. */
#include "base/part_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = 5, END = 5 /* .gguf */, TAIL = 1 + DIGITS + 4 + DIGITS + END };

struct part_name part_name_read(const char *name) {
  size_t size = strlen(name);
  struct part_name whole = {.stem = size > END ? size - END : 0, .part = 1, .parts = 1};
  const char *tail = size > TAIL ? name + size - TAIL : NULL;
  if (!tail || tail[0] != '-' || strspn(tail + 1, "0123456789") != DIGITS || memcmp(tail + 6, "-of-", 4) != 0 ||
      strspn(tail + 10, "0123456789") != DIGITS)
    return whole;
  return (struct part_name){.stem = size - TAIL, .part = atoi(tail + 1), .parts = atoi(tail + 10)};
}

bool part_name_other(const char *name, const struct part_name *of, int part, char *out, size_t room) {
  int size =
      snprintf(out, room, "%.*s-%05d-of-%05d%s", (int)of->stem, name, part, of->parts, name + strlen(name) - END);
  return size > 0 && (size_t)size < room;
}
