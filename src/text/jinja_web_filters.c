/* Filters that write for the web, or count for people. */
#include "text/jinja_filters.h"
#include "text/jinja_text.h"
#include "text/letters.h"

#include <math.h>
#include <stdio.h>

/* --- addresses ---------------------------------------------------------------------------------------------------- */

static bool keeps(uint8_t byte, bool query) {
  return (byte >= '0' && byte <= '9') || ((byte | 32) >= 'a' && (byte | 32) <= 'z') || (byte && strchr("_.-~", byte)) ||
         (byte == '/' && !query);
}

/* Percent signs and digits bear the mark of the byte that they stand for. */
static bool write_quoted(struct rendering *r, struct builder *b, struct datum d, bool query) {
  const struct marked *text;
  if (!datum_string(r, d, &text) || !rendering_charge_characters(r, text->size)) return false;
  for (size_t i = 0; i < text->size; i++) {
    uint8_t byte = text->bytes[i], user = text->user ? text->user[i] : 0;
    char escape[4];
    if (keeps(byte, query) || (query && byte == ' ')) {
      if (!builder_byte(r, b, byte == ' ' ? '+' : byte, user)) return false;
      continue;
    }
    snprintf(escape, sizeof escape, "%%%02X", byte);
    for (size_t k = 0; k < 3; k++)
      if (!builder_byte(r, b, (uint8_t)escape[k], user)) return false;
  }
  return true;
}

static bool write_query(struct rendering *r, struct builder *b, struct datum key, struct datum value, bool first) {
  return (first || builder_text(r, b, slice_text("&"))) && write_quoted(r, b, key, true) &&
         builder_text(r, b, slice_text("=")) && write_quoted(r, b, value, true);
}

/* A value alone, or what follows the ? of an address: of a map, or of a list of pairs. */
static bool filter_urlencode(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  struct builder b = {0};
  struct datum_list *pair;
  (void)a;
  if (d.kind == DATUM_MAP) {
    for (size_t i = 0; i < d.map->count; i++)
      if (!write_query(r, &b, d.map->entries[i].key, d.map->entries[i].value, i == 0)) return false;
  } else if (d.kind == DATUM_LIST) {
    for (size_t i = 0; i < d.list->count; i++) {
      if (!datum_items(r, d.list->items[i], &pair)) return false;
      if (pair->count != 2) return rendering_fail(r, "urlencode needs pairs");
      if (!write_query(r, &b, pair->items[0], pair->items[1], i == 0)) return false;
    }
  } else if (!write_quoted(r, &b, d, false)) {
    return false;
  }
  return builder_take(r, &b, out);
}

/* --- counts ------------------------------------------------------------------------------------------------------- */

static bool filter_wordcount(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct marked *text;
  int64_t count = 0;
  bool within = false;
  (void)a;
  if (!datum_string(r, d, &text) || !rendering_charge_characters(r, text->size)) return false;
  for (size_t at = 0; at < text->size;) {
    uint32_t code;
    at += text_character(*text, at, &code);
    bool word = code == '_' || letter_is_alnum(code);
    count += word && !within;
    within = word;
  }
  *out = datum_int(count);
  return true;
}

static bool filter_filesizeformat(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  static const char names[] = "kMGTPEZY";
  bool binary = argument_truth(a, 0, "binary", false);
  double base = binary ? 1024 : 1000, bytes, unit = base * base;
  char text[64];
  struct datum number = d;
  struct builder b = {0};
  size_t at = 0;
  const struct datum refused = datum_none();
  const struct arguments fallback = {.count = 1, .items = &refused};
  if (d.kind == DATUM_TEXT && !filter_apply(r, slice_text("float"), d, &fallback, &number)) return false;
  if (!datum_number(number, &bytes) || !isfinite(bytes) || fabs(bytes) > 1e30)
    return rendering_fail(r, "filesizeformat needs a number up to 1e30, not this %s", datum_kind_name(d));
  for (; bytes >= unit && at + 1 < sizeof names - 1; at++) unit *= base;
  if (bytes == 1)
    snprintf(text, sizeof text, "1 Byte");
  else if (bytes < base)
    snprintf(text, sizeof text, "%.0f Bytes", trunc(bytes) + 0.0); /* never -0 */
  else
    snprintf(text, sizeof text, "%.1f %c%s", base * bytes / unit, binary && at == 0 ? 'K' : names[at],
             binary ? "iB" : "B");
  return rendering_charge_real(r) && builder_text(r, &b, slice_text(text)) && builder_take(r, &b, out);
}

const struct jinja_filter web_filters[] = {
    {"urlencode", "", filter_urlencode},
    {"wordcount", "", filter_wordcount},
    {"filesizeformat", "binary?", filter_filesizeformat},
    {NULL, NULL, NULL},
};
