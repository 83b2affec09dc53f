/* format.format(…): fields in braces. */
#include "text/jinja_field.h"
#include "text/jinja_html.h"

struct formatting {
  const struct arguments *given;
  size_t next;           /* of the fields that are not numbered */
  bool counted, indexed; /* fields of both sorts do not mix */
  bool html;             /* what fields give is escaped */
};

static bool format_part(struct rendering *r, struct formatting *f, struct marked format, int nesting,
                        struct builder *b);

/* --- what a field names ----------------------------------------------------------------------------------------- */

static bool read_index(struct slice text, size_t *index) {
  *index = 0;
  for (size_t i = 0; i < text.size; i++) {
    if (text.data[i] < '0' || text.data[i] > '9' || i > 8) return false;
    *index = 10 * *index + text.data[i] - '0';
  }
  return text.size > 0;
}

/* Fields without a name take the values in turn; a number alone and no name do not mix in one format. */
static bool first_value(struct rendering *r, struct formatting *f, struct slice name, bool whole, struct datum *out) {
  size_t index = f->next;
  bool numbered = read_index(name, &index), counted = whole && name.size == 0;
  if (counted) index = f->next++;
  f->counted |= counted;
  f->indexed |= whole && numbered;
  if (f->counted && f->indexed) return rendering_fail(r, "format mixes fields with and without numbers");
  if (counted || numbered) {
    if (index >= f->given->count) return rendering_fail(r, "format has no value %zu", index);
    *out = f->given->items[index];
    return true;
  }
  if (!rendering_charge(r, f->given->n_named / 8)) return false;
  for (size_t i = 0; i < f->given->n_named; i++) {
    if (!slice_equal(f->given->names[i], name)) continue;
    *out = f->given->named[i];
    return true;
  }
  return rendering_fail(r, "format has no value called \"%.*s\"", SLICE_ARGS(name));
}

/* "name.attribute[key]…" */
static bool field_value(struct rendering *r, struct formatting *f, struct marked path, struct datum *out) {
  size_t at = 0, start, index;
  while (at < path.size && path.bytes[at] != '.' && path.bytes[at] != '[') at++;
  if (!first_value(r, f, slice_make(path.bytes, at), at == path.size, out)) return false;
  while (at < path.size) {
    bool item = path.bytes[at] == '[';
    start = ++at;
    while (at < path.size && (item ? path.bytes[at] != ']' : path.bytes[at] != '.' && path.bytes[at] != '[')) at++;
    struct marked word = marked_part(path, start, at);
    if (word.size == 0 || (item && at == path.size)) return rendering_fail(r, "a field of format names nothing");
    struct slice *name = rendering_alloc(r, sizeof *name);
    if (!name) return false;
    *name = marked_slice(&word);
    struct datum key = datum_int(0);
    bool numbered = item && read_index(*name, &index);
    if (numbered) key = datum_int((int64_t)index);
    if (item && !numbered && !datum_marked(r, word, &key)) return false;
    if (!(item ? eval_item(r, *out, key, out) : eval_attribute(r, *out, name, out))) return false;
    at += item;
    if (item && at < path.size && path.bytes[at] != '.' && path.bytes[at] != '[')
      return rendering_fail(r, "a field of format has more than . and [ behind a ]");
  }
  return true;
}

/* --- how it is written ------------------------------------------------------------------------------------------ */

static enum field_align align_of(uint8_t byte) {
  return byte == '<'   ? ALIGN_LEFT
         : byte == '>' ? ALIGN_RIGHT
         : byte == '^' ? ALIGN_CENTER
         : byte == '=' ? ALIGN_INSIDE
                       : ALIGN_NONE;
}

static bool read_digits(struct marked spec, size_t *at, int64_t *count) {
  size_t start = *at;
  int64_t value = 0;
  for (; *at < spec.size && spec.bytes[*at] >= '0' && spec.bytes[*at] <= '9' && value <= INT32_MAX; ++*at)
    value = 10 * value + spec.bytes[*at] - '0';
  if (*at > start) *count = value;
  return value <= INT32_MAX;
}

/* "[[fill]align][sign][#][0][width][grouping][.precision][type]" */
static bool read_spec(struct rendering *r, struct marked spec, struct field *field) {
  static const struct marked zero = {(const uint8_t *)"0", NULL, 1}, space = {(const uint8_t *)" ", NULL, 1};
  size_t at = 0, first = spec.size ? marked_offset(spec, 0, 1) : 0;
  *field = (struct field){.fill = space, .sign = '-', .precision = -1};
  if (first < spec.size && align_of(spec.bytes[first])) {
    field->fill = marked_part(spec, 0, first);
    field->align = align_of(spec.bytes[first]);
    at = first + 1;
  } else if (spec.size && align_of(spec.bytes[0])) {
    field->align = align_of(spec.bytes[at++]);
  }
  if (at < spec.size && spec.bytes[at] && strchr("+- ", spec.bytes[at])) field->sign = (char)spec.bytes[at++];
  if (at < spec.size && spec.bytes[at] == '#') field->alternate = at++ < spec.size;
  if (at < spec.size && spec.bytes[at] == '0') {
    if (!field->align) field->fill = zero;
    if (!field->align) field->align = ALIGN_INSIDE;
    at++;
  }
  bool fits = read_digits(spec, &at, &field->width);
  if (at < spec.size && (spec.bytes[at] == ',' || spec.bytes[at] == '_')) field->grouping = (char)spec.bytes[at++];
  if (at < spec.size && spec.bytes[at] == '.') {
    at++;
    fits = fits && read_digits(spec, &at, &field->precision) && field->precision >= 0;
  }
  if (at < spec.size) field->type = (char)spec.bytes[at++];
  return (fits && at == spec.size) || rendering_fail(r, "a format is not as Python has it");
}

