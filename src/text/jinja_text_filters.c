/* Filters that give texts. To add one: a function and a row of the table at the end. */
#include "text/jinja_field.h"
#include "text/jinja_text_methods.h"

#include <stdio.h>

/* --- letters and ends ------------------------------------------------------------------------------------------- */

static bool recase_datum(struct rendering *r, struct datum d, enum letter_case letter_case, struct datum *out) {
  const struct marked *text;
  if (!datum_string(r, d, &text) || !text_recase(r, *text, letter_case, out)) return false;
  out->html = d.html && letter_case != CASE_WORDS; /* that is put together of its words */
  return true;
}

static bool filter_upper(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  (void)a;
  return recase_datum(r, d, CASE_UPPER, out);
}

static bool filter_lower(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  (void)a;
  return recase_datum(r, d, CASE_LOWER, out);
}

static bool filter_title(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  (void)a;
  return recase_datum(r, d, CASE_WORDS, out);
}

static bool filter_capitalize(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  (void)a;
  return recase_datum(r, d, CASE_CAPITALIZE, out);
}

static bool filter_trim(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct marked *text, *characters = NULL;
  const struct datum *given = argument(a, 0, "chars");
  if (given && given->kind != DATUM_NONE && !argument_text(r, a, 0, "chars", "trim", &characters)) return false;
  if (!datum_string(r, d, &text) || !text_strip(r, *text, characters, true, true, out)) return false;
  out->html = d.html;
  return true;
}

static bool filter_string(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct marked *text;
  (void)a;
  if (!datum_string(r, d, &text) || !datum_marked(r, *text, out)) return false;
  out->html = d.html;
  return true;
}

/* --- whole texts ------------------------------------------------------------------------------------------------ */

static bool filter_replace(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *old = argument(a, 0, "old"), *new = argument(a, 1, "new"), *given = argument(a, 2, "count");
  const struct marked *text, *from, *to;
  int64_t count = -1;
  if (!old || !new) return rendering_fail(r, "replace needs what to replace and by what");
  if (given && given->kind != DATUM_NONE && !argument_int(r, a, 2, "count", "replace", &count)) return false;
  if (!datum_string(r, d, &text) || !datum_string(r, *old, &from) || !datum_string(r, *new, &to)) return false;
  return text_replace(r, *text, *from, *to, count, out);
}

/* One level of indentation: a number of spaces, or a text. */
static bool indentation(struct rendering *r, const struct datum *given, const char *what, struct marked *out) {
  enum { MOST = 1000 };
  int64_t width = 4;
  if (given && given->kind == DATUM_TEXT) {
    *out = *given->text;
    return true;
  }
  const struct arguments one = {.count = given != NULL, .items = given};
  if (!argument_int(r, &one, 0, "its width", what, &width)) return false;
  if (width > MOST) return rendering_fail(r, "%s takes a text or up to %d spaces", what, MOST);
  uint8_t *spaces = rendering_alloc(r, MOST);
  if (!spaces || !rendering_charge(r, MOST / 64)) return false;
  memset(spaces, ' ', MOST);
  *out = (struct marked){spaces, NULL, width < 0 ? 0 : (size_t)width};
  return true;
}

/* The end of the line that begins at `at`, and where the next one begins; SIZE_MAX: it is the last. */
static size_t line_span(struct marked text, size_t at, size_t *next) {
  size_t size, end = text_line(text, at, &size);
  bool cut = end + size == text.size && text.size && text.bytes[text.size - 1] == '\r'; /* the filter adds a \n */
  *next = size == 0 || cut ? SIZE_MAX : end + size;
  return end;
}

static bool filter_indent(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *width = argument(a, 0, "width");
  struct marked indent;
  struct builder b = {0};
  bool first = argument_truth(a, 1, "first", false), blank = argument_truth(a, 2, "blank", false);
  if (d.kind != DATUM_TEXT) return rendering_fail(r, "indent needs a text, not a %s", datum_kind_name(d));
  if (width && width->html && !d.html) return rendering_fail(r, "indent takes a width of HTML only for HTML");
  if (!indentation(r, width, "indent", &indent) || !rendering_charge_characters(r, d.text->size)) return false;
  for (size_t at = 0, next; at != SIZE_MAX; at = next) {
    size_t end = line_span(*d.text, at, &next);
    bool indents = at == 0 ? first : blank || end > at;
    if (at && !builder_text(r, &b, slice_text("\n"))) return false;
    if (indents && !builder_marked(r, &b, indent)) return false;
    if (!builder_marked(r, &b, marked_part(*d.text, at, end))) return false;
  }
  if (!builder_take(r, &b, out)) return false;
  out->html = d.html;
  return true;
}

