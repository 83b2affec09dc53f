/* The filter urlize: addresses within a text made links of HTML, found as jinja2 finds them. */
#include "text/jinja_html.h"
#include "text/jinja_text.h"
#include "text/jinja_text_methods.h"
#include "text/letters.h"

/* What links are given. */
struct linking {
  int64_t limit; /* characters of an address that are shown; below 0: all */
  bool limited;
  struct marked attributes; /* rel and target, each behind a space */
  const struct datum_list *schemes;
};

/* --- characters --------------------------------------------------------------------------------------------------- */

static bool is_word(uint32_t code) { return code == '_' || letter_is_alnum(code); }
static bool is_label(uint32_t code) { return is_word(code) || code == '%' || code == '-'; }
static bool is_mail(uint32_t code) { return is_word(code) || code == '.' || code == '-'; }
static bool is_scheme(uint32_t code) { return is_word(code) || code == '.' || code == '+' || code == '-'; }
static bool is_encoded(uint32_t code) { return is_word(code) || code == '%'; }

/* Letters as a comparison without case has them: the long s and the sign of Kelvin, too. */
static bool is_latin(uint32_t code) {
  return code == 0x17F || code == 0x212A || (code < 0x80 && (code | 32) >= 'a' && (code | 32) <= 'z');
}

static bool is_hex(uint8_t byte) { return (byte >= '0' && byte <= '9') || ((byte | 32) >= 'a' && (byte | 32) <= 'f'); }

/* How many characters there are if all are such; SIZE_MAX: one is not. */
static size_t count_all(struct marked text, bool (*is)(uint32_t)) {
  size_t count = 0;
  for (size_t at = 0; at < text.size; count++) {
    uint32_t code;
    at += text_character(text, at, &code);
    if (!is(code)) return SIZE_MAX;
  }
  return count;
}

static bool has_count(struct marked text, bool (*is)(uint32_t), size_t least, size_t most) {
  size_t count = count_all(text, is);
  return count != SIZE_MAX && count >= least && count <= most;
}

static bool starts(struct marked text, const char *with) { return slice_starts(marked_slice(&text), with); }

static bool starts_any_case(struct marked text, const char *with) {
  size_t size = strlen(with);
  if (text.size < size) return false;
  for (size_t i = 0; i < size; i++) {
    uint8_t byte = text.bytes[i];
    if ((byte >= 'A' && byte <= 'Z' ? byte | 32 : byte) != (uint8_t)with[i]) return false;
  }
  return true;
}

