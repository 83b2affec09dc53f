/* Server-sent events in. */
#include "http/sse_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Every event of a stream that comes in pieces of that many bytes, each with "|" behind it; "!" when one was too long.
 */
static void events_read(const char *stream, size_t piece, struct buffer *out) {
  struct sse_reader reader;
  size_t size = strlen(stream);
  sse_reader_init(&reader, 16);
  buffer_clear(out);
  for (size_t at = 0; at < size && !reader.data.failed; at += piece) {
    struct slice input = slice_make(stream + at, size - at < piece ? size - at : piece), event;
    while (sse_reader_next(&reader, &input, &event)) {
      buffer_append(out, event.data, event.size);
      buffer_text(out, "|");
    }
  }
  if (reader.data.failed) buffer_text(out, "!");
  sse_reader_release(&reader);
}

static void test_streams(void **state) {
  (void)state;
  static const struct {
    const char *stream, *events;
  } table[] = {
      {"", ""},
      {"data: a\n\n", "a|"},
      {"data:a\n\ndata: b\n\n", "a|b|"},
      {"data:  a\r\n\r\n", " a|"},
      {"data: a\r\rdata: b\r\r", "a|b|"},
      {"data: a\rdata: b\n\r\n", "a\nb|"},
      {"data\n\n", "|"},
      {"data:\ndata: x\n\n", "\nx|"},
      {"\n\n\n", ""},
      {": comment\n\nevent: x\nid: 3\nretry: 5\n\n", ""},
      {"event: x\ndata: a\nid: 1\n\n", "a|"},
      {"database: x\ndat: y\n data: z\n\n", ""},
      {"data: a\n", ""},
      {"data: a", ""},
      {"data: 0123456789abcde\n\n", "!"}, /* a line of 21 bytes */
      {"data: 12345678\ndata: 12345678\n\n", "!"},
      {"data: 12345678\n\ndata: 12345678\n\n", "12345678|12345678|"},
  };
  struct buffer out;
  buffer_init(&out, 1024);
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
    for (size_t piece = 1; piece < 8; piece++) {
      events_read(table[i].stream, piece, &out);
      if (!slice_is(buffer_slice(&out), table[i].events))
        fail_msg("row %zu in pieces of %zu: %.*s", i, piece, (int)out.size, out.data);
    }
  buffer_release(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_streams)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
