/* The filter urlize: addresses within a text made links of HTML, found as jinja2 finds them. */
#include "text/jinja_address.h"
#include "text/jinja_html.h"
#include "text/jinja_text.h"
#include "text/jinja_text_methods.h"

/* What links are given. */
struct linking {
  int64_t limit; /* characters of an address that are shown; below 0: all */
  bool limited;
  struct marked attributes; /* rel and target, each behind a space */
  const struct datum_list *schemes;
};

static bool starts(struct marked text, const char *with) { return slice_starts(marked_slice(&text), with); }

static bool ends(struct marked text, const char *with) {
  size_t size = strlen(with);
  return text.size >= size && memcmp(text.bytes + text.size - size, with, size) == 0;
}

/* --- words -------------------------------------------------------------------------------------------------------- */

static bool append_link(struct rendering *r, struct builder *b, const char *before, struct marked address,
                        struct marked attributes, struct marked shown, bool cut) {
  return builder_text(r, b, slice_text("<a href=\"")) && builder_text(r, b, slice_text(before)) &&
         builder_marked(r, b, address) && builder_text(r, b, slice_text("\"")) && builder_marked(r, b, attributes) &&
         builder_text(r, b, slice_text(">")) && builder_marked(r, b, shown) &&
         (!cut || builder_text(r, b, slice_text("..."))) && builder_text(r, b, slice_text("</a>"));
}

static bool append_web(struct rendering *r, struct builder *b, const struct linking *l, struct marked text) {
  int64_t length = (int64_t)marked_length(text), keep = l->limit < 0 ? l->limit + length : l->limit;
  bool cut = l->limited && length > l->limit, whole = starts(text, "https://") || starts(text, "http://");
  struct marked shown = cut ? marked_part(text, 0, marked_offset(text, 0, keep < 0 ? 0 : (size_t)keep)) : text;
  return append_link(r, b, whole ? "" : "https://", text, l->attributes, shown, cut);
}

/* A word without what is around it. */
static bool append_middle(struct rendering *r, struct builder *b, const struct linking *l, struct marked text) {
  const struct marked none = {0};
  bool at_sign = text.size && memchr(text.bytes, '@', text.size),
       colon = text.size && memchr(text.bytes, ':', text.size);
  if (address_is_web(text)) return append_web(r, b, l, text);
  if (starts(text, "mailto:") && address_is_mail(marked_part(text, 7, text.size)))
    return append_link(r, b, "", text, none, marked_part(text, 7, text.size), false);
  if (at_sign && !colon && !starts(text, "www.") && !starts(text, "@") && address_is_mail(text))
    return append_link(r, b, "mailto:", text, none, text, false);
  for (size_t i = 0; l->schemes && i < l->schemes->count; i++) {
    const struct marked *scheme = l->schemes->items[i].text;
    bool begins = text.size > scheme->size && memcmp(text.bytes, scheme->bytes, scheme->size) == 0;
    if (!rendering_charge_bytes(r, scheme->size)) return false;
    if (begins) return append_link(r, b, "", text, l->attributes, text, false);
  }
  return builder_marked(r, b, text);
}

static size_t head_size(struct marked word) {
  size_t at = 0;
  for (;;) {
    struct marked rest = marked_part(word, at, word.size);
    size_t size = starts(rest, "&lt;") ? 4 : starts(rest, "(") || starts(rest, "<") ? 1 : 0;
    if (size == 0) return at;
    at += size;
  }
}

static size_t middle_size(struct marked rest) {
  for (;;) {
    size_t size = ends(rest, "&gt;") ? 4 : rest.size && memchr(")>.,", rest.bytes[rest.size - 1], 4) ? 1 : 0;
    if (size == 0) return rest.size;
    rest.size -= size;
  }
}

static size_t count_of(struct marked text, struct marked part) {
  size_t count = 0;
  for (size_t at = 0; (at = text_find(text, at, part)) != SIZE_MAX; at += part.size) count++;
  return count;
}

/* Brackets that are open in the middle are closed by those of the tail. */
static size_t balanced(struct marked rest, size_t middle) {
  static const struct marked pairs[][2] = {{{(const uint8_t *)"(", NULL, 1}, {(const uint8_t *)")", NULL, 1}},
                                           {{(const uint8_t *)"<", NULL, 1}, {(const uint8_t *)">", NULL, 1}},
                                           {{(const uint8_t *)"&lt;", NULL, 4}, {(const uint8_t *)"&gt;", NULL, 4}}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    size_t opened = count_of(marked_part(rest, 0, middle), pairs[i][0]), found;
    if (opened <= count_of(marked_part(rest, 0, middle), pairs[i][1])) continue;
    for (; opened > 0 && (found = text_find(rest, middle, pairs[i][1])) != SIZE_MAX; opened--)
      middle = found + pairs[i][1].size;
  }
  return middle;
}

