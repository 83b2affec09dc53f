/* JSON in through jansson (one set of strict flags), JSON out through a bounded buffer. */
#ifndef SPATE_BASE_JSON_H
#define SPATE_BASE_JSON_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/slice.h"

#include <jansson.h>

/* Parses a whole text: duplicate keys, bad UTF-8, trailing bytes, NaN and nesting over LIMIT_JSON_DEPTH are refused
 * with a sentence that gives the line and column; a lack of memory is ERROR_MEMORY. U+0000 in strings is allowed: use
 * json_string_length. The result is the caller's to json_decref. */
json_t *json_parse(struct slice text, struct error *error);

/* The same for what a client sends: a number beyond 64 bits, or beyond what a double holds, is no mistake. exact: it is
 * kept, as json_is_wide tells; else it is the nearest number that there is. */
json_t *json_parse_client(struct slice text, bool exact, struct error *error);

/* True with the number as it was written when value is one that only json_parse_client keeps. Its type is JSON_STRING:
 * where strings are meant, ask here first. */
bool json_is_wide(const json_t *value, struct slice *written);

/* What may stand between its words. */
static inline bool json_is_space(uint8_t c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

/* Reads a file of at most max bytes and parses it. */
json_t *json_read(const char *path, size_t max, struct error *error);

/* The string's bytes, U+0000 included. The value must be a string. */
struct slice json_slice(const json_t *string);

/* Appends "text" quoted and escaped: what some reader takes for the end of a line or for a command to a terminal too.
 * Other valid UTF-8 passes through; invalid bytes become U+FFFD. */
bool json_write_string(struct buffer *out, struct slice text);

/* Appends a finite number in the shortest form that reads back the same; NaN and infinities become null. */
bool json_write_number(struct buffer *out, double number);

#endif
