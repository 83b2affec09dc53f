/* Tests: what stands after "is". To add one: a function and a row of a table below. */
#include "text/jinja_text.h"

#include <utf8proc.h>

/* --- by kind ---------------------------------------------------------------------------------------------------- */

static bool is_defined(struct datum d) { return d.kind != DATUM_UNDEFINED; }
static bool is_undefined(struct datum d) { return d.kind == DATUM_UNDEFINED; }
static bool is_none(struct datum d) { return d.kind == DATUM_NONE; }
static bool is_boolean(struct datum d) { return d.kind == DATUM_BOOL; }
static bool is_true(struct datum d) { return d.kind == DATUM_BOOL && d.truth; }
static bool is_false(struct datum d) { return d.kind == DATUM_BOOL && !d.truth; }
static bool is_integer(struct datum d) { return d.kind == DATUM_INT; }
static bool is_float(struct datum d) { return d.kind == DATUM_FLOAT; }
static bool is_number(struct datum d) { return d.kind == DATUM_INT || d.kind == DATUM_FLOAT || d.kind == DATUM_BOOL; }
static bool is_string(struct datum d) { return d.kind == DATUM_TEXT; }
static bool is_mapping(struct datum d) { return d.kind == DATUM_MAP; }
static bool is_escaped(struct datum d) { return d.kind == DATUM_KINDS; } /* nothing ever is */

static bool is_iterable(struct datum d) {
  return d.kind == DATUM_LIST || d.kind == DATUM_MAP || d.kind == DATUM_TEXT || d.kind == DATUM_UNDEFINED;
}

static bool is_sequence(struct datum d) {
  return is_iterable(d) && (d.kind != DATUM_LIST || d.list->form != FORM_GENERATOR);
}

static bool is_callable(struct datum d) {
  return d.kind == DATUM_UNDEFINED || d.kind == DATUM_FUNCTION || d.kind == DATUM_METHOD || d.kind == DATUM_MACRO;
}

static const struct kind_test {
  const char *name;
  bool (*is)(struct datum d);
} kind_tests[] = {
    {"defined", is_defined},   {"undefined", is_undefined}, {"none", is_none},       {"boolean", is_boolean},
    {"true", is_true},         {"false", is_false},         {"integer", is_integer}, {"float", is_float},
    {"number", is_number},     {"string", is_string},       {"mapping", is_mapping}, {"iterable", is_iterable},
    {"sequence", is_sequence}, {"callable", is_callable},   {"escaped", is_escaped},
};

/* --- with an operand -------------------------------------------------------------------------------------------- */

static bool compare(struct rendering *r, enum operator_kind op, struct datum d, const struct arguments *a,
                    bool *result) {
  const struct datum *other = argument(a, 0, NULL);
  return other ? eval_compare(r, op, d, *other, result) : rendering_fail(r, "a test lacks what to compare with");
}

static const struct {
  const char *name;
  enum operator_kind op;
} comparisons[] = {
    {"eq", OPERATOR_EQUAL},   {"equalto", OPERATOR_EQUAL},       {"ne", OPERATOR_NOT_EQUAL},
    {"lt", OPERATOR_LESS},    {"lessthan", OPERATOR_LESS},       {"le", OPERATOR_LESS_EQUAL},
    {"gt", OPERATOR_GREATER}, {"greaterthan", OPERATOR_GREATER}, {"ge", OPERATOR_GREATER_EQUAL},
    {"in", OPERATOR_IN},
};

/* The same object: for values without identity, the same kind and value. */
static bool is_same(struct datum a, struct datum b) {
  if (a.kind != b.kind) return false;
  if (a.kind == DATUM_LIST) return a.list == b.list;
  if (a.kind == DATUM_MAP) return a.map == b.map;
  return datum_equal(a, b);
}

static bool divides(struct rendering *r, struct datum d, int64_t divisor, int64_t rest, bool *result) {
  struct datum modulo;
  if (!eval_binary(r, OPERATOR_MODULO, d, datum_int(divisor), &modulo)) return false;
  *result = datum_equal(modulo, datum_int(rest));
  return true;
}

/* Of str(d): letters there are, all of them in the one case. */
static bool all_letters(struct rendering *r, struct datum d, utf8proc_category_t wanted, bool *result) {
  const struct marked *text;
  if (!datum_string(r, d, &text)) return false;
  *result = false;
  for (size_t at = 0; at < text->size;) {
    uint32_t code;
    at += text_character(*text, at, &code);
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LT;
    if (!letter) continue;
    *result = category == wanted;
    if (!*result) break;
  }
  return rendering_charge_bytes(r, text->size);
}

/* --- finding one ------------------------------------------------------------------------------------------------ */

static bool test_with_operand(struct rendering *r, struct slice name, struct datum d, const struct arguments *a,
                              bool *result) {
  int64_t divisor = 0;
  for (size_t i = 0; i < sizeof comparisons / sizeof *comparisons; i++)
    if (slice_is(name, comparisons[i].name)) return compare(r, comparisons[i].op, d, a, result);
  if (slice_is(name, "even") || slice_is(name, "odd")) return divides(r, d, 2, slice_is(name, "odd"), result);
  if (slice_is(name, "divisibleby"))
    return argument_int(r, a, 0, "num", "divisibleby", &divisor) && divides(r, d, divisor, 0, result);
  if (slice_is(name, "lower")) return all_letters(r, d, UTF8PROC_CATEGORY_LL, result);
  if (slice_is(name, "upper")) return all_letters(r, d, UTF8PROC_CATEGORY_LU, result);
  if (!slice_is(name, "sameas")) return rendering_fail(r, "the test %.*s is unknown", SLICE_ARGS(name));
  const struct datum *other = argument(a, 0, "other");
  *result = other && is_same(d, *other);
  return true;
}

bool test_apply(struct rendering *r, struct slice name, struct datum d, const struct arguments *a, bool *result) {
  static const char *const symbols[][2] = {{"==", "eq"}, {"!=", "ne"}, {"<", "lt"},
                                           {"<=", "le"}, {">", "gt"},  {">=", "ge"}};
  for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
    if (slice_is(name, symbols[i][0])) name = slice_text(symbols[i][1]);
  for (size_t i = 0; i < sizeof kind_tests / sizeof *kind_tests; i++) {
    if (!slice_is(name, kind_tests[i].name)) continue;
    *result = kind_tests[i].is(d);
    return rendering_charge(r, 1);
  }
  return test_with_operand(r, name, d, a, result);
}
