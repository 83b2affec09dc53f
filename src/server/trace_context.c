/* traceparent: version "-" trace-id "-" parent-id "-" flags, lower-case hex. */
#include "server/trace_context.h"

enum {
  VERSION_AT = 0,
  TRACE_AT = 3,
  PARENT_AT = TRACE_AT + 2 * TRACE_ID_BYTES + 1,
  FLAGS_AT = PARENT_AT + 2 * SPAN_ID_BYTES + 1,
  HEADER_CHARS = FLAGS_AT + 2,
  FLAG_SAMPLED = 1,
  VERSION_INVALID = 0xff,
};

static int hex_digit(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/* False for other characters than lower-case hex. `all` gathers the bytes' bits, so that zeros can be told. */
static bool hex_read(const uint8_t *text, int n_byte, uint8_t *bytes, uint8_t *all) {
  *all = 0;
  for (int i = 0; i < n_byte; i++) {
    int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    bytes[i] = (uint8_t)(high << 4 | low);
    *all |= bytes[i];
  }
  return true;
}

static bool dashes_are_there(const uint8_t *text) {
  return text[TRACE_AT - 1] == '-' && text[PARENT_AT - 1] == '-' && text[FLAGS_AT - 1] == '-';
}

bool trace_context_read(struct slice header, struct trace_context *context) {
  struct trace_context read;
  uint8_t version, flags, all;
  if (header.size < HEADER_CHARS || !dashes_are_there(header.data)) return false;
  if (!hex_read(header.data + VERSION_AT, 1, &version, &all) || version == VERSION_INVALID) return false;
  if (header.size > HEADER_CHARS && (version == 0 || header.data[HEADER_CHARS] != '-')) return false;
  if (!hex_read(header.data + TRACE_AT, TRACE_ID_BYTES, read.trace, &all) || all == 0) return false;
  if (!hex_read(header.data + PARENT_AT, SPAN_ID_BYTES, read.parent, &all) || all == 0) return false;
  if (!hex_read(header.data + FLAGS_AT, 1, &flags, &all)) return false;
  read.sampled = flags & FLAG_SAMPLED;
  *context = read;
  return true;
}
