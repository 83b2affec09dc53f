/* The filter pprint: a value as Python's pprint lays it out, in lines of 80 characters where it may be cut. */
#include "text/jinja_filters.h"
#include "text/jinja_text.h"

enum { WIDTH = 80 };

/* Where a value stands: so many columns are before it, so many are wanted behind it. */
struct place {
  int64_t indent, behind;
  bool outermost;
};

static bool write_value(struct rendering *r, struct builder *b, struct datum d, struct place at);

static bool write_plain(struct rendering *r, struct builder *b, const char *text) {
  return builder_text(r, b, slice_text(text));
}

static bool write_line_end(struct rendering *r, struct builder *b, int64_t indent) {
  if (!rendering_charge(r, (size_t)indent / 16) || !write_plain(r, b, "\n")) return false;
  for (int64_t i = 0; i < indent; i++)
    if (!write_plain(r, b, " ")) return false;
  return true;
}

/* --- on one line -------------------------------------------------------------------------------------------------- */

/* repr() with maps in the order of their keys. */
static bool write_short(struct rendering *r, struct builder *b, struct datum d) {
  bool tuple = d.kind == DATUM_LIST && d.list->form == FORM_TUPLE,
       list = d.kind == DATUM_LIST && d.list->form == FORM_LIST;
  if (d.kind != DATUM_MAP && !tuple && !list) return print_repr(r, b, d);
  struct map_entry *entries = NULL;
  size_t count = d.kind == DATUM_MAP ? d.map->count : d.list->count;
  if (d.kind == DATUM_MAP && !map_sorted(r, d.map, &entries)) return false;
  if (!rendering_enter(r) || !write_plain(r, b, entries ? "{" : tuple ? "(" : "[")) return false;
  for (size_t i = 0; i < count; i++) {
    if (i && !write_plain(r, b, ", ")) return false;
    if (entries && (!write_short(r, b, entries[i].key) || !write_plain(r, b, ": "))) return false;
    if (!write_short(r, b, entries ? entries[i].value : d.list->items[i])) return false;
  }
  rendering_leave(r);
  return write_plain(r, b, entries ? "}" : list ? "]" : count == 1 ? ",)" : ")");
}

static bool short_text(struct rendering *r, struct datum d, struct datum *out, int64_t *length) {
  struct builder b = {0};
  if (!write_short(r, &b, d) || !builder_take(r, &b, out)) return false;
  *length = (int64_t)marked_length(*out->text);
  return rendering_charge_characters(r, out->text->size);
}

/* --- texts -------------------------------------------------------------------------------------------------------- */

/* A text in parts, one to a line. */
struct parts {
  struct builder *b;
  int64_t indent;
  size_t count;
  bool brackets;
};

static bool append_part(struct rendering *r, struct parts *p, struct datum part) {
  if (p->count == 0 && p->brackets && !write_plain(r, p->b, "(")) return false;
  if (p->count++ && !write_line_end(r, p->b, p->indent)) return false;
  return builder_marked(r, p->b, *part.text);
}

static bool repr_of(struct rendering *r, struct marked text, struct datum *out, int64_t *length) {
  struct datum d;
  return datum_marked(r, text, &d) && short_text(r, d, out, length);
}

/* A word with the white space behind it. */
static size_t word_end(struct marked text, size_t at) {
  uint32_t code;
  size_t size;
  while (at < text.size && (size = text_character(text, at, &code), !text_is_space(code))) at += size;
  while (at < text.size && (size = text_character(text, at, &code), text_is_space(code))) at += size;
  return at;
}

/* A line that is too long, by words; those of the last line leave `behind` columns. */
static bool append_words(struct rendering *r, struct parts *p, struct marked line, int64_t width, int64_t behind) {
  struct datum current = datum_unset(), candidate;
  int64_t length;
  for (size_t at = 0, start = 0, end; at < line.size; at = end) {
    end = word_end(line, at);
    if (end == line.size) width -= behind;
    if (!repr_of(r, marked_part(line, start, end), &candidate, &length)) return false;
    if (length > width && at > start) {
      if (!append_part(r, p, current) || !repr_of(r, marked_part(line, at, end), &candidate, &length)) return false;
      start = at;
    }
    current = candidate;
  }
  return append_part(r, p, current);
}

