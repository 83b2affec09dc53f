/* Arithmetic, joining and comparing, by Python's rules. */
#include "text/jinja_field.h"
#include "text/jinja_html.h"

#include "base/limits.h"

#include <math.h>

static const char *operator_text(enum operator_kind op) {
  static const char *const texts[] = {"",   "+",  "-", "*",  "/", "//", "%",  "**",    "~",
                                      "==", "!=", "<", "<=", ">", ">=", "in", "not in"};
  return texts[op];
}

static bool no_operands(struct rendering *r, enum operator_kind op, struct datum a, struct datum b) {
  struct datum missing = a.kind == DATUM_UNDEFINED ? a : b;
  if (missing.kind == DATUM_UNDEFINED && missing.missing)
    return rendering_fail(r, "'%.*s' is undefined, so %s cannot be applied to it", SLICE_ARGS(*missing.missing),
                          operator_text(op));
  return rendering_fail(r, "%s cannot be applied to a %s and a %s", operator_text(op), datum_kind_name(a),
                        datum_kind_name(b));
}

/* --- numbers ---------------------------------------------------------------------------------------------------- */

static bool too_large(struct rendering *r) { return rendering_fail(r, "a whole number is beyond 64 bits"); }

static bool real_power(struct rendering *r, double a, double b, struct datum *out) {
  *out = datum_float(pow(a, b));
  if (a == 0 && b < 0) return rendering_fail(r, "0 has no negative power");
  if (isfinite(a) && isfinite(b) && !isfinite(out->number))
    return rendering_fail(r, "a power is %s", isnan(out->number) ? "no real number" : "too large");
  return true;
}

static bool whole_power(struct rendering *r, int64_t a, int64_t b, struct datum *out) {
  int64_t result = 1;
  if (b < 0) return real_power(r, (double)a, (double)b, out);
  if (a == 0 || a == 1 || a == -1) b = b > 1 ? 2 - (b & 1) : b; /* the others overflow before the 64th round */
  for (; b > 0; b--)
    if (__builtin_mul_overflow(result, a, &result)) return too_large(r);
  *out = datum_int(result);
  return true;
}

static bool whole(struct rendering *r, enum operator_kind op, int64_t a, int64_t b, struct datum *out) {
  int64_t result = 0;
  bool overflow = false;
  if (b == 0 && (op == OPERATOR_DIVIDE || op == OPERATOR_FLOOR_DIVIDE || op == OPERATOR_MODULO))
    return rendering_fail(r, "a number is divided by zero");
  if (b == -1 && op == OPERATOR_FLOOR_DIVIDE) /* the one quotient that overflows is -2^63 / -1 */
    return whole(r, OPERATOR_SUBTRACT, 0, a, out);
  switch (op) {
  case OPERATOR_ADD: overflow = __builtin_add_overflow(a, b, &result); break;
  case OPERATOR_SUBTRACT: overflow = __builtin_sub_overflow(a, b, &result); break;
  case OPERATOR_MULTIPLY: overflow = __builtin_mul_overflow(a, b, &result); break;
  case OPERATOR_FLOOR_DIVIDE: result = a / b - (a % b != 0 && (a < 0) != (b < 0)); break;
  case OPERATOR_MODULO:
    result = b == -1 ? 0 : a % b;
    if (result != 0 && (result < 0) != (b < 0)) result += b;
    break;
  case OPERATOR_POWER: return whole_power(r, a, b, out);
  default: *out = datum_float((double)a / (double)b); return true;
  }
  *out = datum_int(result);
  return !overflow || too_large(r);
}

