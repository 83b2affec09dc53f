/* JSON that is read while each allocation fails, once or from then on: what was meant, or a lack of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

static int calls, failing; /* that one fails; 0: none */
static bool from_then_on;

static void *failing_malloc(size_t size) {
  calls++;
  return failing && (from_then_on ? calls >= failing : calls == failing) ? NULL : malloc(size);
}

/* Strings and numbers of all lengths up to 70: the lexer's memory of one grows at 16, 32 and 64. */
static void text_write(struct buffer *text) {
  buffer_text(text, "{");
  for (int n = 1; n <= 70; n++) {
    buffer_print(text, "%s\"%0*d\": [\"%0*d\", 1", n > 1 ? ", " : "", n + 2, n, n, 0);
    for (int zero = 1; zero < n && n < 40; zero++) buffer_text(text, "0");
    buffer_text(text, ".5, {\"x\": null}]");
  }
  buffer_text(text, "}");
}

static void walk(struct slice text, const json_t *right) {
  json_t *value = NULL;
  for (failing = 1; !value; failing++) {
    struct error error = {0};
    char sentence[ERROR_TEXT_MAX];
    calls = 0;
    value = json_parse(text, &error);
    if (value) break;
    snprintf(sentence, sizeof sentence, "There is no memory to read %zu bytes of JSON.", text.size);
    assert_string_equal(error.text, sentence);
    assert_int_equal(error.code, ERROR_MEMORY);
  }
  assert_true(failing > 500 && calls < failing); /* none failed */
  failing = 0;
  assert_true(json_equal(value, right));
  json_decref(value);
}

static void test_each_fails(void **state) {
  (void)state;
  struct buffer text;
  struct error error = {0};
  buffer_init(&text, 1 << 16);
  text_write(&text);
  json_t *right = json_parse(buffer_slice(&text), &error);
  if (!right) fail_msg("%s", error.text);
  walk(buffer_slice(&text), right);
  from_then_on = true;
  walk(buffer_slice(&text), right);
  json_decref(right);
  buffer_release(&text);
}

/* A text that is wrong is told so after one that starved, and the other way round. */
static void test_either(void **state) {
  (void)state;
  struct error error = {0};
  calls = from_then_on = 0;
  failing = 1;
  assert_null(json_parse(slice_text("[1, 2"), &error));
  assert_int_equal(error.code, ERROR_MEMORY);
  failing = 0;
  assert_null(json_parse(slice_text("[1, 2"), &error));
  assert_int_equal(error.code, ERROR_INVALID);
  json_t *value = json_parse(slice_text("[1, 2]"), &error);
  assert_int_equal(json_array_size(value), 2);
  json_decref(value);
}

int main(void) {
  json_set_alloc_funcs(failing_malloc, free); /* as another program's, before any text is read */
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_fails), cmocka_unit_test(test_either)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
