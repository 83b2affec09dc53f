/* Query strings: "a=1&b=two+words" and percent-encoding. */
#ifndef SPATE_HTTP_HTTP_QUERY_H
#define SPATE_HTTP_HTTP_QUERY_H

#include "base/buffer.h"

/* Takes the next name=value pair off *query, both still encoded (value empty when there is no '='). False at the end.
 */
bool http_query_next(struct slice *query, struct slice *name, struct slice *value);

/* Appends the decoded bytes ('+' is a space). False when a '%' is not followed by two hex digits or out is full. */
bool http_query_decode(struct slice encoded, struct buffer *out);

#endif
