/* Query strings: "a=1&b=two+words" and percent-encoding. */
#ifndef SPATE_HTTP_HTTP_QUERY_H
#define SPATE_HTTP_HTTP_QUERY_H

#include "base/buffer.h"

/* The value of a hexadecimal digit, or -1. */
int http_hex_value(uint8_t digit);

/* Decodes %XX, and '+' to a space when asked. out has room for encoded.size bytes and may be where encoded lies. False
 * when a '%' is not followed by two hex digits. */
bool http_percent_decode(struct slice encoded, bool plus_is_space, char *out, size_t *size);

/* Takes the next name=value pair off *query, both still encoded (value empty when there is no '='). False at the end.
 */
bool http_query_next(struct slice *query, struct slice *name, struct slice *value);

/* Appends the decoded name or value. False when its encoding is bad or out is full. */
bool http_query_decode(struct slice encoded, struct buffer *out);

#endif
