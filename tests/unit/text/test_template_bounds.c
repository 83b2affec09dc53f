/* What a template may cost: each of its builtins takes steps for the work that it does, so that none goes on for long
 * within the budget; and what an ordinary conversation holds, however much, is within it. */
#include "chat_support.h"

/* Renders into text and error. */
static bool render(const char *source, const char *messages, struct chat_text *text, struct error *error) {
  struct chat_template *template = chat_template_open(slice_text(source), error);
  json_t *json = json_parse_client(slice_text(messages), true, error);
  if (!template || !json) fail_msg("%s: %s", source, error->text);
  struct chat_input input = {.messages = json, .now = {.tm_year = 124, .tm_mday = 1}};
  chat_text_init(text);
  bool done = chat_template_render(template, &input, text, error);
  json_decref(json);
  chat_template_close(template);
  return done;
}

/* An expression, and how many hundred times it is too often. Each took seconds where a builtin forgot to charge. */
static void test_work_is_charged(void **state) {
  (void)state;
  static const struct {
    const char *before, *expression;
    int hundreds;
  } rows[] = {
      {"", "1e300|round(30)", 1500},
      {"", "1.1e-300|round(30)", 1500},
      {"", "'%.99f' % 1e308", 750},
      {"", "'{:.99e}'.format(1e-308)", 750},
      {"{% set l = [1.1e300] * 100 %}", "l|tojson", 20},
      {"{% set l = [5e-324] * 100 %}", "l|string", 20},
      {"", "strftime_now('%c' * 24)", 35},
      {"{% set a = {'a': range(999)|list} %}{% set b = {'a': range(999)|list} %}", "a == b", 60},
      {"", "1e308 % 1e-300", 1600},
      {"{% set s = 'a' * 9999 %}", "s.count('a')", 12},
      {"{% set s = 'a' * 9999 %}", "s.count('b')", 140},
      {"{% set s = 'a' * 9999 %}", "s.count('')", 140},
      {"{% set s = 'a' * 9999 %}", "s.strip('a')", 30},
      {"{% set s = '\xC3\xA9' * 2000000 %}{% set t = 'b' * 4000000 ~ '\xC3\xA9' %}", "s.strip(t)", 1},
      {"{% set s = ' ' * 9999 %}", "s.strip()", 90},
      {"{% set s = ' ' * 9999 %}", "s|int", 90},
      {"", "'1.234567890123456789e-300'|float", 1500},
      {"{% set l = range(999)|list %}", "l|sum", 110},
      {"{% set s = '\\x01' * 999 %}", "s|tojson", 30},
      {"{% set s = '\\u00e9' * 999 %}", "s.isalpha()", 430},
      {"{% set l = range(999)|list %}", "999 in l", 30},
      {"{% set l = range(999)|list %}", "l.count(999)", 110},
      {"{% set s = 'a' * 9999 %}", "'aaab' in s", 180},
      {"{% set s = 'a-' * 5000 %}", "s|wordwrap(5, false)", 15},
      {"{% set s = 'a ' ~ '\\u00a0' * 100000 ~ 'x' %}", "s|wordwrap(1)", 1},
      {"{% set s = '&lt' * 3333 %}", "s|striptags", 15},
      {"{% set s = '&l' * 5000 %}", "(s|safe).unescape()", 15},
      {"{% set s = 'a@' * 5000 %}", "s|urlize", 15},
      {"{% set s = 'ab ' * 3333 %}", "s|pprint", 15},
      {"{% set s = '&' * 9999 %}", "s + (''|safe)", 15},
      {"{% set s = '<' * 9999 %}", "('%s'|safe) % s", 15},
      {"{% set s = 'a' * 9999 %}", "s|indent", 70},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct error error = {0};
    struct chat_text text;
    char source[1024];
    snprintf(source, sizeof source,
             "%s{%% for i in range(%d) %%}{%% for j in range(100) %%}{%% set x = %s %%}"
             "{%% endfor %%}{%% endfor %%}",
             rows[i].before, rows[i].hundreds, rows[i].expression);
    if (render(source, "[{}]", &text, &error)) fail_msg("rendered: %s", source);
    assert_string_equal(
        error.text, "The chat template takes more than 8388608 steps for these messages, at its line 1; send fewer.");
    chat_text_release(&text);
  }
}

/* An object with 20,000 keys, compared, looked up and printed: not one step for each pair of keys. */
static void test_many_keys(void **state) {
  (void)state;
  enum { KEYS = 20000 };
  struct error error = {0};
  struct chat_text text;
  struct buffer messages;
  buffer_init(&messages, 1 << 22);
  buffer_text(&messages, "[{\"role\": \"user\", \"content\": \"x\"");
  for (int copy = 0; copy < 2; copy++) {
    buffer_print(&messages, ", \"%c\": {", "ab"[copy]);
    for (int i = 0; i < KEYS; i++) buffer_print(&messages, "%s\"k%d\": %d", i ? ", " : "", i, i);
    buffer_text(&messages, "}");
  }
  buffer_text(&messages, "}]");
  buffer_append(&messages, "", 1);
  static const char source[] =
      "{% set m = messages[0] %}{{ m.a|length }} {{ m.a == m.b }} {{ m.a.k19999 }} {{ m.a.get('k0', 1) }} "
      "{{ m.a['k10000'] }} {{ 'k20000' in m.a }} {{ m.a|tojson|length }} {{ (m.a.items()|list)[-1] }} "
      "{{ (dict(m.a, k5='x')).k5 }} {{ (m.a|dictsort)[0][0] }}";
  if (!render(source, messages.data, &text, &error)) fail_msg("%s", error.text);
  buffer_append(&text.text, "", 1);
  assert_string_equal(text.text.data, "20000 True 19999 0 10000 False 317780 ('k19999', 19999) x k0");
  chat_text_release(&text);
  buffer_release(&messages);
}

