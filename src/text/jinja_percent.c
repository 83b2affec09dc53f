/* format % values, as printf has it. */
#include "text/jinja_field.h"
#include "text/jinja_filters.h"
#include "text/jinja_html.h"

/* The values of one formatting and how many of them are used. */
struct given {
  struct datum values;
  bool tuple; /* they are several; else one, or a map whose entries are named */
  bool html;  /* the format is: each is escaped, and a number is what int() or float() makes of it */
  size_t used;
};

static bool next_value(struct rendering *r, struct given *given, struct datum *out) {
  size_t count = given->tuple ? given->values.list->count : 1;
  if (given->used >= count)
    return rendering_fail(r, "a text with %% asks for more than the %zu values it is given", count);
  *out = given->tuple ? given->values.list->items[given->used] : given->values;
  given->used++;
  return true;
}

/* "(name)" behind the %; the value of that name. */
static bool named_value(struct rendering *r, struct marked format, size_t *at, struct given *given, struct datum *out) {
  size_t start = ++*at;
  for (int depth = 1; *at < format.size; ++*at) {
    depth += (format.bytes[*at] == '(') - (format.bytes[*at] == ')');
    if (depth == 0) break;
  }
  if (*at == format.size) return rendering_fail(r, "a name behind %% lacks its bracket");
  struct slice name = slice_make(format.bytes + start, *at - start);
  ++*at;
  if (given->values.kind != DATUM_MAP) return rendering_fail(r, "a text with %%(name) needs a map");
  const struct datum *found = map_find_name(given->values.map, name);
  if (!found) return rendering_fail(r, "a text with %% asks for %.*s, which is not given", SLICE_ARGS(name));
  *out = *found;
  return rendering_charge_bytes(r, name.size);
}

/* Digits, or a star for a value. */
static bool read_count(struct rendering *r, struct marked format, size_t *at, struct given *given, int64_t *count) {
  struct datum d;
  if (*at < format.size && format.bytes[*at] == '*') {
    ++*at;
    if (!next_value(r, given, &d)) return false;
    if (d.kind != DATUM_INT || given->html) return rendering_fail(r, "a * of a format needs a whole number");
    *count = d.integer;
  } else {
    for (*count = 0; *at < format.size && format.bytes[*at] >= '0' && format.bytes[*at] <= '9'; ++*at)
      if ((*count = 10 * *count + format.bytes[*at] - '0') > INT32_MAX) break;
  }
  return (*count >= INT32_MIN && *count <= INT32_MAX) || rendering_fail(r, "a width of a format is too large");
}

static bool read_flags(struct rendering *r, struct marked format, size_t *at, struct given *given,
                       struct field *field) {
  static const struct marked zero = {(const uint8_t *)"0", NULL, 1}, space = {(const uint8_t *)" ", NULL, 1};
  bool left = false, zeros = false;
  *field = (struct field){.sign = '-', .precision = -1};
  for (; *at < format.size && format.bytes[*at] && strchr("-+ #0", format.bytes[*at]); ++*at) {
    char flag = (char)format.bytes[*at];
    if (flag == '-') left = true;
    if (flag == '0') zeros = true;
    if (flag == '#') field->alternate = true;
    if (flag == '+' || (flag == ' ' && field->sign == '-')) field->sign = flag;
  }
  if (!read_count(r, format, at, given, &field->width)) return false;
  if (field->width < 0) left = true;
  if (field->width < 0) field->width = -field->width;
  field->align = left ? ALIGN_LEFT : zeros ? ALIGN_INSIDE : ALIGN_RIGHT;
  field->fill = zeros && !left ? zero : space;
  if (*at < format.size && format.bytes[*at] == '.') {
    ++*at;
    if (!read_count(r, format, at, given, &field->precision)) return false;
    if (field->precision < 0) field->precision = 0;
  }
  if (*at < format.size && format.bytes[*at] && strchr("hlL", format.bytes[*at])) ++*at;
  return true;
}

