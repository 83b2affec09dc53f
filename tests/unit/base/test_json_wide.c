/* Numbers that jansson refuses for their size, read as a client may send them. */
#include "base/json.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The values of an array: numbers that are kept in brackets. */
static void describe(const json_t *array, char *out, size_t room) {
  size_t used = 0;
  out[0] = '\0';
  for (size_t i = 0; i < json_array_size(array); i++) {
    const json_t *value = json_array_get(array, i);
    struct slice written;
    if (json_is_wide(value, &written))
      used += (size_t)snprintf(out + used, room - used, "[%.*s]", SLICE_ARGS(written));
    else if (json_is_integer(value))
      used += (size_t)snprintf(out + used, room - used, "%lld", json_integer_value(value));
    else if (json_is_real(value))
      used += (size_t)snprintf(out + used, room - used, "%g", json_real_value(value));
    else if (json_is_string(value))
      used += (size_t)snprintf(out + used, room - used, "'%s'", json_string_value(value));
    else
      used += (size_t)snprintf(out + used, room - used, "?");
    used += (size_t)snprintf(out + used, room - used, " ");
    assert_true(used < room);
  }
}

static void test_kept(void **state) {
  (void)state;
  static const char *const rows[][3] = {
      {"[18446744073709551615]", "[18446744073709551615] ", "1.84467e+19 "},
      {"[9223372036854775807, 9223372036854775808]", "9223372036854775807 [9223372036854775808] ",
       "9223372036854775807 9.22337e+18 "},
      {"[-9223372036854775808,-9223372036854775809]", "-9223372036854775808 [-9223372036854775809] ",
       "-9223372036854775808 -9.22337e+18 "},
      {"[1e400, -1.5E+999, 1e-400, 1e308]", "[1e400] [-1.5E+999] 0 1e+308 ", "1.79769e+308 -1.79769e+308 0 1e+308 "},
      {"[1, 2.5, \"99999999999999999999\", \"a\\\"99999999999999999999\", 99999999999999999999, 3]",
       "1 2.5 '99999999999999999999' 'a\"99999999999999999999' [99999999999999999999] 3 ",
       "1 2.5 '99999999999999999999' 'a\"99999999999999999999' 1e+20 3 "},
      {"[\"\\\\\", 99999999999999999999]", "'\\' [99999999999999999999] ", "'\\' 1e+20 "},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int exact = 0; exact < 2; exact++) {
      struct error error = {0};
      char text[512];
      json_t *value = json_parse_client(slice_text(rows[i][0]), exact, &error);
      if (!value) fail_msg("%s: %s", rows[i][0], error.text);
      describe(value, text, sizeof text);
      assert_string_equal(text, rows[i][exact ? 1 : 2]);
      json_decref(value);
    }
}

/* Within objects and lists, in the order of the text. */
static void test_nested(void **state) {
  (void)state;
  struct error error = {0};
  struct slice written;
  json_t *root = json_parse_client(
      slice_text("{\"z\": [1, {\"b\": 99999999999999999991}, 2], \"a\": 3, \"m\": 99999999999999999992}"), true,
      &error);
  assert_true(json_is_wide(json_object_get(json_array_get(json_object_get(root, "z"), 1), "b"), &written));
  assert_true(slice_is(written, "99999999999999999991"));
  assert_true(json_is_wide(json_object_get(root, "m"), &written));
  assert_true(slice_is(written, "99999999999999999992"));
  assert_int_equal(json_integer_value(json_object_get(root, "a")), 3);
  assert_int_equal(json_integer_value(json_array_get(json_object_get(root, "z"), 2)), 2);
  json_decref(root);
}

/* What is no JSON beside the size of its numbers stays refused, with the place; a text is never taken for a number. */
static void test_refused(void **state) {
  (void)state;
  static const char *const rows[][2] = {
      {"[018446744073709551616]", "Not valid JSON at line 1, column 2: invalid token near '0'."},
      {"[99999999999999999999.]", "Not valid JSON at line 1, column 2"},
      {"[99999999999999999999e]", "Not valid JSON at line 1, column 2"},
      {"[-]", "Not valid JSON at line 1, column 2: "},
      {"[99999999999999999999 1]", "Not valid JSON at line 1, column 23: ']' expected near '1'."},
      {"[\n99999999999999999999, x]", "Not valid JSON at line 2, column 23: "},
      {"[99999999999999999999", "Not valid JSON at line 1, column 21: "},
      {"[\"\xFF"
       "99\", 99999999999999999999]",
       "Not valid JSON at line 1, column 2"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct error error = {0};
    json_t *value = json_parse_client(slice_text(rows[i][0]), true, &error);
    if (value) fail_msg("read: %s", rows[i][0]);
    if (strncmp(error.text, rows[i][1], strlen(rows[i][1])) != 0) fail_msg("%s: %s", rows[i][0], error.text);
  }
  static char long_number[5000];
  struct error error = {0};
  memset(long_number, '9', sizeof long_number - 1);
  long_number[0] = '[';
  long_number[sizeof long_number - 2] = ']';
  assert_null(json_parse_client(slice_text(long_number), true, &error));
  assert_non_null(strstr(error.text, "too big integer"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_kept),
      cmocka_unit_test(test_nested),
      cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
