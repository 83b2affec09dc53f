/* Texts cut into parts: methods of texts. */
#include "text/jinja_text.h"
#include "text/jinja_text_methods.h"

static bool append_part(struct rendering *r, struct datum *list, struct marked text, size_t start, size_t end) {
  struct datum part;
  return datum_marked(r, marked_part(text, start, end), &part) && list_append(r, list->list, part);
}

/* At white space: no part is empty; at most `count` cuts when it is not below 0. */
static bool split_spaces(struct rendering *r, struct marked text, int64_t count, struct datum *out) {
  size_t at = 0, size;
  uint32_t code;
  for (;;) {
    while (at < text.size && (size = text_character(text, at, &code), text_is_space(code))) at += size;
    if (at == text.size) return true;
    size_t start = at;
    if (count == 0) return append_part(r, out, text, at, text.size);
    while (at < text.size && (size = text_character(text, at, &code), !text_is_space(code))) at += size;
    if (!append_part(r, out, text, start, at)) return false;
    count -= count > 0;
  }
}

static bool reversed(struct rendering *r, const struct datum_list *list, struct datum *out) {
  for (size_t i = list->count; i > 0; i--)
    if (!list_append(r, out->list, list->items[i - 1])) return false;
  return true;
}

/* The start of the character that ends at `end`. */
static size_t character_before(struct marked text, size_t end, uint32_t *code) {
  do end--;
  while (end > 0 && (text.bytes[end] & 0xC0) == 0x80);
  text_character(text, end, code);
  return end;
}

/* The last `count` stretches of white space cut. */
static bool split_spaces_from_right(struct rendering *r, struct marked text, int64_t count, struct datum *out) {
  struct datum backwards;
  size_t end = text.size, at;
  uint32_t code;
  if (!list_new(r, 0, &backwards)) return false;
  for (;; count--) {
    while (end > 0 && (at = character_before(text, end, &code), text_is_space(code))) end = at;
    if (end == 0) return reversed(r, backwards.list, out);
    size_t start = end;
    while (start > 0 && count > 0 && (at = character_before(text, start, &code), !text_is_space(code))) start = at;
    if (!append_part(r, &backwards, text, count > 0 ? start : 0, end)) return false;
    if (count <= 0) return reversed(r, backwards.list, out);
    end = start;
  }
}

static bool split_at(struct rendering *r, struct marked text, struct marked separator, int64_t count,
                     struct datum *out) {
  size_t at = 0, found;
  for (; count != 0 && (found = text_find(text, at, separator)) != SIZE_MAX; at = found + separator.size) {
    if (!append_part(r, out, text, at, found)) return false;
    count -= count > 0;
  }
  return append_part(r, out, text, at, text.size);
}

/* From the right: the last `count` separators cut. */
static bool split_from_right(struct rendering *r, struct marked text, struct marked separator, int64_t count,
                             struct datum *out) {
  struct datum backwards;
  size_t end = text.size, found;
  if (!list_new(r, 0, &backwards)) return false;
  for (; count != 0 && (found = text_find_last(text, end, separator)) != SIZE_MAX; end = found) {
    if (!append_part(r, &backwards, text, found + separator.size, end)) return false;
    count -= count > 0;
  }
  return append_part(r, &backwards, text, 0, end) && reversed(r, backwards.list, out);
}

static bool split(struct rendering *r, struct datum self, const struct arguments *a, bool from_right,
                  struct datum *out) {
  const struct datum *given = argument(a, 0, "sep");
  int64_t count = -1;
  if (!argument_int(r, a, 1, "maxsplit", "split", &count) || !list_new(r, 0, out)) return false;
  if (!rendering_charge_characters(r, self.text->size)) return false;
  if (!given || given->kind == DATUM_NONE) {
    return (from_right && count >= 0 ? split_spaces_from_right : split_spaces)(r, *self.text, count, out);
  }
  if (given->kind != DATUM_TEXT || given->text->size == 0)
    return rendering_fail(r, "split needs a separator that is a text and not empty");
  from_right = from_right && count >= 0;
  if (from_right && !rendering_charge_bytes(r, self.text->size * (1 + given->text->size))) return false;
  return (from_right ? split_from_right : split_at)(r, *self.text, *given->text, count, out);
}

bool text_split(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return split(r, self, a, false, out);
}

bool text_rsplit(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return split(r, self, a, true, out);
}

/* The bytes of the line's end at `at`, or 0. */
static size_t line_ending(struct marked text, size_t at) {
  static const char *const ends[] = {"\r\n", "\n",   "\r",       "\v",           "\f",          "\x1C",
                                     "\x1D", "\x1E", "\xC2\x85", "\xE2\x80\xA8", "\xE2\x80\xA9"};
  uint8_t byte = text.bytes[at];
  if (byte > '\r' && (byte < 0x1C || byte > 0x1E) && byte != 0xC2 && byte != 0xE2) return 0;
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (slice_starts(slice_make(text.bytes + at, text.size - at), ends[i])) return strlen(ends[i]);
  return 0;
}

size_t text_line(struct marked text, size_t at, size_t *ending) {
  *ending = 0;
  while (at < text.size && (*ending = line_ending(text, at)) == 0) at++;
  return at;
}

bool text_splitlines(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  const struct marked text = *self.text;
  int64_t keeps = false;
  if (!argument_int(r, a, 0, "keepends", "splitlines", &keeps)) return false;
  if (!rendering_charge_characters(r, text.size) || !list_new(r, 0, out)) return false;
  for (size_t at = 0, ending; at < text.size;) {
    size_t end = text_line(text, at, &ending);
    if (!append_part(r, out, text, at, keeps ? end + ending : end)) return false;
    at = end + ending;
  }
  return true;
}

/* Before the first or the last separator, it, and what is behind; what is not found leaves the text at one end. */
static bool cut(struct rendering *r, struct datum self, const struct arguments *a, bool last, struct datum *out) {
  const struct marked text = *self.text, *separator = NULL;
  if (!argument_text(r, a, 0, NULL, "partition", &separator)) return false;
  if (!separator || separator->size == 0) return rendering_fail(r, "partition needs a separator that is not empty");
  if (!rendering_charge_bytes(r, text.size * (last ? 1 + separator->size : 1))) return false;
  size_t at = last ? text_find_last(text, text.size, *separator) : text_find(text, 0, *separator);
  bool found = at != SIZE_MAX;
  size_t start = found ? at : last ? 0 : text.size, end = found ? at + separator->size : start;
  const size_t bounds[] = {0, start, end, text.size};
  if (!list_new(r, 3, out)) return false;
  out->list->form = FORM_TUPLE;
  for (size_t i = 0; i < 3; i++) {
    struct datum part;
    if (!datum_marked(r, marked_part(text, bounds[i], bounds[i + 1]), &part) || !list_append(r, out->list, part))
      return false;
  }
  return true;
}

bool text_partition(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return cut(r, self, a, false, out);
}

bool text_rpartition(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return cut(r, self, a, true, out);
}
