/* The printable letters in which byte-level vocabularies write bytes: a byte that is a visible Latin-1 character is
 * itself, the others are U+0100, U+0101... in order. */
#ifndef SPATE_TEXT_BYTE_LEVEL_H
#define SPATE_TEXT_BYTE_LEVEL_H

#include "base/slice.h"

/* Writes the bytes that the letters stand for to out (letters.size bytes of room); returns false when one of them
 * stands for none. */
bool byte_level_decode(struct slice letters, uint8_t *out, size_t *out_size);

/* The letters of the bytes, in UTF-8: out has room for twice as many bytes. Returns their size. */
size_t byte_level_encode(struct slice bytes, uint8_t *out);

#endif