static size_t line_after(struct marked text, size_t at) {
  size_t ending, end = text_line(text, at, &ending);
  return end + ending;
}

/* How many parts a text has is known when it is written: once to count, then with brackets where there are several. */
static bool write_parts(struct rendering *r, struct parts *p, struct marked text, struct place at) {
  int64_t width = WIDTH - at.indent, length;
  p->indent = at.indent;
  for (size_t from = 0, to; from < text.size; from = to) {
    struct datum line;
    to = line_after(text, from);
    int64_t behind = to == text.size ? at.behind : 0;
    if (!repr_of(r, marked_part(text, from, to), &line, &length)) return false;
    if (length <= width - behind ? !append_part(r, p, line)
                                 : !append_words(r, p, marked_part(text, from, to), width, behind))
      return false;
  }
  return true;
}

static bool write_text(struct rendering *r, struct builder *b, struct marked text, struct place at) {
  struct builder counted = {0};
  struct parts count = {.b = &counted}, parts = {.b = b};
  if (at.outermost) at.indent++, at.behind++;
  if (!write_parts(r, &count, text, at)) return false;
  parts.brackets = at.outermost && count.count > 1;
  return write_parts(r, &parts, text, at) && (!parts.brackets || write_plain(r, b, ")"));
}

/* --- lists and maps ----------------------------------------------------------------------------------------------- */

static bool write_list(struct rendering *r, struct builder *b, const struct datum_list *list, struct place at) {
  const char *end = list->form == FORM_LIST ? "]" : list->count == 1 ? ",)" : ")";
  int64_t behind = at.behind + (int64_t)strlen(end);
  if (!write_plain(r, b, list->form == FORM_LIST ? "[" : "(")) return false;
  for (size_t i = 0; i < list->count; i++) {
    const struct place inner = {at.indent + 1, i + 1 == list->count ? behind : 1, false};
    if (i && (!write_plain(r, b, ",") || !write_line_end(r, b, at.indent + 1))) return false;
    if (!write_value(r, b, list->items[i], inner)) return false;
  }
  return write_plain(r, b, end);
}

static bool write_map(struct rendering *r, struct builder *b, const struct datum_map *map, struct place at) {
  struct map_entry *entries;
  struct datum key;
  int64_t length;
  if (!map_sorted(r, map, &entries) || !write_plain(r, b, "{")) return false;
  for (size_t i = 0; i < map->count; i++) {
    if (i && (!write_plain(r, b, ",") || !write_line_end(r, b, at.indent + 1))) return false;
    if (!short_text(r, entries[i].key, &key, &length) || !builder_marked(r, b, *key.text) || !write_plain(r, b, ": "))
      return false;
    const struct place inner = {at.indent + 1 + length + 2, i + 1 == map->count ? at.behind + 1 : 1, false};
    if (!write_value(r, b, entries[i].value, inner)) return false;
  }
  return write_plain(r, b, "}");
}

static bool write_cut(struct rendering *r, struct builder *b, struct datum d, struct place at) {
  if (d.kind == DATUM_MAP) return write_map(r, b, d.map, at);
  if (d.kind == DATUM_TEXT) return write_text(r, b, *d.text, at);
  return write_list(r, b, d.list, at);
}

/* On one line where it fits, or where it cannot be cut. */
static bool write_value(struct rendering *r, struct builder *b, struct datum d, struct place at) {
  struct datum whole;
  int64_t length;
  bool cuts = d.kind == DATUM_MAP || (d.kind == DATUM_TEXT && !d.html && d.text->size) ||
              (d.kind == DATUM_LIST && d.list->form <= FORM_TUPLE);
  if (!short_text(r, d, &whole, &length)) return false;
  if (!cuts || length <= WIDTH - at.indent - at.behind) return builder_marked(r, b, *whole.text);
  if (!rendering_enter(r) || !write_cut(r, b, d, at)) return false;
  rendering_leave(r);
  return true;
}

static bool filter_pprint(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct builder b = {0};
  (void)a;
  return write_value(r, &b, d, (struct place){.outermost = true}) && builder_take(r, &b, out);
}

const struct jinja_filter pprint_filters[] = {
    {"pprint", "", filter_pprint},
    {NULL, NULL, NULL},
};
