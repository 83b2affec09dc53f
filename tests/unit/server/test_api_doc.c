/* What is made from the tables of routes and fields: docs/http-api.md must hold the section that --print prints, and
 * /openapi.json must be JSON that describes every route. */
#include "base/file.h"
#include "base/json.h"
#include "server/openapi.h"
#include "server/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_doc_is_current(void **state) {
  (void)state;
  struct buffer section;
  struct file doc;
  struct error error;
  buffer_init(&section, 1 << 20);
  assert_true(request_fields_markdown(&section));
  if (!file_open(&doc, FIXTURES "/../../docs/http-api.md", &error)) fail_msg("%s", error.text);
  if (!memmem(doc.data, doc.size, section.data, section.size))
    fail_msg("the table of fields in docs/http-api.md is out of date: put in what test_api_doc --print prints");
  file_close(&doc);
  buffer_release(&section);
}

static void test_openapi(void **state) {
  (void)state;
  struct buffer text;
  struct error error;
  buffer_init(&text, 1 << 20);
  assert_true(openapi_write((struct slice){0}, &text));
  json_t *root = json_parse(buffer_slice(&text), &error);
  if (!root) fail_msg("%s", error.text);
  const json_t *paths = json_object_get(root, "paths");
  assert_int_equal(json_object_size(paths), ROUTE_COUNT);
  for (int i = 0; i < ROUTE_COUNT; i++) {
    const json_t *path = json_object_get(paths, routes[i].path);
    assert_int_equal(json_object_get(path, "get") != NULL, (routes[i].methods & 1u << METHOD_GET) != 0);
    assert_int_equal(json_object_get(path, "post") != NULL, (routes[i].methods & 1u << METHOD_POST) != 0);
  }
  json_decref(root);
  buffer_release(&text);
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--print") == 0) {
    struct buffer section;
    buffer_init(&section, 1 << 20);
    request_fields_markdown(&section);
    fwrite(section.data, 1, section.size, stdout);
    buffer_release(&section);
    return 0;
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_doc_is_current), cmocka_unit_test(test_openapi)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