static bool separators(struct rendering *r, const struct datum *given, struct json_style *style) {
  if (!given || given->kind == DATUM_NONE) return true;
  if (given->kind != DATUM_LIST || given->list->count != 2 || given->list->items[0].kind != DATUM_TEXT ||
      given->list->items[1].kind != DATUM_TEXT)
    return rendering_fail(r, "tojson needs two texts for separators");
  style->item_separator = given->list->items[0].text;
  style->key_separator = given->list->items[1].text;
  return true;
}

/* As transformers has it: nothing escaped for HTML, characters beyond ASCII as they are. */
static bool filter_tojson(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  static const struct marked item = {(const uint8_t *)", ", NULL, 2}, key = {(const uint8_t *)": ", NULL, 2};
  static const struct marked indented_item = {(const uint8_t *)",", NULL, 1};
  const struct datum *given = argument(a, 1, "indent");
  struct marked indent;
  struct builder b = {0};
  struct json_style style = {.ascii = argument_truth(a, 0, "ensure_ascii", false),
                             .sort_keys = argument_truth(a, 3, "sort_keys", false),
                             .item_separator = &item,
                             .key_separator = &key};
  if (given && given->kind != DATUM_NONE) {
    if (!indentation(r, given, "tojson", &indent)) return false;
    style.indent = &indent;
    style.item_separator = &indented_item;
  }
  return separators(r, argument(a, 2, "separators"), &style) && print_json(r, &b, d, &style) &&
         builder_take(r, &b, out);
}

/* The text as a format of printf's: its values are the arguments, or their names where there are names. */
static bool filter_format(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct marked *text;
  struct datum values, format;
  if (a->count && a->n_named) return rendering_fail(r, "format takes values or named values, not both");
  if (!datum_string(r, d, &text) || !datum_marked(r, *text, &format)) return false;
  format.html = d.html;
  if (!(a->n_named ? map_new(r, a->n_named, &values) : list_new(r, a->count, &values))) return false;
  for (size_t i = 0; i < a->n_named; i++) {
    struct datum name;
    if (!datum_text(r, a->names[i], &name) || !map_append(r, values.map, name, a->named[i])) return false;
  }
  if (!a->n_named) values.list->form = FORM_TUPLE;
  for (size_t i = 0; i < a->count; i++)
    if (!list_append(r, values.list, a->items[i])) return false;
  return format_percent(r, format, values, out);
}

static bool filter_center(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct marked *text;
  struct datum width = datum_int(80), self;
  if (argument(a, 0, "width")) width = *argument(a, 0, "width");
  const struct arguments one = {.count = 1, .items = &width};
  if (!datum_string(r, d, &text) || !datum_marked(r, *text, &self) || !text_center(r, self, &one, out)) return false;
  out->html = d.html;
  return true;
}

/* At most `length` characters with the end among them, cut at a space; `leeway` more are let be. */
static bool filter_truncate(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  static const struct marked dots = {(const uint8_t *)"...", NULL, 3}, space = {(const uint8_t *)" ", NULL, 1};
  const struct marked *text = d.text, *end = &dots;
  const struct datum *given = argument(a, 3, "leeway"), *given_end = argument(a, 2, "end");
  struct datum kept, closing;
  int64_t length = 255, leeway = 5;
  if (d.kind != DATUM_TEXT) return rendering_fail(r, "truncate needs a text, not a %s", datum_kind_name(d));
  if (!argument_int(r, a, 0, "length", "truncate", &length) || !argument_text(r, a, 2, "end", "truncate", &end) ||
      (given && given->kind != DATUM_NONE && !argument_int(r, a, 3, "leeway", "truncate", &leeway)) ||
      !rendering_charge_bytes(r, text->size))
    return false;
  int64_t end_length = (int64_t)marked_length(*end);
  *out = d;
  if (length < end_length || leeway < 0) return rendering_fail(r, "truncate needs more length than its end has");
  if ((int64_t)marked_length(*text) - length <= leeway) return true;
  size_t cut = marked_offset(*text, 0, (size_t)(length - end_length)), word;
  if (!argument_truth(a, 1, "killwords", false) && (word = text_find_last(*text, cut, space)) != SIZE_MAX) cut = word;
  if (!datum_marked(r, marked_part(*text, 0, cut), &kept) || !datum_marked(r, *end, &closing)) return false;
  kept.html = d.html;
  closing.html = given_end && given_end->html;
  return eval_binary(r, OPERATOR_ADD, kept, closing, out);
}

const struct jinja_filter text_filters[] = {
    {"upper", "", filter_upper},
    {"lower", "", filter_lower},
    {"title", "", filter_title},
    {"capitalize", "", filter_capitalize},
    {"trim", "chars?", filter_trim},
    {"string", "", filter_string},
    {"replace", "old new count?", filter_replace},
    {"indent", "width? first? blank?", filter_indent},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", filter_tojson},
    {"format", "* **", filter_format},
    {"center", "width?", filter_center},
    {"truncate", "length? killwords? end? leeway?", filter_truncate},
    {NULL, NULL, NULL},
};