/* Keys of every kind that may be one, equal where Python says so, in maps large enough to be hashed. */
static void test_keys_of_every_kind(void **state) {
  (void)state;
  static const char source[] =
      "{% set ns = namespace(l=[]) %}{% for i in range(50) %}{% set ns.l = ns.l + [(i, 'n' ~ i), ('t' ~ i, i)] %}"
      "{% endfor %}{% set d = dict(ns.l + [(none, 'none'), ((1, 'a'), 'pair'), (0.5, 'half'), (-0.0, 'zero')]) %}"
      "{{ d|length }} {{ d[7] }} {{ d[7.0] }} {{ d[true] }} {{ d['t49'] }} {{ d[none] }} {{ d[(1, 'a')] }} "
      "{{ d[(1.0, 'a')] }} {{ d[0.5] }} {{ d[0] }} {{ d['t50'] is defined }} {{ d[50] is defined }} {{ d[[1]] is "
      "defined }}";
  struct error error = {0};
  struct chat_text text;
  if (!render(source, "[{}]", &text, &error)) fail_msg("%s", error.text);
  buffer_append(&text.text, "", 1);
  assert_string_equal(text.text.data, "103 n7 n7 n1 49 none pair pair half zero False False False");
  chat_text_release(&text);
}

static void assert_renders(const char *source, const char *messages, const char *expected) {
  struct error error = {0};
  struct chat_text text;
  if (!render(source, messages, &text, &error)) fail_msg("%s: %s", source, error.text);
  buffer_append(&text.text, "", 1);
  assert_string_equal(text.text.data, expected);
  chat_text_release(&text);
}

/* Keys that are one, or that a double does not tell apart. Entries beside them have a map hashed. */
static void test_keys_without_a_double(void **state) {
  (void)state;
  assert_renders(
      "{% set ns = namespace(l=[]) %}{% for i in range(20) %}{% set ns.l = ns.l + [('t' ~ i, i)] %}{% endfor %}"
      "{% set nan = 'nan'|float %}{% set d = dict(ns.l + [(nan, 1), (nan, 2), ((nan, 0), 3), ((nan, 0), 4)]) %}"
      "{{ d|length }} {{ d[nan] }} {{ d[(nan, 0)] }} {{ nan == nan }} {{ [nan] == [nan] }} "
      "{% set d = dict(ns.l + [((), 1), ((none,), 2), ((none, none), 3), (((),), 4), (none, 5)]) %}"
      "{{ d|length }} {{ d[()] }} {{ d[(none,)] }} {{ d[(none, none)] }} {{ d[((),)] }} {{ d[none] }} "
      "{% set u = 'a'.upper %}{% set d = dict(ns.l + [(u, 1), (u, 2)]) %}{{ d|length }} {{ d[u] }} "
      "{% set d = dict(ns.l + [(9007199254740993, 1), (9007199254740992.0, 2), (9007199254740992, 3)]) %}"
      "{{ d|length }} {{ d[9007199254740993] }} {{ d[9007199254740992] }} "
      "{% set d = dict(ns.l + [(1e22, 1), (10000000000000000000000, 2), (10000000000000000000001, 3)]) %}"
      "{{ d|length }} {{ d[1e22] }}",
      "[{}]", "22 2 4 False True 25 1 2 3 4 5 21 2 22 1 3 22 2");
}

/* Whole numbers of 320 digits, which are all one as doubles: looking for one is not looking at all. */
static void test_keys_beyond_doubles(void **state) {
  (void)state;
  enum { KEYS = 5000 };
  struct buffer messages;
  buffer_init(&messages, 1 << 22);
  for (int i = 0; i < KEYS; i++) buffer_print(&messages, "%s[1%0319d, %d]", i ? ", " : "[{\"p\": [", i, i);
  buffer_text(&messages, "]}]");
  buffer_append(&messages, "", 1);
  assert_renders("{% set d = dict(messages[0].p) %}{{ d|length }} {{ d[messages[0].p[4999][0]] }}", messages.data,
                 "5000 4999");
  buffer_release(&messages);
}

/* What an attribute of a namespace was before costs nothing more. */
static void test_attribute_that_grows(void **state) {
  (void)state;
  assert_renders("{% set ns = namespace(s='') %}{% set m = 'x' * 10000 %}{% for i in range(500) %}"
                 "{% set ns.s = ns.s ~ m %}{% endfor %}{{ ns.s|length }}",
                 "[{}]", "5000000");
}

int main(void) {
  const struct CMUnitTest all[] = {
      cmocka_unit_test(test_work_is_charged),     cmocka_unit_test(test_many_keys),
      cmocka_unit_test(test_keys_of_every_kind),  cmocka_unit_test(test_keys_without_a_double),
      cmocka_unit_test(test_keys_beyond_doubles), cmocka_unit_test(test_attribute_that_grows),
  };
  return cmocka_run_group_tests(all, NULL, NULL);
}
