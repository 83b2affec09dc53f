/* Every filter, method, function and test of chat templates with every kind of value and 0 to 3 arguments of every
 * kind: each call gives a value or is refused with a sentence, and none says that it is done without a value. Meant for
 * the preset asan. */
#include "chat_support.h"

#include "text/jinja_rendering.h"

#include <stdlib.h>

static const char *const values[] = {
    "nothing",
    "none",
    "true",
    "0",
    "3",
    "-2",
    "1.5",
    "''",
    "'a'",
    "'Ab, <c>'",
    "'12'",
    "[]",
    "[3, 1, 2]",
    "['b', 'a']",
    "()",
    "('b', 'a')",
    "{}",
    "{'a': 1, 'b': none}",
    "range(3)",
    "{'a': 1}.items()",
    "['a']|map('upper')",
    "[[1, 2], ['x', none]]",
    "namespace(a=1)",
    "own",
    "raise_exception",
    "'a'.join",
    "m",
    "18446744073709551615",
    "1152921504606846976",
    "1e300",
    "cycler(1, 2)",
    "joiner()",
    "messages",
    "messages[0].content",
    "'<Ab>&, %s {}'|safe",
};
enum { VALUES = sizeof values / sizeof *values };

/* A template of its own for each call, since it may be refused. */
static void call_once(const char *source) {
  static const char messages_text[] = "[{\"role\": \"user\", \"content\": null, \"x\": [1, {\"y\": \"\\u0000\"}]}]";
  struct error error = {0};
  struct chat_text text;
  static json_t *messages;
  if (!messages) messages = json_parse(slice_text(messages_text), &error);
  struct chat_template *template = chat_template_open(slice_text(source), &error);
  if (!template) fail_msg("%s: %s", source, error.text);
  struct chat_input input = {.messages = messages, .now = {.tm_year = 124, .tm_mday = 1}};
  chat_text_init(&text);
  bool done = chat_template_render(template, &input, &text, &error);
  if (done ? !utf8_valid(buffer_slice(&text.text)) : !error.text[0]) fail_msg("%s", source);
  if (strstr(error.text, "gave no value")) fail_msg("%s: %s", source, error.text);
  chat_text_release(&text);
  chat_template_close(template);
}

enum call_form { AS_FILTER, AS_METHOD, AS_FUNCTION, AS_TEST };

static void call_with(enum call_form form, const char *subject, const char *name, const char *arguments) {
  static const char *const forms[] = {"{{ ((%s)|%s(%s))|string }}", "{{ (%s).%s(%s)|string }}", "{{ %s%s(%s)|string }}",
                                      "{{ (%s) is %s(%s) }}"};
  char source[512];
  static const char macro[] = "{% macro m(x) %}{{ x }}{% endmacro %}{% set own = namespace() %}{% set own.l = [own] %}";
  size_t used = (size_t)snprintf(source, sizeof source, "%s", macro);
  snprintf(source + used, sizeof source - used, forms[form], subject, name, arguments);
  call_once(source);
}

/* All arguments up to two; of three those that a few values make. */
static void call_all(enum call_form form, const char *subject, const char *name) {
  static const char *const few[] = {"none", "2", "'a'", "['a', 1]"};
  enum { FEW = sizeof few / sizeof *few };
  char arguments[256];
  call_with(form, subject, name, "");
  for (size_t i = 0; i < VALUES; i++) {
    call_with(form, subject, name, values[i]);
    for (size_t j = 0; j < FEW; j++) {
      snprintf(arguments, sizeof arguments, "%s, %s", values[i], few[j]);
      call_with(form, subject, name, arguments);
      snprintf(arguments, sizeof arguments, "%s, %s", few[j], values[i]);
      call_with(form, subject, name, arguments);
    }
  }
  for (size_t i = 0; i < FEW * FEW * FEW; i++) {
    snprintf(arguments, sizeof arguments, "%s, %s, %s", few[i % FEW], few[i / FEW % FEW], few[i / FEW / FEW]);
    call_with(form, subject, name, arguments);
  }
}

static void test_filters(void **state) {
  (void)state;
  for (const struct jinja_filter *const *table = filter_tables; *table; table++)
    for (const struct jinja_filter *row = *table; row->name; row++)
      for (size_t i = 0; i < VALUES; i++) call_all(AS_FILTER, values[i], row->name);
}

static void test_tests(void **state) {
  (void)state;
  for (const struct jinja_test *row = value_tests; row->name; row++)
    for (size_t i = 0; i < VALUES; i++) call_all(AS_TEST, values[i], row->name);
}

static void test_functions(void **state) {
  (void)state;
  for (const struct jinja_function *row = global_functions; row->name; row++) call_all(AS_FUNCTION, "", row->name);
}

static void test_methods(void **state) {
  (void)state;
  static const char *const texts[] = {"''", "'a'", "'Ab, <c>'", "'\xC3\xA9 a b'", "'<i>&amp;%s{}'|safe", "''|safe"};
  for (const struct jinja_method *row = text_methods; row->name; row++)
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) call_all(AS_METHOD, texts[i], row->name);
  for (const struct jinja_method *row = html_methods; row->name; row++)
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) call_all(AS_METHOD, texts[i], row->name);
  for (const struct jinja_method *row = object_methods; row->name; row++)
    for (size_t i = 0; i < VALUES; i++) call_all(AS_METHOD, values[i], row->name);
}

/* What took the server down. */
static void test_join_of_nothing(void **state) {
  (void)state;
  static const char *const rows[][2] = {
      {"{{ 'a'.join(none) }}", "a None is nothing to go over"},
      {"{{ 'a'.join(1) }}", "a int is nothing to go over"},
      {"{{ 'a'.join(true) }}", "a bool is nothing to go over"},
      {"{{ 'a'.join(1.5) }}", "a float is nothing to go over"},
      {"{{ 'a'.join(namespace()) }}", "a namespace is nothing to go over"},
      {"{{ 'a'.join(raise_exception) }}", "a function is nothing to go over"},
      {"{{ ','.join(messages[0].content) }}", "a None is nothing to go over"},
      {"{{ 'a'.join() }}", "join needs an argument for iterable"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct error error = {0};
    struct chat_text text;
    char wanted[256];
    json_t *messages = json_pack("[{s:s, s:n}]", "role", "user", "content");
    struct chat_template *template = chat_template_open(slice_text(rows[i][0]), &error);
    chat_text_init(&text);
    assert_false(chat_template_render(template, &(struct chat_input){.messages = messages}, &text, &error));
    snprintf(wanted, sizeof wanted, "The chat template failed on these messages, at its line 1: %s.", rows[i][1]);
    assert_string_equal(error.text, wanted);
    chat_text_release(&text);
    chat_template_close(template);
    json_decref(messages);
  }
}

int main(void) {
  const struct CMUnitTest all[] = {
      cmocka_unit_test(test_join_of_nothing), cmocka_unit_test(test_filters), cmocka_unit_test(test_tests),
      cmocka_unit_test(test_functions),       cmocka_unit_test(test_methods),
  };
  return cmocka_run_group_tests(all, NULL, NULL);
}
