/* Methods of texts, as Python names them. To add one: a function and a row of the table at the end. */
#include "text/jinja_field.h"
#include "text/jinja_html.h"
#include "text/jinja_text_methods.h"
#include "text/letters.h"

/* --- ends ------------------------------------------------------------------------------------------------------- */

static bool strip(struct rendering *r, struct datum self, const struct arguments *a, bool left, bool right,
                  struct datum *out) {
  const struct datum *given = argument(a, 0, NULL);
  const struct marked *characters = NULL;
  if (given && given->kind != DATUM_NONE && !argument_text(r, a, 0, "its characters", "strip", &characters))
    return false;
  return text_strip(r, *self.text, characters, left, right, out);
}

static bool text_strip_both(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return strip(r, self, a, true, true, out);
}

static bool text_strip_left(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return strip(r, self, a, true, false, out);
}

static bool text_strip_right(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return strip(r, self, a, false, true, out);
}

/* --- the rest of texts ------------------------------------------------------------------------------------------ */

static bool text_upper(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return text_recase(r, *self.text, CASE_UPPER, out);
}

static bool text_lower(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return text_recase(r, *self.text, CASE_LOWER, out);
}

static bool text_title(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return text_recase(r, *self.text, CASE_TITLE, out);
}

static bool text_capitalize(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return text_recase(r, *self.text, CASE_CAPITALIZE, out);
}

static bool text_replace_all(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  const struct marked *from = NULL, *to = NULL;
  struct datum escaped;
  int64_t count = -1;
  if (!argument_text(r, a, 0, "old", "replace", &from)) return false;
  if (!(self.html ? html_escape(r, a->items[1], &escaped) : argument_text(r, a, 1, "new", "replace", &to)))
    return false;
  if (self.html) to = escaped.text;
  return argument_int(r, a, 2, "count", "replace", &count) && text_replace(r, *self.text, *from, *to, count, out);
}

static bool text_join_items(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  struct datum_list *items;
  if (!datum_items(r, a->items[0], &items)) return false;
  if (self.html) return html_join(r, items, *self.text, out);
  for (size_t i = 0; i < items->count; i++)
    if (items->items[i].kind != DATUM_TEXT)
      return rendering_fail(r, "join needs texts, not a %s", datum_kind_name(items->items[i]));
  return text_join(r, items, *self.text, out);
}

/* True when there are characters and all of them are so. */
static bool all_characters(struct rendering *r, const struct marked *text, bool (*is)(uint32_t code),
                           struct datum *out) {
  bool all = text->size > 0;
  for (size_t at = 0; all && at < text->size;) {
    uint32_t code;
    at += text_character(*text, at, &code);
    all = is(code);
  }
  *out = datum_bool(all);
  return rendering_charge_characters(r, text->size);
}

static bool text_isspace(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return all_characters(r, self.text, text_is_space, out);
}

static bool text_isdigit(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return all_characters(r, self.text, letter_is_digit, out);
}

static bool text_isdecimal(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return all_characters(r, self.text, letter_is_decimal, out);
}

static bool text_isnumeric(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return all_characters(r, self.text, letter_is_numeric, out);
}

static bool text_isalpha(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return all_characters(r, self.text, letter_is_alpha, out);
}

static bool text_isalnum(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return all_characters(r, self.text, letter_is_alnum, out);
}

static bool has_case(struct rendering *r, struct datum self, bool upper, struct datum *out) {
  bool result;
  if (!text_has_case(r, *self.text, upper, &result)) return false;
  *out = datum_bool(result);
  return true;
}

static bool text_islower(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return has_case(r, self, false, out);
}

static bool text_isupper(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return has_case(r, self, true, out);
}

static bool text_istitle(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  bool result;
  (void)a;
  if (!text_has_titles(r, *self.text, &result)) return false;
  *out = datum_bool(result);
  return true;
}

static bool text_swapcase(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return text_recase(r, *self.text, CASE_SWAP, out);
}

static bool text_casefold(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return text_recase(r, *self.text, CASE_FOLD, out);
}

static bool is_ascii(uint32_t code) { return code < 0x80; }

/* Of these a text without characters is one. */
static bool text_isascii(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  *out = datum_bool(true);
  return self.text->size == 0 || all_characters(r, self.text, is_ascii, out);
}

