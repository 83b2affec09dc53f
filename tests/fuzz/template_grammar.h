/* A chat template from bytes, by grammar: values, and on them every filter, method, test and function that there is,
 * with up to three arguments. Chance alone seldom writes a name and its arguments right. */
#ifndef SPATE_TESTS_TEMPLATE_GRAMMAR_H
#define SPATE_TESTS_TEMPLATE_GRAMMAR_H

#include "base/buffer.h"
#include "text/jinja_rendering.h"

struct choices {
  const uint8_t *data;
  size_t size, at;
};

static inline size_t choose(struct choices *c, size_t count) { return c->at < c->size ? c->data[c->at++] % count : 0; }

static inline void write_value(struct buffer *out, struct choices *c) {
  static const char *const values[] = {"none",
                                       "true",
                                       "0",
                                       "-2",
                                       "1.5",
                                       "3",
                                       "99999999999999999999",
                                       "1e300",
                                       "''",
                                       "'a'",
                                       "'Ab, <c>'",
                                       "'12'",
                                       "[]",
                                       "[3, 1, 2]",
                                       "['b', 'a']",
                                       "('b', 'a')",
                                       "{}",
                                       "{'a': 1, 'b': none}",
                                       "range(3)",
                                       "{'a': 1}.items()",
                                       "nothing",
                                       "[1]|map('string')",
                                       "namespace(a=1)",
                                       "raise_exception",
                                       "'a'.join",
                                       "messages",
                                       "messages[0].content",
                                       "m",
                                       "cycler('a', 1)",
                                       "joiner()",
                                       "'\xC3\xA9\xF0\x9F\xA6\x99'",
                                       "'%s{}'",
                                       "messages[1].n",
                                       "'attribute'",
                                       "'upper'",
                                       "own",
                                       "1152921504606846976",
                                       "('nan'|float)",
                                       "('<b>&lt;%s {}'|safe)",
                                       "('a@b.c www.d.com (http://x.org/)'|e)"};
  buffer_text(out, values[choose(c, sizeof values / sizeof *values)]);
}

/* The name of one row of a table that has `size` bytes a row, the name at `offset`. */
static inline const char *choose_name(struct choices *c, const void *table, size_t size, size_t offset) {
  const char *const *name;
  size_t count = 0;
  while (*(name = (const char *const *)((const char *)table + count * size + offset))) count++;
  return *(const char *const *)((const char *)table + choose(c, count) * size + offset);
}

static inline void write_arguments(struct buffer *out, struct choices *c) {
  size_t count = choose(c, 4);
  buffer_text(out, "(");
  for (size_t i = 0; i < count; i++) {
    if (i) buffer_text(out, ", ");
    write_value(out, c);
  }
  buffer_text(out, ")");
}

static inline void write_step(struct buffer *out, struct choices *c) {
  static const char *const operators[] = {"+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and", "or"};
  size_t tables = 0;
  while (filter_tables[tables]) tables++;
  switch (choose(c, 8)) {
  case 0:
    buffer_print(out, ").%s", choose_name(c, text_methods, sizeof *text_methods, offsetof(struct jinja_method, name)));
    break;
  case 1:
    buffer_print(out, ").%s",
                 choose_name(c, object_methods, sizeof *object_methods, offsetof(struct jinja_method, name)));
    break;
  case 2:
    buffer_print(out, ") is %s", choose_name(c, value_tests, sizeof *value_tests, offsetof(struct jinja_test, name)));
    break;
  case 6:
    buffer_print(out, ").%s", choose_name(c, html_methods, sizeof *html_methods, offsetof(struct jinja_method, name)));
    break;
  case 3:
    buffer_print(out, ") %s (", operators[choose(c, sizeof operators / sizeof *operators)]);
    write_value(out, c);
    buffer_text(out, ")");
    return;
  default:
    buffer_print(
        out, ")|%s",
        choose_name(c, filter_tables[choose(c, tables)], sizeof **filter_tables, offsetof(struct jinja_filter, name)));
  }
  write_arguments(out, c);
}

static inline void template_write(struct buffer *out, const uint8_t *data, size_t size) {
  struct choices c = {data, size, 0};
  buffer_text(out, "{% macro m(x, y=2) %}{{ x }}{% endmacro %}{% set own = namespace() %}{% set own.l = [own] %}");
  do {
    size_t steps = choose(&c, 4);
    buffer_text(out, "{{ ");
    for (size_t i = 0; i < steps; i++) buffer_text(out, "(");
    if (choose(&c, 8) == 0) {
      buffer_text(out,
                  choose_name(&c, global_functions, sizeof *global_functions, offsetof(struct jinja_function, name)));
      write_arguments(out, &c);
    } else {
      write_value(out, &c);
    }
    for (size_t i = 0; i < steps; i++) write_step(out, &c);
    buffer_text(out, " }}");
  } while (c.at < c.size && out->size < 4096);
}

#endif
