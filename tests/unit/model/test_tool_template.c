/* Two chat templates as one: with and without tools it writes what each of them alone does, wherever Jinja drops spaces
 * and line ends. */
#include "model/tool_template.h"

#include "text/chat_template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void render(struct slice source, const json_t *tools, struct chat_text *text) {
  struct error error = {0};
  struct chat_template *template = chat_template_open(source, &error);
  json_t *messages = json_parse(slice_text("[{\"role\": \"user\", \"content\": \"Hi\"}]"), &error);
  struct chat_input input = {.messages = messages, .tools = tools, .bos = slice_text("<s>")};
  chat_text_init(text);
  if (!template || !messages || !chat_template_render(template, &input, text, &error)) fail_msg("%s", error.text);
  json_decref(messages);
  chat_template_close(template);
}

static void same_check(struct slice joint, const char *alone, const json_t *tools) {
  struct chat_text text[2];
  render(slice_text(alone), tools, &text[0]);
  render(joint, tools, &text[1]);
  if (!slice_equal(buffer_slice(&text[0].text), buffer_slice(&text[1].text)))
    fail_msg("%s: \"%.*s\" in place of \"%.*s\"", alone, SLICE_ARGS(buffer_slice(&text[1].text)),
             SLICE_ARGS(buffer_slice(&text[0].text)));
  for (int i = 0; i < 2; i++) chat_text_release(&text[i]);
}

static void test_joined(void **state) {
  (void)state;
  static const char *const templates[] = {
      "plain",
      "\n",
      "\n\nlines\n\n",
      "  {% if messages %}a{% endif %}  \n",
      "{% if messages %}\n  b\n  {% endif %}\n",
      "\n  {%- if messages -%}\n  c\n  {%- endif -%}\n ",
      "{{- bos_token }}d \n  ",
      "{# words #}\ne{# others #}\n",
      "  {# words #}  ",
      "{% macro said(x) %}<{{ x }}>{% endmacro %}{% set n = 1 %}{{ said(messages[0].content) }}{{ n }}",
      "{% macro said(x) %}[{{ x }}]{% endmacro %}{% set n = 2 %}{{ said(tools is defined and tools) }}{{ n }}\n",
      "{% for m in messages %}{{ m.content }}{% else %}none{% endfor %}\n\n",
      "{{ n is defined }}{{ messages|length }}{% raw %}{% if %}{% endraw %}",
  };
  enum { N = sizeof templates / sizeof *templates };
  json_t *tools = json_pack("[{s:s}]", "name", "f");
  for (int i = 0; i < N; i++)
    for (int k = 0; k < N; k++) {
      struct buffer joint;
      struct slice source;
      struct error error;
      buffer_init(&joint, 4096);
      struct template_pair pair = {slice_text(templates[i]), slice_text(templates[k])};
      assert_true(template_pair_join(&pair, &joint, &source, &error));
      assert_int_equal(pair.tools.size > 0, i != k);
      same_check(source, templates[i], NULL);
      same_check(source, templates[k], tools);
      buffer_release(&joint);
    }
  json_decref(tools);
}

static void test_limit(void **state) {
  (void)state;
  struct buffer joint;
  struct slice source;
  struct error error;
  buffer_init(&joint, 64);
  struct template_pair pair = {slice_text("0123456789012345678901234567890123456789"), slice_text("x")};
  assert_true(template_pair_join(&pair, &joint, &source, &error));
  assert_true(slice_equal(source, pair.usual) && slice_is(pair.tools, "x"));
  buffer_release(&joint);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_joined), cmocka_unit_test(test_limit)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
