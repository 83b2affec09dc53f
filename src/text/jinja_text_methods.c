/* Methods of texts, as Python names them. To add one: a function and a row of the table at the end. */
#include "text/jinja_field.h"
#include "text/jinja_text_methods.h"

#include <utf8proc.h>

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

static bool has_end(const struct marked *text, const struct marked *part, bool at_end) {
  if (part->size > text->size) return false;
  size_t from = at_end ? text->size - part->size : 0;
  return slice_equal(slice_make(text->bytes + from, part->size), marked_slice(part));
}

/* startswith and endswith take a text or a tuple of texts. */
static bool test_end(struct rendering *r, struct datum self, const struct arguments *a, bool at_end,
                     struct datum *out) {
  const struct datum *given = argument(a, 0, NULL);
  const char *what = at_end ? "endswith" : "startswith";
  bool found = false;
  if (!given || (given->kind != DATUM_TEXT && given->kind != DATUM_LIST))
    return rendering_fail(r, "%s needs a text or a tuple of texts", what);
  size_t count = given->kind == DATUM_LIST ? given->list->count : 1;
  for (size_t i = 0; i < count && !found; i++) {
    struct datum part = given->kind == DATUM_LIST ? given->list->items[i] : *given;
    if (part.kind != DATUM_TEXT) return rendering_fail(r, "%s needs a text or a tuple of texts", what);
    found = has_end(self.text, part.text, at_end);
  }
  *out = datum_bool(found);
  return rendering_charge(r, count);
}

static bool text_startswith(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return test_end(r, self, a, false, out);
}

static bool text_endswith(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return test_end(r, self, a, true, out);
}

static bool remove_end(struct rendering *r, struct datum self, const struct arguments *a, bool at_end,
                       struct datum *out) {
  const struct marked *part = NULL;
  if (!argument_text(r, a, 0, "its part", "removing an end", &part)) return false;
  *out = self;
  if (!part || !has_end(self.text, part, at_end)) return true;
  size_t start = at_end ? 0 : part->size, end = at_end ? self.text->size - part->size : self.text->size;
  return datum_marked(r, marked_part(*self.text, start, end), out);
}

static bool text_removeprefix(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return remove_end(r, self, a, false, out);
}

static bool text_removesuffix(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return remove_end(r, self, a, true, out);
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
  int64_t count = -1;
  if (!argument_text(r, a, 0, "old", "replace", &from) || !argument_text(r, a, 1, "new", "replace", &to)) return false;
  if (!from || !to) return rendering_fail(r, "replace needs what to replace and by what");
  return argument_int(r, a, 2, "count", "replace", &count) && text_replace(r, *self.text, *from, *to, count, out);
}

static bool text_join_items(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  const struct datum *given = argument(a, 0, NULL);
  struct datum_list *items;
  if (!given || !datum_items(r, *given, &items)) return given || rendering_fail(r, "join needs a list");
  for (size_t i = 0; i < items->count; i++)
    if (items->items[i].kind != DATUM_TEXT)
      return rendering_fail(r, "join needs texts, not a %s", datum_kind_name(items->items[i]));
  return text_join(r, items, *self.text, out);
}

/* Where the argument is in the text, in characters; -1: nowhere. */
static bool position(struct rendering *r, struct datum self, const struct arguments *a, bool last, struct datum *out) {
  const struct marked *part = NULL;
  if (!argument_text(r, a, 0, "what to find", "find", &part)) return false;
  if (!part) return rendering_fail(r, "find needs what to find");
  size_t found = last ? text_find_last(*self.text, self.text->size, *part) : text_find(*self.text, 0, *part);
  *out = datum_int(found == SIZE_MAX ? -1 : (int64_t)marked_length(marked_part(*self.text, 0, found)));
  return rendering_charge_bytes(r, self.text->size * (last ? 1 + part->size : 1));
}

static bool text_position(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return position(r, self, a, false, out);
}

static bool text_last_position(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return position(r, self, a, true, out);
}

static bool text_index(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  if (!position(r, self, a, false, out)) return false;
  return out->integer >= 0 || rendering_fail(r, "index did not find its text");
}

