/* What is made from the tables of routes, fields and answers: docs/http-api.md must hold the sections that --print
 * prints, and a row for each route; /openapi.json must be JSON that describes the same. */
#include "base/file.h"
#include "base/json.h"
#include "server/answer_table.h"
#include "server/openapi.h"
#include "server/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct {
  const char *name;
  bool (*write)(struct buffer *out);
} sections[] = {
    {"fields", request_fields_markdown}, {"answers", answer_fields_markdown}, {"statuses", answer_statuses_markdown}};

enum { N_SECTION = sizeof sections / sizeof *sections };

static void doc_open(struct file *doc) {
  struct error error;
  if (!file_open(doc, FIXTURES "/../../docs/http-api.md", &error)) fail_msg("%s", error.text);
}

static void test_doc_is_current(void **state) {
  (void)state;
  struct file doc;
  doc_open(&doc);
  for (int i = 0; i < N_SECTION; i++) {
    struct buffer section;
    buffer_init(&section, 1 << 20);
    assert_true(sections[i].write(&section));
    if (!memmem(doc.data, doc.size, section.data, section.size))
      fail_msg("docs/http-api.md is out of date: put in what test_api_doc --print %s prints", sections[i].name);
    buffer_release(&section);
  }
  file_close(&doc);
}

/* The row of a route: its path (a parameter in capitals), and its methods. */
static void row_make(const struct route *route, struct buffer *row) {
  const char *parameter = strchr(route->path, '{');
  buffer_print(row, "`%.*s%s` | ", (int)(parameter ? parameter - route->path : (long)strlen(route->path)), route->path,
               parameter ? "MODEL" : "");
  static const enum method order[] = {METHOD_POST, METHOD_GET, METHOD_HEAD};
  int n = 0;
  for (size_t i = 0; i < sizeof order / sizeof *order; i++)
    if (route->methods & 1u << order[i]) buffer_print(row, "%s%s", n++ ? ", " : "", method_name(order[i]));
  buffer_text(row, " |");
}

/* Each route has its row, and there are no others. */
static void test_doc_has_the_routes(void **state) {
  (void)state;
  struct file doc;
  doc_open(&doc);
  int n_row = 0;
  for (const uint8_t *at = doc.data; (at = memmem(at, doc.size - (size_t)(at - doc.data), "\n| `/", 5)); at++) n_row++;
  assert_int_equal(n_row, ROUTE_COUNT);
  for (int i = 0; i < ROUTE_COUNT; i++) {
    struct buffer row;
    buffer_init(&row, 256);
    row_make(&routes[i], &row);
    if (!memmem(doc.data, doc.size, row.data, row.size))
      fail_msg("docs/http-api.md has no row %.*s", (int)row.size, row.data);
    buffer_release(&row);
  }
  file_close(&doc);
}

/* What "#/a/b" refers to is there. */
static void reference_check(json_t *root, const char *reference) {
  char path[128], *rest = path;
  snprintf(path, sizeof path, "%s", reference + 2);
  json_t *target = root;
  for (char *name; target && (name = strsep(&rest, "/"));) target = json_object_get(target, name);
  if (!target) fail_msg("%s does not exist", reference);
}

static void references_check(json_t *root, json_t *value) {
  const char *name;
  json_t *member;
  size_t i;
  json_object_foreach(value, name, member) {
    if (strcmp(name, "$ref") == 0) reference_check(root, json_string_value(member));
    references_check(root, member);
  }
  json_array_foreach(value, i, member) references_check(root, member);
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
  references_check(root, root);
  json_decref(root);
  buffer_release(&text);
}

int main(int argc, char **argv) {
  for (int i = 0; argc == 3 && strcmp(argv[1], "--print") == 0 && i < N_SECTION; i++) {
    if (strcmp(argv[2], sections[i].name) != 0) continue;
    struct buffer section;
    buffer_init(&section, 1 << 20);
    sections[i].write(&section);
    fwrite(section.data, 1, section.size, stdout);
    buffer_release(&section);
    return 0;
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_doc_is_current), cmocka_unit_test(test_doc_has_the_routes),
                                     cmocka_unit_test(test_openapi)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