static bool write_text(struct rendering *r, struct builder *b, struct field *field, struct marked text) {
  bool zeros = field->align == ALIGN_INSIDE && slice_is(marked_slice(&field->fill), "0");
  if ((field->type && field->type != 's') || field->sign != '-' || field->grouping || field->alternate ||
      (field->align == ALIGN_INSIDE && !zeros))
    return rendering_fail(r, "a text is formatted as a number");
  if (zeros) field->align = ALIGN_LEFT;
  return field_text(r, b, field, text);
}

static bool write_whole(struct rendering *r, struct builder *b, const struct field *field, int64_t number) {
  bool plain = !field->type || strchr("bcdoxXn", field->type) != NULL;
  if (!plain && !strchr("eEfFgG%", field->type))
    return rendering_fail(r, "a format of numbers has the type %c", field->type);
  if (!plain) return field_real(r, b, field, (double)number);
  if (field->precision >= 0) return rendering_fail(r, "a whole number takes no precision");
  if (field->type == 'c' && (field->sign != '-' || field->alternate || field->grouping))
    return rendering_fail(r, "a character takes no sign");
  if (field->grouping == ',' && field->type && strchr("boxX", field->type))
    return rendering_fail(r, "only decimal numbers are grouped with ,");
  return field_whole(r, b, field, number);
}

static bool write_value(struct rendering *r, struct builder *b, struct marked spec, struct datum d) {
  struct field field;
  if (spec.size == 0) return print_datum(r, b, d);
  if (!read_spec(r, spec, &field)) return false;
  switch (d.kind) {
  case DATUM_TEXT: return write_text(r, b, &field, *d.text);
  case DATUM_BOOL: return write_whole(r, b, &field, d.truth);
  case DATUM_INT: return write_whole(r, b, &field, d.integer);
  case DATUM_FLOAT:
    if (!field.type || strchr("eEfFgGn%", field.type)) return field_real(r, b, &field, d.number);
    return rendering_fail(r, "a format of numbers has the type %c", field.type);
  default: return rendering_fail(r, "a %s takes no format", datum_kind_name(d));
  }
}

/* The same in a text of HTML: what is HTML takes no format and is not escaped. */
static bool write_escaped(struct rendering *r, struct builder *b, struct marked spec, struct datum d) {
  struct builder plain = {0};
  struct datum text;
  if (d.html && spec.size) return rendering_fail(r, "a text of HTML takes no format");
  if (d.html) return builder_marked(r, b, *d.text);
  return write_value(r, &plain, spec, d) && builder_take(r, &plain, &text) && html_append(r, b, text);
}

/* --- fields ----------------------------------------------------------------------------------------------------- */

/* "name!conversion:spec", without its braces. */
static bool write_field(struct rendering *r, struct formatting *f, struct marked field, int nesting,
                        struct builder *b) {
  size_t end = 0, brackets = 0;
  for (; end < field.size && (brackets || (field.bytes[end] != '!' && field.bytes[end] != ':')); end++)
    brackets = field.bytes[end] == '[' ? 1 : field.bytes[end] == ']' ? 0 : brackets;
  struct datum d, spec;
  struct builder inner = {0};
  if (!field_value(r, f, marked_part(field, 0, end), &d)) return false;
  if (end < field.size && field.bytes[end] == '!') {
    char conversion = end + 1 < field.size ? (char)field.bytes[end + 1] : '\0';
    end += 2;
    if (!conversion || !strchr("sra", conversion) || (end < field.size && field.bytes[end] != ':'))
      return rendering_fail(r, "behind ! a field of format has s or r");
    if (!(conversion == 's' ? datum_plain(r, d, &d) : datum_repr(r, d, conversion == 'a', &d))) return false;
  }
  struct marked rest = marked_part(field, end < field.size ? end + 1 : field.size, field.size);
  return format_part(r, f, rest, nesting + 1, &inner) && builder_take(r, &inner, &spec) &&
         (f->html ? write_escaped : write_value)(r, b, *spec.text, d);
}

/* The end of the field that begins at `at`, its closing brace. */
static size_t field_end(struct marked format, size_t at) {
  for (int depth = 1; at < format.size; at++) {
    depth += (format.bytes[at] == '{') - (format.bytes[at] == '}');
    if (depth == 0) return at;
  }
  return SIZE_MAX;
}

static bool format_part(struct rendering *r, struct formatting *f, struct marked format, int nesting,
                        struct builder *b) {
  size_t plain = 0, at = 0;
  if (!rendering_charge_bytes(r, format.size)) return false;
  if (nesting > 1 && format.size && memchr(format.bytes, '{', format.size))
    return rendering_fail(r, "fields of format nest deeper than two levels");
  while (at < format.size) {
    uint8_t brace = format.bytes[at++];
    if (brace != '{' && brace != '}') continue;
    bool twice = at < format.size && format.bytes[at] == brace && nesting == 0;
    if (!builder_marked(r, b, marked_part(format, plain, twice ? at : at - 1))) return false;
    if (!twice) {
      size_t end = brace == '{' ? field_end(format, at) : SIZE_MAX;
      if (end == SIZE_MAX) return rendering_fail(r, "a brace of format is single");
      if (!write_field(r, f, marked_part(format, at, end), nesting, b)) return false;
      at = end;
    }
    plain = ++at;
  }
  return builder_marked(r, b, marked_part(format, plain, format.size));
}

bool format_braces(struct rendering *r, struct datum text, const struct arguments *a, struct datum *out) {
  struct formatting f = {.given = a, .html = text.html};
  struct builder b = {0};
  if (!format_part(r, &f, *text.text, 0, &b) || !builder_take(r, &b, out)) return false;
  out->html = text.html;
  return true;
}