static bool text_count(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  const struct marked *part = NULL;
  int64_t count = 0;
  if (!argument_text(r, a, 0, "what to count", "count", &part)) return false;
  if (!part || part->size == 0) return rendering_fail(r, "count needs a text that is not empty");
  for (size_t at = 0, found; (found = text_find(*self.text, at, *part)) != SIZE_MAX; at = found + part->size) count++;
  *out = datum_int(count);
  return rendering_charge_bytes(r, self.text->size);
}

static bool is_space(uint32_t code) { return text_is_space(code); }
static bool is_digit(uint32_t code) { return utf8proc_category((utf8proc_int32_t)code) == UTF8PROC_CATEGORY_ND; }
static bool is_letter(uint32_t code) {
  utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
static bool is_letter_or_digit(uint32_t code) { return is_letter(code) || is_digit(code); }

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
  return rendering_charge_bytes(r, text->size);
}

static bool text_isspace(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return all_characters(r, self.text, is_space, out);
}

static bool text_isdigit(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return all_characters(r, self.text, is_digit, out);
}

static bool text_isalpha(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return all_characters(r, self.text, is_letter, out);
}

static bool text_isalnum(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return all_characters(r, self.text, is_letter_or_digit, out);
}

static bool check_case(struct rendering *r, struct datum self, const char *test, struct datum *out) {
  static const struct arguments none = {0};
  bool result;
  if (!test_apply(r, slice_text(test), self, &none, &result)) return false;
  *out = datum_bool(result);
  return true;
}

static bool text_islower(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return check_case(r, self, "lower", out);
}

static bool text_isupper(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return check_case(r, self, "upper", out);
}

static bool text_format(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return format_braces(r, *self.text, a, out);
}

static const struct jinja_method methods[] = {
    {DATUM_TEXT, "strip", text_strip_both},
    {DATUM_TEXT, "lstrip", text_strip_left},
    {DATUM_TEXT, "rstrip", text_strip_right},
    {DATUM_TEXT, "startswith", text_startswith},
    {DATUM_TEXT, "endswith", text_endswith},
    {DATUM_TEXT, "removeprefix", text_removeprefix},
    {DATUM_TEXT, "removesuffix", text_removesuffix},
    {DATUM_TEXT, "split", text_split},
    {DATUM_TEXT, "rsplit", text_rsplit},
    {DATUM_TEXT, "splitlines", text_splitlines},
    {DATUM_TEXT, "upper", text_upper},
    {DATUM_TEXT, "lower", text_lower},
    {DATUM_TEXT, "title", text_title},
    {DATUM_TEXT, "capitalize", text_capitalize},
    {DATUM_TEXT, "replace", text_replace_all},
    {DATUM_TEXT, "join", text_join_items},
    {DATUM_TEXT, "find", text_position},
    {DATUM_TEXT, "rfind", text_last_position},
    {DATUM_TEXT, "index", text_index},
    {DATUM_TEXT, "count", text_count},
    {DATUM_TEXT, "isspace", text_isspace},
    {DATUM_TEXT, "isdigit", text_isdigit},
    {DATUM_TEXT, "isnumeric", text_isdigit},
    {DATUM_TEXT, "isdecimal", text_isdigit},
    {DATUM_TEXT, "isalpha", text_isalpha},
    {DATUM_TEXT, "isalnum", text_isalnum},
    {DATUM_TEXT, "islower", text_islower},
    {DATUM_TEXT, "isupper", text_isupper},
    {DATUM_TEXT, "format", text_format},
    {DATUM_TEXT, "center", text_center},
    {DATUM_TEXT, "ljust", text_ljust},
    {DATUM_TEXT, "rjust", text_rjust},
    {DATUM_TEXT, "zfill", text_zfill},
    {DATUM_TEXT, "partition", text_partition},
    {DATUM_TEXT, "rpartition", text_rpartition},
};

const struct jinja_method *text_method_find(struct slice name) {
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
    if (slice_is(name, methods[i].name)) return &methods[i];
  return NULL;
}
