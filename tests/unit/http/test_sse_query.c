/* Small formats: server-sent events out, query strings in. */
#include "http/http_query.h"
#include "http/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_events(void **state) {
  (void)state;
  static const struct {
    const char *data, *event;
  } table[] = {
      {"", "data: \n\n"},
      {"a", "data: a\n\n"},
      {"a\nb", "data: a\ndata: b\n\n"},
      {"a\r\nb\rc", "data: a\ndata: b\ndata: c\n\n"},
      {"a\n\nb", "data: a\ndata: \ndata: b\n\n"},
      {"a\n", "data: a\ndata: \n\n"},
  };
  struct buffer out;
  buffer_init(&out, 1024);
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    buffer_clear(&out);
    assert_true(sse_write_event(&out, slice_text(table[i].data)));
    if (!slice_is(buffer_slice(&out), table[i].event)) fail_msg("row %zu: %.*s", i, (int)out.size, out.data);
  }
  buffer_release(&out);
}

static void test_pairs(void **state) {
  (void)state;
  static const struct {
    const char *query, *joined; /* "name>value|" of each pair */
  } table[] = {
      {"", ""},
      {"a=1&b=two", "a>1|b>two|"},
      {"a&b=&=c&&d=e=f&", "a>|b>|>c|d>e=f|"},
  };
  struct buffer out;
  buffer_init(&out, 1024);
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    struct slice query = slice_text(table[i].query), name, value;
    buffer_clear(&out);
    while (http_query_next(&query, &name, &value))
      buffer_print(&out, "%.*s>%.*s|", SLICE_ARGS(name), SLICE_ARGS(value));
    if (!slice_is(buffer_slice(&out), table[i].joined)) fail_msg("row %zu: %.*s", i, (int)out.size, out.data);
  }
  buffer_release(&out);
}

static void test_decoding(void **state) {
  (void)state;
  static const struct {
    const char *encoded, *decoded; /* NULL: refused */
  } table[] = {
      {"", ""},      {"a+b%20c", "a b c"}, {"%C3%a9%2B", "\xc3\xa9+"}, {"%", NULL}, {"%4", NULL},
      {"%4g", NULL}, {"%+1", NULL},
  };
  struct buffer out;
  buffer_init(&out, 64);
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    buffer_clear(&out);
    bool decoded = http_query_decode(slice_text(table[i].encoded), &out);
    assert_int_equal(decoded, table[i].decoded != NULL);
    if (decoded) assert_true(slice_is(buffer_slice(&out), table[i].decoded));
  }
  buffer_release(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_events),
      cmocka_unit_test(test_pairs),
      cmocka_unit_test(test_decoding),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
