/* What templates call by name: found in the tables, and its arguments checked before it runs. */
#include "text/jinja_html.h"

/* --- what a callee takes ---------------------------------------------------------------------------------------- */

/* One word of a row's `takes`. */
struct parameter {
  struct slice name;
  bool optional;
};

struct signature {
  struct parameter parameters[8];
  size_t count, by_position; /* the first so many by position alone */
  bool any_position, any_name;
};

static struct signature signature_read(const char *takes) {
  struct signature s = {0};
  while (*takes) {
    size_t size = strcspn(takes, " /");
    struct slice word = slice_make(takes, size);
    if (slice_is(word, "*"))
      s.any_position = true;
    else if (slice_is(word, "**"))
      s.any_name = true;
    else if (size) {
      bool optional = takes[size - 1] == '?';
      s.parameters[s.count++] = (struct parameter){slice_make(takes, size - optional), optional};
    }
    if (takes[size] == '/') s.by_position = s.count;
    takes += size + (takes[size] != '\0');
  }
  return s;
}

static bool too_many(struct rendering *r, const char *callee, size_t most, size_t given) {
  if (most == 0) return rendering_fail(r, "%s takes no arguments, and is given %zu", callee, given);
  return rendering_fail(r, "%s takes at most %zu argument%s, and is given %zu", callee, most, most == 1 ? "" : "s",
                        given);
}

/* The parameter of that name, or s->count. */
static size_t parameter_find(const struct signature *s, struct slice name) {
  size_t at = s->by_position;
  while (at < s->count && !slice_equal(s->parameters[at].name, name)) at++;
  return at;
}

static bool arguments_fit(struct rendering *r, const char *callee, const char *takes, const struct arguments *a) {
  struct signature s = signature_read(takes);
  unsigned named = 0; /* bits of those given by name */
  if (!rendering_charge(r, a->n_named)) return false;
  if (a->count > s.count && !s.any_position) return too_many(r, callee, s.count, a->count);
  for (size_t i = 0; i < a->n_named; i++) {
    size_t at = parameter_find(&s, a->names[i]);
    if (at == s.count && !s.any_name)
      return rendering_fail(r, "%s takes no argument called %.*s", callee, SLICE_ARGS(a->names[i]));
    if (at < a->count && at < s.count)
      return rendering_fail(r, "%s is given %.*s twice", callee, SLICE_ARGS(a->names[i]));
    named |= 1u << at;
  }
  for (size_t i = a->count; i < s.count; i++)
    if (!s.parameters[i].optional && !(named & 1u << i))
      return rendering_fail(r, "%s needs an argument for %.*s", callee, SLICE_ARGS(s.parameters[i].name));
  return true;
}

/* --- finding and calling ---------------------------------------------------------------------------------------- */

const struct jinja_function *function_find(struct slice name) {
  for (const struct jinja_function *row = global_functions; row->name; row++)
    if (slice_is(name, row->name)) return row;
  return NULL;
}

/* slice_is, quickly no: most names of a table are others. */
static bool is_called(struct slice name, const char *text) {
  return name.size && name.data[0] == (uint8_t)text[0] && slice_is(name, text);
}

const struct jinja_filter *const filter_tables[] = {
    value_filters, text_filters, select_filters, sort_filters, number_filters, html_filters, web_filters,
    link_filters,  wrap_filters, pprint_filters, NULL};

const struct jinja_filter *filter_find(struct slice name) {
  for (const struct jinja_filter *const *table = filter_tables; *table; table++)
    for (const struct jinja_filter *row = *table; row->name; row++)
      if (is_called(name, row->name)) return row;
  return NULL;
}

static const struct jinja_method *row_find(const struct jinja_method *row, enum datum_kind kind, struct slice name) {
  for (; row->name; row++)
    if (row->kind == kind && is_called(name, row->name)) return row;
  return NULL;
}

const struct jinja_method *method_find(struct datum self, struct slice name) {
  const struct jinja_method *own = self.html ? row_find(html_methods, DATUM_TEXT, name) : NULL;
  return own ? own : row_find(self.kind == DATUM_TEXT ? text_methods : object_methods, self.kind, name);
}

const struct jinja_test *test_find(struct slice name) {
  static const char *const symbols[][2] = {{"==", "eq"}, {"!=", "ne"}, {"<", "lt"},
                                           {"<=", "le"}, {">", "gt"},  {">=", "ge"}};
  for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
    if (slice_is(name, symbols[i][0])) name = slice_text(symbols[i][1]);
  for (const struct jinja_test *row = value_tests; row->name; row++)
    if (slice_is(name, row->name)) return row;
  return NULL;
}

/* A callee that says it is done and has set nothing is a mistake of ours: it is told, and nothing unset is read. */
static bool is_set(struct rendering *r, const char *callee, const struct datum *out) {
  return out->kind != DATUM_UNSET || rendering_fail(r, "%s gave no value, which is a mistake of the server's", callee);
}

bool function_call(struct rendering *r, const struct jinja_function *function, const struct arguments *a,
                   struct datum *out) {
  *out = datum_unset();
  return arguments_fit(r, function->name, function->takes, a) && function->call(r, a, out) &&
         is_set(r, function->name, out);
}

bool method_call(struct rendering *r, const struct bound_method *bound, const struct arguments *a, struct datum *out) {
  *out = datum_unset();
  if (!arguments_fit(r, bound->method->name, bound->method->takes, a) || !bound->method->call(r, bound->self, a, out) ||
      !is_set(r, bound->method->name, out))
    return false;
  bool own = bound->self.html && row_find(html_methods, DATUM_TEXT, slice_text(bound->method->name));
  if (bound->self.html && !own) html_mark(out); /* the texts that a text of HTML gives are HTML */
  return true;
}

bool filter_apply(struct rendering *r, struct slice name, struct datum d, const struct arguments *a,
                  struct datum *out) {
  const struct jinja_filter *filter = filter_find(name);
  *out = datum_unset();
  if (!filter) return rendering_fail(r, "the filter %.*s is unknown", SLICE_ARGS(name));
  return arguments_fit(r, filter->name, filter->takes, a) && filter->apply(r, d, a, out) &&
         is_set(r, filter->name, out);
}

bool test_apply(struct rendering *r, struct slice name, struct datum d, const struct arguments *a, bool *result) {
  const struct jinja_test *test = test_find(name);
  *result = false;
  if (!test) return rendering_fail(r, "the test %.*s is unknown", SLICE_ARGS(name));
  if (!rendering_charge(r, 1) || !arguments_fit(r, test->name, test->takes, a)) return false;
  if (test->apply) return test->apply(r, d, a, result);
  *result = test->is(d);
  return true;
}
