/* What reports of evaluations say of an engine, without one. */
#include "base/json.h"
#include "lib/eval_report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *fake_describe(const struct device *device) {
  (void)device;
  return "a \"device\"";
}

/* Experts in the host's memory are weights of the engine like those on the device. */
static void test_weights(void **state) {
  (void)state;
  static const struct backend backend = {.name = "fake", .describe = fake_describe};
  static const struct engine_facts facts = {.name = "mixture"};
  struct loaded_engine engine = {
      .backend = &backend, .file.facts = &facts, .footprint = {.weights = 1000, .workspace = 7, .host_weights = 234}};
  struct error error = {0};
  struct buffer json;
  buffer_init(&json, 4096);
  buffer_text(&json, "{");
  engine_write(&json, &engine);
  buffer_text(&json, "}");
  json_t *root = json_parse(buffer_slice(&json), &error);
  if (!root) fail_msg("%s", error.text);
  assert_int_equal(json_integer_value(json_object_get(root, "weight_bytes")), 1234);
  assert_string_equal(json_string_value(json_object_get(root, "device")), "a \"device\"");
  json_decref(root);
  buffer_release(&json);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_weights)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