static bool append_word(struct rendering *r, struct builder *b, const struct linking *l, struct marked word) {
  enum { PASSES = 4 }; /* over its characters */
  if (!rendering_charge_characters(r, PASSES * word.size)) return false;
  size_t head = head_size(word);
  struct marked rest = marked_part(word, head, word.size);
  size_t middle = balanced(rest, middle_size(rest));
  return builder_marked(r, b, marked_part(word, 0, head)) && append_middle(r, b, l, marked_part(rest, 0, middle)) &&
         builder_marked(r, b, marked_part(rest, middle, rest.size));
}

static bool append_words(struct rendering *r, struct builder *b, const struct linking *l, struct marked text) {
  size_t start = 0, size;
  for (size_t at = 0; at <= text.size; at += size) {
    uint32_t code = ' ';
    size = at < text.size ? text_character(text, at, &code) : 1;
    if (at < text.size && !text_is_space(code)) continue;
    if (at > start && !append_word(r, b, l, marked_part(text, start, at))) return false;
    if (at < text.size && !builder_marked(r, b, marked_part(text, at, at + size))) return false;
    start = at + size;
  }
  return true;
}

/* --- the filter --------------------------------------------------------------------------------------------------- */

/* The words of rel, "noopener" and perhaps "nofollow", in order, each once. */
static bool link_words(struct rendering *r, const struct arguments *a, struct datum *out) {
  const struct datum *rel = argument(a, 2, "rel");
  static const struct marked space = {(const uint8_t *)" ", NULL, 1};
  const struct marked *given = NULL;
  struct datum words, text;
  struct arguments none = {0};
  if (rel && rel->kind != DATUM_NONE && !argument_text(r, a, 2, "rel", "urlize", &given)) return false;
  if (!datum_marked(r, given ? *given : (struct marked){0}, &text) || !text_split(r, text, &none, &words)) return false;
  if (!datum_text(r, slice_text("noopener"), &text) || !list_append(r, words.list, text)) return false;
  if (argument_truth(a, 1, "nofollow", false) &&
      (!datum_text(r, slice_text("nofollow"), &text) || !list_append(r, words.list, text)))
    return false;
  struct datum sensitive = datum_bool(true);
  const struct arguments unique = {.count = 1, .items = &sensitive};
  const struct slice name = slice_text("case_sensitive");
  const struct arguments sort = {.n_named = 1, .names = &name, .named = &sensitive};
  return filter_apply(r, slice_text("unique"), words, &unique, &words) &&
         filter_apply(r, slice_text("sort"), words, &sort, &words) && text_join(r, words.list, space, out);
}

static bool linking_read(struct rendering *r, const struct arguments *a, struct linking *l) {
  const struct datum *limit = argument(a, 0, "trim_url_limit"), *target = argument(a, 3, "target"),
                     *schemes = argument(a, 4, "extra_schemes");
  struct builder b = {0};
  struct datum rel, attributes;
  struct datum_list *list;
  l->limited = limit && limit->kind != DATUM_NONE;
  if (l->limited && !argument_int(r, a, 0, "trim_url_limit", "urlize", &l->limit)) return false;
  if (!link_words(r, a, &rel) || !builder_text(r, &b, slice_text(" rel=\"")) || !html_append(r, &b, rel) ||
      !builder_text(r, &b, slice_text("\"")))
    return false;
  if (target && datum_truth(*target) &&
      (!builder_text(r, &b, slice_text(" target=\"")) || !html_append(r, &b, *target) ||
       !builder_text(r, &b, slice_text("\""))))
    return false;
  if (!builder_take(r, &b, &attributes)) return false;
  l->attributes = *attributes.text;
  if (!schemes || schemes->kind == DATUM_NONE) return true;
  if (!datum_items(r, *schemes, &list)) return false;
  for (size_t i = 0; i < list->count; i++)
    if (!rendering_charge(r, datum_weight(list->items[i])) || !address_is_scheme(list->items[i]))
      return rendering_fail(r, "urlize needs schemes like \"tel:\" or \"ftp://\"");
  l->schemes = list;
  return true;
}

static bool filter_urlize(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct linking l = {0};
  struct builder b = {0};
  struct datum text;
  return linking_read(r, a, &l) && html_escape(r, d, &text) && rendering_charge_characters(r, text.text->size) &&
         append_words(r, &b, &l, *text.text) && builder_take(r, &b, out);
}

const struct jinja_filter link_filters[] = {
    {"urlize", "trim_url_limit? nofollow? rel? target? extra_schemes?", filter_urlize},
    {NULL, NULL, NULL},
};
