/* Server-sent events: frames for text/event-stream. */
#ifndef SPATE_HTTP_SSE_H
#define SPATE_HTTP_SSE_H

#include "base/buffer.h"

#define SSE_CONTENT_TYPE "text/event-stream; charset=utf-8"

/* Appends one event: a "data: " line for each line of data (ended by \n, \r\n or \r), then an empty line. */
bool sse_write_event(struct buffer *out, struct slice data);

#endif
