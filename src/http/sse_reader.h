/* Server-sent events, read piece by piece as the HTML standard says; of their fields only data matters here. */
#ifndef SPATE_HTTP_SSE_READER_H
#define SPATE_HTTP_SSE_READER_H

#include "base/buffer.h"

struct sse_reader {
  struct buffer line; /* the beginning of one whose end has not come */
  struct buffer data; /* lines of the event so far, each with \n */
  bool given;         /* data is an event that the last call told */
  bool after_return;  /* a \n that follows belongs to the end of the line before */
};

/* limit: bytes of an event. */
void sse_reader_init(struct sse_reader *reader, size_t limit);
void sse_reader_release(struct sse_reader *reader);

/* Takes bytes off *input until an event is complete, whose data is *event until the next call. False: more bytes are
 * needed, or the event is over the limit, and then reader->data.failed. */
bool sse_reader_next(struct sse_reader *reader, struct slice *input, struct slice *event);

#endif
