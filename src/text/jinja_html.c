/* Texts of HTML escaped, and read back: filters, and the methods that such texts have beside those of all. */
#include "text/jinja_html.h"
#include "text/jinja_text.h"

/* --- escaping ----------------------------------------------------------------------------------------------------- */

static const char *escape_of(uint8_t byte) {
  switch (byte) {
  case '&': return "&amp;";
  case '<': return "&lt;";
  case '>': return "&gt;";
  case '\'': return "&#39;";
  case '"': return "&#34;";
  default: return NULL;
  }
}

bool html_append_text(struct rendering *r, struct builder *b, struct marked text) {
  static const uint8_t marks[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  size_t plain = 0;
  if (!rendering_charge_characters(r, text.size)) return false;
  for (size_t at = 0; at < text.size; at++) {
    const char *escape = escape_of(text.bytes[at]);
    if (!escape) continue;
    struct marked escaped = {(const uint8_t *)escape, text.user && text.user[at] ? marks : NULL, strlen(escape)};
    if (!builder_marked(r, b, marked_part(text, plain, at)) || !builder_marked(r, b, escaped)) return false;
    plain = at + 1;
  }
  return builder_marked(r, b, marked_part(text, plain, text.size));
}

bool html_append(struct rendering *r, struct builder *b, struct datum d) {
  const struct marked *text;
  if (d.kind == DATUM_TEXT && d.html) return builder_marked(r, b, *d.text);
  return datum_string(r, d, &text) && html_append_text(r, b, *text);
}

static bool take(struct rendering *r, const struct builder *b, struct datum *out) {
  if (!builder_take(r, b, out)) return false;
  out->html = true;
  return true;
}

bool html_escape(struct rendering *r, struct datum d, struct datum *out) {
  struct builder b = {0};
  return html_append(r, &b, d) && take(r, &b, out);
}

bool html_join(struct rendering *r, const struct datum_list *items, struct marked separator, struct datum *out) {
  struct builder b = {0};
  for (size_t i = 0; i < items->count; i++)
    if ((i && !builder_marked(r, &b, separator)) || !html_append(r, &b, items->items[i])) return false;
  return take(r, &b, out);
}

void html_mark(struct datum *d) {
  if (d->kind == DATUM_TEXT) d->html = true;
  for (size_t i = 0; d->kind == DATUM_LIST && i < d->list->count; i++)
    d->list->items[i].html = d->list->items[i].kind == DATUM_TEXT;
}

/* --- filters ------------------------------------------------------------------------------------------------------ */

static bool filter_escape(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  (void)a;
  return html_escape(r, d, out);
}

static bool filter_forceescape(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  (void)a;
  d.html = false;
  return html_escape(r, d, out);
}

static bool filter_safe(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct marked *text;
  (void)a;
  if (!datum_string(r, d, &text) || !datum_marked(r, *text, out)) return false;
  out->html = true;
  return true;
}

/* ' name="value"' for each entry that has one. */
static bool filter_xmlattr(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct builder b = {0};
  bool spaced = argument_truth(a, 0, "autospace", true);
  if (d.kind != DATUM_MAP) return rendering_fail(r, "xmlattr needs a map, not a %s", datum_kind_name(d));
  for (size_t i = 0; i < d.map->count; i++) {
    struct datum key = d.map->entries[i].key, value = d.map->entries[i].value;
    if (value.kind == DATUM_NONE || value.kind == DATUM_UNDEFINED) continue;
    if (key.kind != DATUM_TEXT) return rendering_fail(r, "xmlattr needs names that are texts");
    for (size_t k = 0; k < key.text->size; k++)
      if (memchr("\t\n\v\f\r />=", key.text->bytes[k], 9))
        return rendering_fail(r, "xmlattr needs names without white space, /, > and =");
    if (((spaced || b.size) && !builder_text(r, &b, slice_text(" "))) || !html_append(r, &b, key) ||
        !builder_text(r, &b, slice_text("=\"")) || !html_append(r, &b, value) || !builder_text(r, &b, slice_text("\"")))
      return false;
  }
  return builder_take(r, &b, out);
}

static bool filter_striptags(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct datum text;
  return datum_plain(r, d, &text) && html_striptags(r, text, a, out);
}

const struct jinja_filter html_filters[] = {
    {"escape", "", filter_escape},
    {"e", "", filter_escape},
    {"forceescape", "", filter_forceescape},
    {"safe", "", filter_safe},
    {"striptags", "", filter_striptags},
    {"xmlattr", "autospace?", filter_xmlattr},
    {NULL, NULL, NULL},
};

/* --- methods ------------------------------------------------------------------------------------------------------ */

/* Of the class: what it is called on does not matter. */
static bool html_escape_value(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)self;
  return html_escape(r, a->items[0], out);
}

const struct jinja_method html_methods[] = {
    {DATUM_TEXT, "escape", "s/", html_escape_value},
    {DATUM_TEXT, "striptags", "", html_striptags},
    {DATUM_TEXT, "unescape", "", html_unescape},
    {0},
};
