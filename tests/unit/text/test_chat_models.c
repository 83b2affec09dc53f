/* The chat templates of public models, which are not committed: every conversation as jinja2 renders it. */
#include "chat_support.h"

#include <stdlib.h>

static char folder[400];

static void test_models(void **state) {
  (void)state;
  assert_int_equal(chat_compare("models.json", folder), 0);
}

int main(void) {
  const char *data = getenv("SPATE_TEST_DATA");
  if (!data) {
    puts("SKIPPED: SPATE_TEST_DATA does not name the folder with templates/ of public models.");
    return 77;
  }
  snprintf(folder, sizeof folder, "%s/templates", data);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_models)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
