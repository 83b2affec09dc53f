/* Tests: what stands after "is". To add one: a function and a row of the table at the end. */
#include "text/jinja_text.h"

/* --- by kind ---------------------------------------------------------------------------------------------------- */

static bool is_defined(struct datum d) { return d.kind != DATUM_UNDEFINED; }
static bool is_undefined(struct datum d) { return d.kind == DATUM_UNDEFINED; }
static bool is_none(struct datum d) { return d.kind == DATUM_NONE; }
static bool is_boolean(struct datum d) { return d.kind == DATUM_BOOL; }
static bool is_true(struct datum d) { return d.kind == DATUM_BOOL && d.truth; }
static bool is_false(struct datum d) { return d.kind == DATUM_BOOL && !d.truth; }
static bool is_integer(struct datum d) { return d.kind == DATUM_INT || d.kind == DATUM_BIG; }
static bool is_float(struct datum d) { return d.kind == DATUM_FLOAT; }
static bool is_number(struct datum d) { return datum_is_number(d); }
static bool is_string(struct datum d) { return d.kind == DATUM_TEXT; }
static bool is_mapping(struct datum d) { return d.kind == DATUM_MAP; }
static bool is_escaped(struct datum d) { return d.html; }

static bool is_iterable(struct datum d) {
  return d.kind == DATUM_LIST || d.kind == DATUM_MAP || d.kind == DATUM_TEXT || d.kind == DATUM_UNDEFINED;
}

static bool is_sequence(struct datum d) {
  return is_iterable(d) && (d.kind != DATUM_LIST || d.list->form <= FORM_RANGE);
}

static bool is_callable(struct datum d) {
  return d.kind == DATUM_UNDEFINED || d.kind == DATUM_FUNCTION || d.kind == DATUM_METHOD || d.kind == DATUM_MACRO;
}

/* --- with an operand -------------------------------------------------------------------------------------------- */

static bool is_equal(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  return eval_compare(r, OPERATOR_EQUAL, d, a->items[0], result);
}

static bool is_unequal(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  return eval_compare(r, OPERATOR_NOT_EQUAL, d, a->items[0], result);
}

static bool is_less(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  return eval_compare(r, OPERATOR_LESS, d, a->items[0], result);
}

static bool is_at_most(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  return eval_compare(r, OPERATOR_LESS_EQUAL, d, a->items[0], result);
}

static bool is_greater(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  return eval_compare(r, OPERATOR_GREATER, d, a->items[0], result);
}

static bool is_at_least(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  return eval_compare(r, OPERATOR_GREATER_EQUAL, d, a->items[0], result);
}

static bool is_in(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  return eval_compare(r, OPERATOR_IN, d, *argument(a, 0, "seq"), result);
}

/* The same object: for values without identity, the same kind and value; texts of HTML are made anew each time. */
static bool is_same(struct datum a, struct datum b) {
  if (a.kind != b.kind || a.html != b.html) return false;
  if (a.html) return a.text == b.text;
  if (a.kind == DATUM_LIST) return a.list == b.list;
  if (a.kind == DATUM_MAP || a.kind == DATUM_NAMESPACE) return a.map == b.map;
  return datum_equal(a, b);
}

static bool divides(struct rendering *r, struct datum d, struct datum divisor, int64_t rest, bool *result) {
  struct datum modulo;
  if (!eval_binary(r, OPERATOR_MODULO, d, divisor, &modulo)) return false;
  *result = datum_equal(modulo, datum_int(rest));
  return true;
}

static bool is_same_as(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  const struct datum *other = argument(a, 0, "other");
  *result = is_same(d, *other);
  return rendering_charge(r, datum_weight(d));
}

static bool is_divisible(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  return divides(r, d, *argument(a, 0, "num"), 0, result);
}

static bool is_even(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  (void)a;
  return divides(r, d, datum_int(2), 0, result);
}

static bool is_odd(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  (void)a;
  return divides(r, d, datum_int(2), 1, result);
}

static bool is_lower(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  const struct marked *text;
  (void)a;
  return datum_string(r, d, &text) && text_has_case(r, *text, false, result);
}

static bool is_upper(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  const struct marked *text;
  (void)a;
  return datum_string(r, d, &text) && text_has_case(r, *text, true, result);
}

static bool is_filter(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  (void)a;
  *result = d.kind == DATUM_TEXT && filter_find(marked_slice(d.text));
  return map_charge(r, d);
}

static bool is_test(struct rendering *r, struct datum d, const struct arguments *a, bool *result) {
  (void)a;
  *result = d.kind == DATUM_TEXT && test_find(marked_slice(d.text));
  return map_charge(r, d);
}

const struct jinja_test value_tests[] = {
    {"defined", "", is_defined, NULL},
    {"undefined", "", is_undefined, NULL},
    {"none", "", is_none, NULL},
    {"boolean", "", is_boolean, NULL},
    {"true", "", is_true, NULL},
    {"false", "", is_false, NULL},
    {"integer", "", is_integer, NULL},
    {"float", "", is_float, NULL},
    {"number", "", is_number, NULL},
    {"string", "", is_string, NULL},
    {"mapping", "", is_mapping, NULL},
    {"iterable", "", is_iterable, NULL},
    {"sequence", "", is_sequence, NULL},
    {"callable", "", is_callable, NULL},
    {"escaped", "", is_escaped, NULL},
    {"eq", "other/", NULL, is_equal},
    {"equalto", "other/", NULL, is_equal},
    {"ne", "other/", NULL, is_unequal},
    {"lt", "other/", NULL, is_less},
    {"lessthan", "other/", NULL, is_less},
    {"le", "other/", NULL, is_at_most},
    {"gt", "other/", NULL, is_greater},
    {"greaterthan", "other/", NULL, is_greater},
    {"ge", "other/", NULL, is_at_least},
    {"in", "seq", NULL, is_in},
    {"sameas", "other", NULL, is_same_as},
    {"divisibleby", "num", NULL, is_divisible},
    {"even", "", NULL, is_even},
    {"odd", "", NULL, is_odd},
    {"lower", "", NULL, is_lower},
    {"upper", "", NULL, is_upper},
    {"filter", "", NULL, is_filter},
    {"test", "", NULL, is_test},
    {0},
};
