/* The source's line ends and the escapes of its string literals. */
#ifndef SPATE_TEXT_JINJA_STRING_H
#define SPATE_TEXT_JINJA_STRING_H

#include "base/arena.h"
#include "base/slice.h"

/* Writes code as UTF-8 (up to 4 bytes); returns the size. A surrogate or a code beyond U+10FFFF becomes U+FFFD. */
size_t jinja_utf8_write(uint32_t code, uint8_t *out);

/* "\r\n" and "\r" become "\n", and one at the very end is dropped: copied into the arena where that changes anything.
 * False: no memory. */
bool jinja_unify_lines(struct slice *source, struct arena *arena);

/* What a literal between quotes means, by Python's escapes. False: no memory. */
bool jinja_unescape(struct slice written, struct arena *arena, struct slice *text);

#endif
