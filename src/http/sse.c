/* Server-sent events. */
#include "http/sse.h"

static bool is_line_end(uint8_t byte) { return byte == '\n' || byte == '\r'; }

bool sse_write_event(struct buffer *out, struct slice data) {
  size_t at = 0;
  bool more = true;
  while (more) {
    size_t start = at;
    while (at < data.size && !is_line_end(data.data[at])) at++;
    buffer_text(out, "data: ");
    buffer_append(out, data.data + start, at - start);
    buffer_text(out, "\n");
    more = at < data.size;
    if (more && data.data[at] == '\r' && at + 1 < data.size && data.data[at + 1] == '\n') at++;
    at++;
  }
  return buffer_text(out, "\n");
}
