/* Filters that give texts. To add one: a function and a row of the table at the end. */
#include "text/jinja_field.h"
#include "text/jinja_text_methods.h"

#include <stdio.h>

/* --- letters and ends ------------------------------------------------------------------------------------------- */

static bool recase_datum(struct rendering *r, struct datum d, enum letter_case letter_case, struct datum *out) {
  const struct marked *text;
  return datum_string(r, d, &text) && text_recase(r, *text, letter_case, out);
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
  return datum_string(r, d, &text) && text_strip(r, *text, characters, true, true, out);
}

static bool filter_string(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct marked *text;
  (void)a;
  return datum_string(r, d, &text) && datum_marked(r, *text, out);
}

static bool filter_escape(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  static const char *const pairs[][2] = {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}};
  const struct marked *text;
  (void)a;
  if (!datum_string(r, d, &text) || !datum_marked(r, *text, out)) return false;
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    struct marked from = {(const uint8_t *)pairs[i][0], NULL, 1};
    struct marked to = {(const uint8_t *)pairs[i][1], NULL, strlen(pairs[i][1])};
    if (!text_replace(r, *out->text, from, to, -1, out)) return false;
  }
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

static bool filter_indent(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  static const struct marked line_end = {(const uint8_t *)"\n", NULL, 1};
  const struct marked *text;
  struct marked indent;
  struct builder b = {0};
  bool first = argument_truth(a, 1, "first", false), blank = argument_truth(a, 2, "blank", false);
  if (d.kind != DATUM_TEXT) return rendering_fail(r, "indent needs a text, not a %s", datum_kind_name(d));
  text = d.text;
  if (!indentation(r, argument(a, 0, "width"), "indent", &indent)) return false;
  for (size_t at = 0; at <= text->size;) {
    size_t found = text_find(*text, at, line_end), end = found == SIZE_MAX ? text->size : found;
    bool indents = at == 0 ? first : blank || end > at;
    if (at && !builder_marked(r, &b, line_end)) return false;
    if (indents && !builder_marked(r, &b, indent)) return false;
    if (!builder_marked(r, &b, marked_part(*text, at, end))) return false;
    at = end + 1;
  }
  return builder_take(r, &b, out);
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
  struct datum values;
  if (a->count && a->n_named) return rendering_fail(r, "format takes values or named values, not both");
  if (!datum_string(r, d, &text) || !(a->n_named ? map_new(r, a->n_named, &values) : list_new(r, a->count, &values)))
    return false;
  for (size_t i = 0; i < a->n_named; i++) {
    struct datum name;
    if (!datum_text(r, a->names[i], &name) || !map_append(r, values.map, name, a->named[i])) return false;
  }
  if (!a->n_named) values.list->form = FORM_TUPLE;
  for (size_t i = 0; i < a->count; i++)
    if (!list_append(r, values.list, a->items[i])) return false;
  return format_percent(r, *text, values, out);
}

static bool filter_center(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct marked *text;
  struct datum width = datum_int(80), self;
  if (argument(a, 0, "width")) width = *argument(a, 0, "width");
  const struct arguments one = {.count = 1, .items = &width};
  return datum_string(r, d, &text) && datum_marked(r, *text, &self) && text_center(r, self, &one, out);
}

/* At most `length` characters with the end among them, cut at a space; `leeway` more are let be. */
static bool filter_truncate(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  static const struct marked dots = {(const uint8_t *)"...", NULL, 3}, space = {(const uint8_t *)" ", NULL, 1};
  const struct marked *text = d.text, *end = &dots;
  const struct datum *given = argument(a, 3, "leeway");
  int64_t length = 255, leeway = 5;
  struct builder b = {0};
  if (d.kind != DATUM_TEXT) return rendering_fail(r, "truncate needs a text, not a %s", datum_kind_name(d));
  if (!argument_int(r, a, 0, "length", "truncate", &length) || !argument_text(r, a, 2, "end", "truncate", &end) ||
      (given && given->kind != DATUM_NONE && !argument_int(r, a, 3, "leeway", "truncate", &leeway)) ||
      !rendering_charge_bytes(r, text->size))
    return false;
  int64_t end_length = (int64_t)marked_length(*end);
  if (length < end_length || leeway < 0) return rendering_fail(r, "truncate needs more length than its end has");
  if ((int64_t)marked_length(*text) - length <= leeway) return datum_marked(r, *text, out);
  size_t cut = marked_offset(*text, 0, (size_t)(length - end_length)), word;
  if (!argument_truth(a, 1, "killwords", false) && (word = text_find_last(*text, cut, space)) != SIZE_MAX) cut = word;
  return builder_marked(r, &b, marked_part(*text, 0, cut)) && builder_marked(r, &b, *end) && builder_take(r, &b, out);
}

const struct jinja_filter text_filters[] = {
    {"upper", "", filter_upper},
    {"lower", "", filter_lower},
    {"title", "", filter_title},
    {"capitalize", "", filter_capitalize},
    {"trim", "chars?", filter_trim},
    {"string", "", filter_string},
    {"safe", "", filter_string},
    {"escape", "", filter_escape},
    {"e", "", filter_escape},
    {"forceescape", "", filter_escape},
    {"replace", "old new count?", filter_replace},
    {"indent", "width? first? blank?", filter_indent},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", filter_tojson},
    {"format", "* **", filter_format},
    {"center", "width?", filter_center},
    {"truncate", "length? killwords? end? leeway?", filter_truncate},
    {NULL, NULL, NULL},
};
