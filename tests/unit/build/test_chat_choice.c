/* What of a model's chat templates goes into its engine: a part for tools that is of no use does not take the usual one
 * with it, and is named. */
#include "base/limits.h"
#include "build/chat_choice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEFT_OUT "The chat template \"tool_use\" of M is left out, and conversations with tools have its usual one. "
#define REFUSES  "M will serve prompts but refuse conversations. "

/* expected: NULL: both joined. */
static void check(const char *usual, const char *tools, const char *expected, const char *warned) {
  struct template_pair pair = {slice_text(usual), slice_text(tools)};
  struct buffer joint;
  struct slice source;
  struct error warning, error = {0};
  buffer_init(&joint, LIMIT_TEMPLATE_BYTES);
  assert_true(template_pair_join(&pair, &joint, &source, &error));
  assert_true(chat_choose("M", pair, &source, &warning, &error));
  assert_string_equal(warning.text, warned);
  assert_true(expected ? slice_is(source, expected) : slice_equal(source, buffer_slice(&joint)));
  buffer_release(&joint);
}

static void test_parts(void **state) {
  (void)state;
  check("a", "", "a", "");
  check("", "b", "", "");
  check("a", "b", NULL, "");
  check("a", "a", "a", "");
  check("{% if %}", "", "{% if %}", REFUSES "Line 1 of the chat template: an expression is missing.");
  check("a", "\n{% if %}", "a", LEFT_OUT "Line 2 of the chat template: an expression is missing.");
  check("{% if %}", "b", NULL, REFUSES "Line 1 of the chat template: an expression is missing.");
}

/* Each is within the limit. */
static void test_too_large_together(void **state) {
  (void)state;
  enum { SIZE = LIMIT_TEMPLATE_BYTES / 2 };
  char *usual = malloc(SIZE + 1), *tools = malloc(SIZE + 1);
  assert_true(usual && tools);
  memset(usual, 'a', SIZE);
  memset(tools, 'b', SIZE);
  usual[SIZE] = tools[SIZE] = '\0';
  check(usual, tools, usual, LEFT_OUT "Both have 1048576 bytes, more than fit into the 1048576 of one.");
  free(usual);
  free(tools);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts), cmocka_unit_test(test_too_large_together)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
