/* The source's line ends, and what its literals mean. */
#ifndef SPATE_TEXT_JINJA_LITERAL_H
#define SPATE_TEXT_JINJA_LITERAL_H

#include "base/arena.h"
#include "base/slice.h"

/* "\r\n" and "\r" become "\n", and one at the very end is dropped: copied into the arena where that changes anything.
 * False: no memory. */
bool source_unify_lines(struct slice *source, struct arena *arena);

/* Whether an escape between quotes is one that Python refuses, or one by name, which is not there. */
bool literal_is_spoilt(struct slice written);

/* What a literal between quotes means, by Python's escapes. False: no memory. */
bool literal_text(struct slice written, struct arena *arena, struct slice *text);

struct literal_number {
  size_t size;          /* bytes of the source */
  bool is_real, is_big; /* big: beyond 64 bits, its digits are `digits` */
  int64_t integer;
  double real;
  struct slice digits;
};

/* The number that text starts with a digit of; after_dot: it is an index, and has no fraction. False: it has more
 * digits than a number may have, or no memory. */
bool literal_number(struct slice text, bool after_dot, struct arena *arena, struct literal_number *number);

#endif
