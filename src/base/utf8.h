/* UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef SPATE_BASE_UTF8_H
#define SPATE_BASE_UTF8_H

#include "base/slice.h"

#include <stdbool.h>

/* The first character of text: its length in bytes (1 to 4) with its code point, or 0 when text starts with no whole
 * valid character. */
size_t utf8_read(struct slice text, uint32_t *code);

/* The length of the longest prefix that ends on a character boundary where an incomplete (but so far valid) character
 * at the very end is held back: what a stream may emit now. Invalid bytes count as characters of their own. */
size_t utf8_complete(struct slice text);

/* Writes code as UTF-8 (up to 4 bytes); returns the size. A surrogate or a code beyond U+10FFFF becomes U+FFFD. */
size_t utf8_write(uint32_t code, uint8_t *out);

bool utf8_valid(struct slice text);

/* Characters that begin in the text. */
size_t utf8_characters(struct slice text);

#endif