static bool text_isprintable(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  *out = datum_bool(true);
  return self.text->size == 0 || all_characters(r, self.text, letter_is_printable, out);
}

/* A map in the place of named arguments. */
static bool text_format_map(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  struct datum map = a->items[0];
  if (map.kind != DATUM_MAP) return rendering_fail(r, "format_map needs a map, not a %s", datum_kind_name(map));
  struct slice *names = rendering_alloc(r, map.map->count * sizeof *names);
  struct datum *values = rendering_alloc(r, map.map->count * sizeof *values);
  struct arguments named = {.names = names, .named = values};
  if (!names || !values || !rendering_charge(r, map.map->count)) return false;
  for (size_t i = 0; i < map.map->count; i++) {
    if (map.map->entries[i].key.kind != DATUM_TEXT) continue;
    names[named.n_named] = marked_slice(map.map->entries[i].key.text);
    values[named.n_named++] = map.map->entries[i].value;
  }
  return format_braces(r, self, &named, out);
}

static bool text_format(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return format_braces(r, self, a, out);
}

const struct jinja_method text_methods[] = {
    {DATUM_TEXT, "strip", "chars?/", text_strip_both},
    {DATUM_TEXT, "lstrip", "chars?/", text_strip_left},
    {DATUM_TEXT, "rstrip", "chars?/", text_strip_right},
    {DATUM_TEXT, "startswith", "prefix start? end?/", text_startswith},
    {DATUM_TEXT, "endswith", "suffix start? end?/", text_endswith},
    {DATUM_TEXT, "removeprefix", "prefix/", text_removeprefix},
    {DATUM_TEXT, "removesuffix", "suffix/", text_removesuffix},
    {DATUM_TEXT, "split", "sep? maxsplit?", text_split},
    {DATUM_TEXT, "rsplit", "sep? maxsplit?", text_rsplit},
    {DATUM_TEXT, "splitlines", "keepends?", text_splitlines},
    {DATUM_TEXT, "upper", "", text_upper},
    {DATUM_TEXT, "lower", "", text_lower},
    {DATUM_TEXT, "title", "", text_title},
    {DATUM_TEXT, "capitalize", "", text_capitalize},
    {DATUM_TEXT, "replace", "old new count?/", text_replace_all},
    {DATUM_TEXT, "join", "iterable/", text_join_items},
    {DATUM_TEXT, "find", "sub start? end?/", text_position},
    {DATUM_TEXT, "rfind", "sub start? end?/", text_last_position},
    {DATUM_TEXT, "index", "sub start? end?/", text_index},
    {DATUM_TEXT, "rindex", "sub start? end?/", text_last_index},
    {DATUM_TEXT, "count", "sub start? end?/", text_count},
    {DATUM_TEXT, "isspace", "", text_isspace},
    {DATUM_TEXT, "isdigit", "", text_isdigit},
    {DATUM_TEXT, "isnumeric", "", text_isnumeric},
    {DATUM_TEXT, "isdecimal", "", text_isdecimal},
    {DATUM_TEXT, "isalpha", "", text_isalpha},
    {DATUM_TEXT, "isalnum", "", text_isalnum},
    {DATUM_TEXT, "islower", "", text_islower},
    {DATUM_TEXT, "isupper", "", text_isupper},
    {DATUM_TEXT, "istitle", "", text_istitle},
    {DATUM_TEXT, "swapcase", "", text_swapcase},
    {DATUM_TEXT, "expandtabs", "tabsize?", text_expandtabs},
    {DATUM_TEXT, "format", "* **", text_format},
    {DATUM_TEXT, "format_map", "mapping/", text_format_map},
    {DATUM_TEXT, "casefold", "", text_casefold},
    {DATUM_TEXT, "isascii", "", text_isascii},
    {DATUM_TEXT, "isprintable", "", text_isprintable},
    {DATUM_TEXT, "center", "width fillchar?/", text_center},
    {DATUM_TEXT, "ljust", "width fillchar?/", text_ljust},
    {DATUM_TEXT, "rjust", "width fillchar?/", text_rjust},
    {DATUM_TEXT, "zfill", "width/", text_zfill},
    {DATUM_TEXT, "partition", "sep/", text_partition},
    {DATUM_TEXT, "rpartition", "sep/", text_rpartition},
    {0},
};