static bool write_text(struct rendering *r, struct builder *b, struct field *field, bool html, struct datum d) {
  static const struct marked space = {(const uint8_t *)" ", NULL, 1};
  struct datum text = d;
  if (field->type != 's' && !datum_repr(r, d, field->type == 'a', &text)) return false;
  if (!html && field->type == 's' && !datum_plain(r, d, &text)) return false;
  if (html && !html_escape(r, text, &text)) return false;
  field->fill = space;
  if (field->align == ALIGN_INSIDE) field->align = ALIGN_RIGHT;
  return field_text(r, b, field, *text.text);
}

/* What int() or float() makes of a value. */
static bool read_number(struct rendering *r, char type, struct datum *d) {
  struct datum number;
  bool found, whole = strchr("diu", type) != NULL;
  if (strchr("xXoc", type)) return rendering_fail(r, "%%%c formats nothing in a text of HTML", type);
  if (d->kind != DATUM_TEXT) return true;
  if (!datum_read_number(r, *d, &number, &found)) return false;
  if (!found || (whole && number.kind == DATUM_FLOAT)) return rendering_fail(r, "%%%c needs a number", type);
  *d = number;
  return true;
}

static bool write_number(struct rendering *r, struct builder *b, struct field *field, bool html, struct datum d) {
  double number;
  if (html && !read_number(r, field->type, &d)) return false;
  if (field->type == 'c' && d.kind == DATUM_TEXT && marked_length(*d.text) == 1) {
    field->type = 's';
    return write_text(r, b, field, false, d);
  }
  if (!datum_number(d, &number))
    return rendering_fail(r, "%%%c needs a number, not a %s", field->type, datum_kind_name(d));
  if (strchr("eEfFgG", field->type)) return field_real(r, b, field, number);
  if (d.kind == DATUM_FLOAT && (strchr("xXoc", field->type) || !(number > -9.2e18 && number < 9.2e18)))
    return rendering_fail(r, "%%%c needs a whole number of 64 bits", field->type);
  if (field->type == 'i' || field->type == 'u') field->type = 'd';
  return field_whole(r, b, field, d.kind == DATUM_INT ? d.integer : (int64_t)number);
}

/* One field, *at behind its %. */
static bool write_field(struct rendering *r, struct builder *b, struct marked format, size_t *at, struct given *given) {
  struct field field;
  struct datum d;
  bool named = *at < format.size && format.bytes[*at] == '(';
  if (named && !named_value(r, format, at, given, &d)) return false;
  if (!read_flags(r, format, at, given, &field)) return false;
  if (*at == format.size) return rendering_fail(r, "a text ends within what its %% says");
  field.type = (char)format.bytes[(*at)++];
  if (field.type == '%') return builder_marked(r, b, marked_part(format, *at - 1, *at));
  if (!field.type || !strchr("sradiuoxXeEfFgGc", field.type))
    return rendering_fail(r, "a text has a %% that formats nothing");
  if (!named && !next_value(r, given, &d)) return false;
  return (strchr("sra", field.type) ? write_text : write_number)(r, b, &field, given->html, d);
}

/* What may be looked up in may be a map of which nothing is asked for. */
static bool has_items(struct datum d) {
  return d.kind == DATUM_MAP || d.kind == DATUM_UNDEFINED || (d.kind == DATUM_LIST && d.list->form <= FORM_RANGE);
}

bool format_percent(struct rendering *r, struct datum text, struct datum values, struct datum *out) {
  const struct marked format = *text.text;
  struct given given = {
      .values = values, .tuple = values.kind == DATUM_LIST && values.list->form == FORM_TUPLE, .html = text.html};
  struct builder b = {0};
  size_t plain = 0;
  if (!rendering_charge_bytes(r, format.size)) return false;
  for (size_t at = 0; at < format.size;) {
    if (format.bytes[at++] != '%') continue;
    if (!builder_marked(r, &b, marked_part(format, plain, at - 1))) return false;
    if (!write_field(r, &b, format, &at, &given)) return false;
    plain = at;
  }
  bool left = given.tuple ? given.used < values.list->count : given.used == 0 && !has_items(values);
  if (left) return rendering_fail(r, "a text with %% is given more values than it asks for");
  if (!builder_marked(r, &b, marked_part(format, plain, format.size)) || !builder_take(r, &b, out)) return false;
  out->html = text.html;
  return true;
}
