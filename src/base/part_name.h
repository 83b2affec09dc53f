/* Names of the files of a model that was split: STEM-00001-of-00003.gguf. */
#ifndef SPATE_BASE_PART_NAME_H
#define SPATE_BASE_PART_NAME_H

#include <stdbool.h>
#include <stddef.h>

struct part_name {
  size_t stem;     /* bytes of the name before the number, or before its end for a whole file */
  int part, parts; /* which, from 1, and of how many; 1 of 1 for a whole file */
};

/* Of a name or path that ends in .gguf, in letters of either case. */
struct part_name part_name_read(const char *name);

/* The path of another part; false: it has no room. */
bool part_name_other(const char *name, const struct part_name *of, int part, char *out, size_t room);

#endif
