/* What the routes of vectors read of a body, whatever the size of its numbers. */
#include "server/embed_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_wide_numbers(void **state) {
  (void)state;
  static const char *const rows[][2] = {
      {"{\"input\": \"x\", \"seed\": 18446744073709551615}", ""},
      {"{\"input\": \"x\", \"metadata\": {\"a\": [1e400, -9223372036854775809]}}", ""},
      {"{\"priority\": 18446744073709551615}", "priority must be a whole number from -2147483647 to 2147483647."},
      {"{\"model\": 18446744073709551615}", "model must be a string."},
      {"18446744073709551615", "Not valid JSON at line 1, column 1: '[' or '{' expected near '1'."},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct error error = {0};
    struct embed_request request;
    bool read = embed_request_read(&request, slice_text(rows[i][0]), &error);
    assert_string_equal(read ? "" : error.text, rows[i][1]);
    embed_request_release(&request);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_wide_numbers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