static bool ends(struct marked text, const char *with) {
  size_t size = strlen(with);
  return text.size >= size && memcmp(text.bytes + text.size - size, with, size) == 0;
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

/* Labels with a dot behind each, `least` to `most` characters long; *last: what is behind the last dot. */
static bool labels(struct marked host, size_t least, size_t most, struct marked *last) {
  static const struct marked dot = {(const uint8_t *)".", NULL, 1};
  for (size_t found; (found = text_find(host, 0, dot)) != SIZE_MAX; host = marked_part(host, found + 1, host.size))
    if (!has_count(marked_part(host, 0, found), is_label, least, most)) return false;
  *last = host;
  return true;
}

static bool is_domain(struct marked host) {
  struct marked last;
  if (!labels(host, 1, SIZE_MAX - 1, &last)) return false;
  return has_count(last, is_latin, 2, 63) ||
         (starts_any_case(last, "xn--") && has_count(marked_part(last, 4, last.size), is_encoded, 2, 59));
}

static bool is_known_domain(struct marked host) {
  static const char *const known[] = {"com", "net", "int", "edu", "gov", "org", "info", "mil"};
  struct marked last;
  if (!labels(host, 2, 63, &last) || last.size == host.size) return false;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (last.size == strlen(known[i]) && starts_any_case(last, known[i])) return true;
  return false;
}

static bool is_address4(struct marked host) {
  static const struct marked dot = {(const uint8_t *)".", NULL, 1};
  for (int i = 0; i < 4; i++) {
    size_t found = text_find(host, 0, dot), end = found == SIZE_MAX ? host.size : found;
    if ((i == 3) != (found == SIZE_MAX) || !has_count(marked_part(host, 0, end), letter_is_decimal, 1, 3)) return false;
    host = marked_part(host, i == 3 ? end : end + 1, host.size);
  }
  return true;
}

/* Eight groups at most of up to four digits, the first two with a colon. */
static bool is_address6(struct marked host) {
  size_t at = 1, groups = 0, rest = 0;
  if (host.size < 2 || host.bytes[0] != '[' || !ends(host, "]")) return false;
  for (; at + 1 < host.size; groups++) {
    size_t digits = 0;
    for (; digits < 4 && at + 1 < host.size && is_hex(host.bytes[at]); digits++) at++;
    bool colon = at + 1 < host.size && host.bytes[at] == ':';
    if ((groups < 2 && !colon) || (digits == 0 && !colon)) return false;
    at += colon;
    rest += groups >= 2;
  }
  return groups >= 2 && rest <= 6;
}

/* Behind the host: a port of up to five digits, and what begins with /, ? or #. */
static bool tail_fits(struct marked tail) {
  if (tail.size && tail.bytes[0] == ':') {
    size_t end = 1;
    while (end < tail.size && !strchr("/?#", tail.bytes[end])) end++;
    if (!has_count(marked_part(tail, 1, end), letter_is_decimal, 1, 5)) return false;
    tail = marked_part(tail, end, tail.size);
  }
  return tail.size == 0 || strchr("/?#", tail.bytes[0]);
}

static bool is_web_address(struct marked text) {
  size_t scheme = starts_any_case(text, "https://") ? 8 : starts_any_case(text, "http://") ? 7 : 0, end;
  struct marked host = marked_part(text, scheme, text.size);
  bool bracket = scheme && host.size && host.bytes[0] == '[';
  for (end = 0; end < host.size && !(bracket ? host.bytes[end] == ']' : strchr(":/?#", host.bytes[end]) != NULL);)
    end++;
  end += bracket && end < host.size;
  if (!tail_fits(marked_part(host, end, host.size))) return false;
  host = marked_part(host, 0, end);
  if (bracket) return is_address6(host);
  bool www = !scheme && starts_any_case(host, "www.");
  return (scheme && (is_domain(host) || is_address4(host))) || (www && is_domain(marked_part(host, 4, host.size))) ||
         (!scheme && is_known_domain(host));
}

static bool is_mail_address(struct marked text) {
  static const struct marked at_sign = {(const uint8_t *)"@", NULL, 1}, dot = {(const uint8_t *)".", NULL, 1};
  size_t at = text_find_last(text, text.size, at_sign);
  if (at == SIZE_MAX || at == 0) return false;
  struct marked host = marked_part(text, at + 1, text.size);
  size_t point = text_find_last(host, host.size, dot);
  if (point == SIZE_MAX || point == 0 || count_all(host, is_mail) == SIZE_MAX) return false;
  return has_count(marked_part(host, 0, marked_offset(host, 0, 1)), is_word, 1, 1) &&
         has_count(marked_part(host, point + 1, host.size), is_word, 1, SIZE_MAX - 1);
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
  if (is_web_address(text)) return append_web(r, b, l, text);
  if (starts(text, "mailto:") && is_mail_address(marked_part(text, 7, text.size)))
    return append_link(r, b, "", text, none, marked_part(text, 7, text.size), false);
  if (at_sign && !colon && !starts(text, "www.") && !starts(text, "@") && is_mail_address(text))
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

static bool is_scheme_prefix(struct datum d) {
  static const struct marked colon = {(const uint8_t *)":", NULL, 1};
  if (d.kind != DATUM_TEXT) return false;
  size_t at = text_find(*d.text, 0, colon);
  if (at == SIZE_MAX || !has_count(marked_part(*d.text, 0, at), is_scheme, 2, SIZE_MAX - 1)) return false;
  struct marked rest = marked_part(*d.text, at + 1, d.text->size);
  return rest.size == 0 || slice_is(marked_slice(&rest), "/") || slice_is(marked_slice(&rest), "//");
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
    if (!rendering_charge(r, datum_weight(list->items[i])) || !is_scheme_prefix(list->items[i]))
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