static bool real(struct rendering *r, enum operator_kind op, double a, double b, struct datum *out) {
  if (op == OPERATOR_MODULO && !rendering_charge_real(r)) return false; /* one bit of the quotient after the other */
  if (b == 0 && (op == OPERATOR_DIVIDE || op == OPERATOR_FLOOR_DIVIDE || op == OPERATOR_MODULO))
    return rendering_fail(r, "a number is divided by zero");
  switch (op) {
  case OPERATOR_ADD: *out = datum_float(a + b); break;
  case OPERATOR_SUBTRACT: *out = datum_float(a - b); break;
  case OPERATOR_MULTIPLY: *out = datum_float(a * b); break;
  case OPERATOR_DIVIDE: *out = datum_float(a / b); break;
  case OPERATOR_FLOOR_DIVIDE: *out = datum_float(floor(a / b)); break;
  case OPERATOR_MODULO: {
    double rest = fmod(a, b);
    *out = datum_float(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
    break;
  }
  default: return real_power(r, a, b, out);
  }
  return true;
}

static int64_t whole_of(struct datum d) { return d.kind == DATUM_BOOL ? d.truth : d.integer; }

/* --- texts and lists -------------------------------------------------------------------------------------------- */

/* A text that grows by joins (set out = out ~ more) goes on where it lies, so that n of them copy no more than n. */
static bool goes_on(const struct builder *joined, struct datum a) {
  return a.kind == DATUM_TEXT && a.text->bytes == joined->bytes && a.text->size == joined->size &&
         a.text->user == (joined->marked ? joined->user : NULL);
}

/* html: what is not HTML is escaped. */
static bool join_texts(struct rendering *r, struct datum a, struct datum b, bool html, struct datum *out) {
  bool (*append)(struct rendering *, struct builder *, struct datum) = html ? html_append : print_datum;
  struct builder *joined = &r->joined;
  if (!goes_on(joined, a) || a.html != html) {
    *joined = (struct builder){0};
    if (!append(r, joined, a)) return false;
  }
  if (!append(r, joined, b) || !builder_take(r, joined, out)) return false;
  out->html = html;
  return true;
}

static bool append_all(struct rendering *r, const struct datum_list *from, struct datum_list *to) {
  for (size_t i = 0; i < from->count; i++)
    if (!list_append(r, to, from->items[i])) return false;
  return true;
}

static bool join_lists(struct rendering *r, const struct datum_list *a, const struct datum_list *b, struct datum *out) {
  if (a->form != b->form || a->form > FORM_TUPLE) return rendering_fail(r, "+ joins only two lists or two tuples");
  if (!list_new(r, a->count + b->count, out)) return false;
  out->list->form = a->form;
  return append_all(r, a, out->list) && append_all(r, b, out->list);
}

static bool repeat(struct rendering *r, struct datum d, int64_t times, struct datum *out) {
  struct builder builder = {0};
  if (d.kind == DATUM_TEXT) {
    for (int64_t i = 0; i < times; i++)
      if (!builder_marked(r, &builder, *d.text)) return false;
    if (!builder_take(r, &builder, out)) return false;
    out->html = d.html;
    return true;
  }
  if (!list_new(r, 0, out)) return false;
  out->list->form = d.list->form;
  for (int64_t i = 0; i < times; i++)
    if (!rendering_charge(r, 1) || !append_all(r, d.list, out->list)) return false;
  return true;
}

static bool repeats(struct datum d) {
  return d.kind == DATUM_TEXT || (d.kind == DATUM_LIST && d.list->form <= FORM_TUPLE);
}

static bool is_whole(struct datum d) { return d.kind == DATUM_INT || d.kind == DATUM_BOOL; }

bool eval_binary(struct rendering *r, enum operator_kind op, struct datum a, struct datum b, struct datum *out) {
  double x, y;
  if (op == OPERATOR_CONCATENATE) return join_texts(r, a, b, false, out);
  if (op == OPERATOR_MODULO && a.kind == DATUM_TEXT) return format_percent(r, a, b, out);
  if (is_whole(a) && is_whole(b)) return whole(r, op, whole_of(a), whole_of(b), out);
  if (datum_number(a, &x) && datum_number(b, &y)) return real(r, op, x, y, out);
  if (op == OPERATOR_ADD && a.kind == DATUM_TEXT && b.kind == DATUM_TEXT)
    return join_texts(r, a, b, a.html || b.html, out);
  if (op == OPERATOR_ADD && a.kind == DATUM_LIST && b.kind == DATUM_LIST) return join_lists(r, a.list, b.list, out);
  if (op == OPERATOR_MULTIPLY && repeats(a) && is_whole(b)) return repeat(r, a, whole_of(b), out);
  if (op == OPERATOR_MULTIPLY && repeats(b) && is_whole(a)) return repeat(r, b, whole_of(a), out);
  return no_operands(r, op, a, b);
}

/* --- comparing -------------------------------------------------------------------------------------------------- */

static bool contains(struct rendering *r, struct datum container, struct datum d, bool *result) {
  *result = false;
  if (container.kind != DATUM_MAP && !rendering_charge(r, 4 * datum_weight(container))) return false;
  switch (container.kind) {
  case DATUM_UNDEFINED: return true;
  case DATUM_TEXT:
    if (d.kind != DATUM_TEXT) return no_operands(r, OPERATOR_IN, d, container);
    *result = text_find(*container.text, 0, *d.text) != SIZE_MAX;
    return true;
  case DATUM_LIST:
    for (size_t i = 0; i < container.list->count && !*result; i++) *result = datum_equal(container.list->items[i], d);
    return true;
  case DATUM_MAP:
    if (!map_charge(r, d)) return false;
    *result = map_find(container.map, d) != NULL;
    return true;
  default: return no_operands(r, OPERATOR_IN, d, container);
  }
}

bool eval_compare(struct rendering *r, enum operator_kind op, struct datum a, struct datum b, bool *result) {
  int order = 0;
  switch (op) {
  case OPERATOR_EQUAL:
  case OPERATOR_NOT_EQUAL:
    if (!rendering_charge(r, 2 * datum_weight(a))) return false;
    *result = datum_equal(a, b) == (op == OPERATOR_EQUAL);
    return true;
  case OPERATOR_IN: return contains(r, b, a, result);
  case OPERATOR_NOT_IN:
    if (!contains(r, b, a, result)) return false;
    *result = !*result;
    return true;
  default: break;
  }
  if (a.kind == DATUM_UNDEFINED || b.kind == DATUM_UNDEFINED) return no_operands(r, op, a, b);
  if (!datum_order(r, a, b, &order)) return false;
  *result = op == OPERATOR_LESS         ? order < 0
            : op == OPERATOR_LESS_EQUAL ? order <= 0
            : op == OPERATOR_GREATER    ? order > 0
                                        : order >= 0;
  return true;
}
