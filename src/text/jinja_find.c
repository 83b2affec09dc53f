/* Texts searched: methods of texts that look for a part, in all of it or between two places. */
#include "text/jinja_text.h"
#include "text/jinja_text_methods.h"

/* What of a text is looked at. */
struct window {
  struct marked text;
  size_t before; /* characters in front of it */
  bool none;     /* its start is behind its end: not even an empty part is there */
};

/* Between the second and the third argument. */
static bool window_read(struct rendering *r, struct marked text, const struct arguments *a, const char *what,
                        struct window *w) {
  *w = (struct window){.text = text};
  if (a->count < 2) return true;
  size_t length = marked_length(text), start = 0, end = length;
  if (!rendering_charge_bytes(r, 4 * text.size) || !argument_bound(r, a, 1, "start", what, length, &start) ||
      !argument_bound(r, a, 2, "end", what, length, &end))
    return false;
  if (end > length) end = length;
  w->before = start;
  w->none = start > end;
  if (w->none) return true;
  size_t first = marked_offset(text, 0, start);
  w->text = marked_part(text, first, marked_offset(text, first, end - start));
  return true;
}

/* --- where -------------------------------------------------------------------------------------------------------- */

/* Where the first argument is, in characters; -1: nowhere. */
static bool position(struct rendering *r, struct datum self, const struct arguments *a, const char *what, bool last,
                     int64_t *at) {
  const struct marked *part = NULL;
  struct window w;
  if (!argument_text(r, a, 0, "sub", what, &part) || !window_read(r, *self.text, a, what, &w)) return false;
  if (last && !rendering_charge_bytes(r, w.text.size * (1 + part->size))) return false;
  size_t found = w.none ? SIZE_MAX : last ? text_find_last(w.text, w.text.size, *part) : text_find(w.text, 0, *part);
  *at = found == SIZE_MAX ? -1 : (int64_t)(w.before + marked_length(marked_part(w.text, 0, found)));
  return rendering_charge_bytes(r, 4 * w.text.size);
}

static bool find(struct rendering *r, struct datum self, const struct arguments *a, const char *what, bool last,
                 struct datum *out) {
  int64_t at;
  if (!position(r, self, a, what, last, &at)) return false;
  *out = datum_int(at);
  return true;
}

static bool find_surely(struct rendering *r, struct datum self, const struct arguments *a, const char *what, bool last,
                        struct datum *out) {
  return find(r, self, a, what, last, out) &&
         (out->integer >= 0 || rendering_fail(r, "%s did not find its text", what));
}

bool text_position(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return find(r, self, a, "find", false, out);
}

bool text_last_position(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return find(r, self, a, "rfind", true, out);
}

bool text_index(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return find_surely(r, self, a, "index", false, out);
}

bool text_last_index(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return find_surely(r, self, a, "rindex", true, out);
}

/* --- how often and at which end ----------------------------------------------------------------------------------- */

bool text_count(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  const struct marked *part = NULL;
  struct window w;
  size_t count = 0;
  if (!argument_text(r, a, 0, "sub", "count", &part) || !window_read(r, *self.text, a, "count", &w)) return false;
  if (!rendering_charge_bytes(r, 4 * w.text.size)) return false;
  if (part->size == 0 && !w.none) count = marked_length(w.text) + 1; /* between all characters and at the ends */
  for (size_t at = 0, found; part->size && !w.none && (found = text_find(w.text, at, *part)) != SIZE_MAX;
       at = found + part->size)
    if (!rendering_charge(r, ++count > 0)) return false;
  *out = datum_int((int64_t)count);
  return true;
}

static bool has_end(struct marked text, const struct marked *part, bool at_end) {
  if (part->size > text.size) return false;
  size_t from = at_end ? text.size - part->size : 0;
  return slice_equal(slice_make(text.bytes + from, part->size), marked_slice(part));
}

/* startswith and endswith take a text or a tuple of texts. */
static bool test_end(struct rendering *r, struct datum self, const struct arguments *a, bool at_end,
                     struct datum *out) {
  const struct datum given = a->items[0];
  const char *what = at_end ? "endswith" : "startswith";
  bool found = false, tuple = given.kind == DATUM_LIST && given.list->form == FORM_TUPLE;
  struct window w;
  if (given.kind != DATUM_TEXT && !tuple) return rendering_fail(r, "%s needs a text or a tuple of texts", what);
  if (!window_read(r, *self.text, a, what, &w)) return false;
  size_t count = tuple ? given.list->count : 1;
  if (!rendering_charge(r, datum_weight(given))) return false;
  for (size_t i = 0; i < count && !found; i++) {
    struct datum part = tuple ? given.list->items[i] : given;
    if (part.kind != DATUM_TEXT) return rendering_fail(r, "%s needs a text or a tuple of texts", what);
    found = !w.none && has_end(w.text, part.text, at_end);
  }
  *out = datum_bool(found);
  return true;
}

bool text_startswith(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return test_end(r, self, a, false, out);
}

bool text_endswith(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return test_end(r, self, a, true, out);
}

static bool remove_end(struct rendering *r, struct datum self, const struct arguments *a, bool at_end,
                       struct datum *out) {
  const struct marked *part = NULL;
  if (!argument_text(r, a, 0, "its part", "removing an end", &part)) return false;
  *out = self;
  if (!has_end(*self.text, part, at_end)) return true;
  size_t start = at_end ? 0 : part->size, end = at_end ? self.text->size - part->size : self.text->size;
  return datum_marked(r, marked_part(*self.text, start, end), out);
}

bool text_removeprefix(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return remove_end(r, self, a, false, out);
}

bool text_removesuffix(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  return remove_end(r, self, a, true, out);
}
