/* Values written out: str() and repr() as Python has them, JSON as transformers' tojson has it. */
#include "text/jinja_field.h"

#include "base/utf8.h"
#include "text/letters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool print_plain(struct rendering *r, struct builder *b, const char *text) {
  return builder_text(r, b, slice_text(text));
}

static bool print_int(struct rendering *r, struct builder *b, int64_t integer) {
  char text[32];
  snprintf(text, sizeof text, "%lld", (long long)integer);
  return print_plain(r, b, text);
}

static bool print_float(struct rendering *r, struct builder *b, double number, bool json) {
  if (isnan(number)) return print_plain(r, b, json ? "NaN" : "nan");
  if (isinf(number))
    return print_plain(r, b, json ? number < 0 ? "-Infinity" : "Infinity" : number < 0 ? "-inf" : "inf");
  char text[40];
  if (!rendering_charge_real(r)) return false;
  real_shortest(number, 16, text);
  return print_plain(r, b, text);
}

/* --- repr ------------------------------------------------------------------------------------------------------- */

/* Writes what a character is escaped to, or "". */
static void repr_escape(uint32_t code, char quote, char text[12]) {
  if (code == '\\' || code == (uint32_t)quote)
    snprintf(text, 12, "\\%c", (int)code);
  else if (code == '\n' || code == '\r' || code == '\t')
    snprintf(text, 12, "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
  else if ((code >= 0x20 && code < 0x7f) || letter_is_printable(code))
    text[0] = '\0';
  else
    snprintf(text, 12, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", code);
}

static void json_escape(uint32_t code, bool ascii, char text[16]) {
  static const char letters[] = "\b\f\n\r\t\"\\", names[] = "bfnrt\"\\";
  const char *letter = code && code < 0x80 ? strchr(letters, (int)code) : NULL;
  text[0] = '\0';
  if (letter)
    snprintf(text, 16, "\\%c", names[letter - letters]);
  else if (code < 0x20 || (ascii && code >= 0x7f && code < 0x10000))
    snprintf(text, 16, "\\u%04x", code);
  else if (ascii && code >= 0x10000)
    snprintf(text, 16, "\\u%04x\\u%04x", 0xD800 + ((code - 0x10000) >> 10), 0xDC00 + ((code - 0x10000) & 0x3FF));
}

enum escape_style { ESCAPE_JSON, ESCAPE_JSON_ASCII, ESCAPE_REPR };

/* A text between quotes; escapes bear the mark of the character that they stand for. */
static bool print_quoted(struct rendering *r, struct builder *b, struct marked text, char quote,
                         enum escape_style style) {
  size_t plain = 0, size;
  if (!rendering_charge_characters(r, text.size) || !builder_byte(r, b, (uint8_t)quote, 0)) return false;
  for (size_t at = 0; at < text.size; at += size) {
    uint32_t code = 0;
    char escape[16];
    size = utf8_read(slice_make(text.bytes + at, text.size - at), &code);
    if (size == 0) size = 1; /* not reached: texts are valid */
    if (style == ESCAPE_REPR)
      repr_escape(code, quote, escape);
    else
      json_escape(code, style == ESCAPE_JSON_ASCII, escape);
    if (!escape[0]) continue;
    if (!rendering_charge(r, 2)) return false;
    static const uint8_t marks[sizeof escape] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    bool user = text.user && text.user[at];
    struct marked escaped = {(const uint8_t *)escape, user ? marks : NULL, strlen(escape)};
    if (!builder_marked(r, b, marked_part(text, plain, at)) || !builder_marked(r, b, escaped)) return false;
    plain = at + size;
  }
  return builder_marked(r, b, marked_part(text, plain, text.size)) && builder_byte(r, b, (uint8_t)quote, 0);
}

static bool repr_text(struct rendering *r, struct builder *b, struct marked text) {
  bool single = text.size && memchr(text.bytes, '\'', text.size),
       twofold = text.size && memchr(text.bytes, '"', text.size);
  return print_quoted(r, b, text, single && !twofold ? '"' : '\'', ESCAPE_REPR);
}

static bool repr_list(struct rendering *r, struct builder *b, const struct datum_list *list) {
  bool tuple = list->form == FORM_TUPLE, view = list->form == FORM_VIEW;
  if (list->form == FORM_RANGE)
    return list->shown ? print_plain(r, b, list->shown)
                       : rendering_fail(r, "a part of a range is not printed: make it a list");
  if (view && (!print_plain(r, b, list->shown) || !print_plain(r, b, "("))) return false;
  if (!print_plain(r, b, tuple ? "(" : "[")) return false;
  for (size_t i = 0; i < list->count; i++)
    if ((i && !print_plain(r, b, ", ")) || !print_repr(r, b, list->items[i])) return false;
  return print_plain(r, b, view ? "])" : !tuple ? "]" : list->count == 1 ? ",)" : ")");
}

static bool repr_map(struct rendering *r, struct builder *b, const struct datum_map *map) {
  if (!print_plain(r, b, "{")) return false;
  for (size_t i = 0; i < map->count; i++) {
    if (i && !print_plain(r, b, ", ")) return false;
    if (!print_repr(r, b, map->entries[i].key) || !print_plain(r, b, ": ")) return false;
    if (!print_repr(r, b, map->entries[i].value)) return false;
  }
  return print_plain(r, b, "}");
}

static bool print_macro(struct rendering *r, struct builder *b, const struct macro *macro) {
  struct marked name = {.bytes = macro->node->name.data, .size = macro->node->name.size};
  if (macro->node->kind != NODE_MACRO) return print_plain(r, b, "<Macro anonymous>");
  return print_plain(r, b, "<Macro ") && repr_text(r, b, name) && print_plain(r, b, ">");
}

static bool print_loop(struct rendering *r, struct builder *b, const struct loop_state *loop) {
  char text[64];
  snprintf(text, sizeof text, "<LoopContext %zu/%zu>", loop->index + 1, loop->items->count);
  return print_plain(r, b, text);
}

/* A namespace may hold itself, which nothing but this goes into: the depth is counted here. */
static bool repr_inner(struct rendering *r, struct builder *b, struct datum d) {
  if (!rendering_enter(r)) return false;
  bool printed = d.kind == DATUM_LIST ? repr_list(r, b, d.list)
                 : d.kind == DATUM_MAP
                     ? repr_map(r, b, d.map)
                     : print_plain(r, b, "<Namespace ") && repr_map(r, b, d.map) && print_plain(r, b, ">");
  rendering_leave(r);
  return printed;
}

bool print_repr(struct rendering *r, struct builder *b, struct datum d) {
  switch (d.kind) {
  case DATUM_UNDEFINED: return print_plain(r, b, "Undefined");
  case DATUM_NONE: return print_plain(r, b, "None");
  case DATUM_BOOL: return print_plain(r, b, d.truth ? "True" : "False");
  case DATUM_INT: return print_int(r, b, d.integer);
  case DATUM_FLOAT: return print_float(r, b, d.number, false);
  case DATUM_BIG: return builder_marked(r, b, *d.text);
  case DATUM_TEXT:
    if (!d.html) return repr_text(r, b, *d.text);
    return print_plain(r, b, "Markup(") && repr_text(r, b, *d.text) && print_plain(r, b, ")");
  case DATUM_LIST:
  case DATUM_MAP:
  case DATUM_NAMESPACE: return repr_inner(r, b, d);
  case DATUM_MACRO: return print_macro(r, b, d.macro);
  case DATUM_LOOP: return print_loop(r, b, d.loop);
  default: return rendering_fail(r, "a %s cannot be printed", datum_kind_name(d));
  }
}

/* With \x, \u and \U for what is beyond ASCII. */
static bool print_ascii(struct rendering *r, struct builder *b, struct marked text) {
  static const uint8_t marks[12] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  size_t plain = 0, size;
  if (!rendering_charge_characters(r, text.size)) return false;
  for (size_t at = 0; at < text.size; at += size) {
    uint32_t code;
    char escape[12];
    size = text_character(text, at, &code);
    if (code < 0x80) continue;
    snprintf(escape, sizeof escape, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", code);
    struct marked escaped = {(const uint8_t *)escape, text.user && text.user[at] ? marks : NULL, strlen(escape)};
    if (!builder_marked(r, b, marked_part(text, plain, at)) || !builder_marked(r, b, escaped)) return false;
    plain = at + size;
  }
  return builder_marked(r, b, marked_part(text, plain, text.size));
}

bool print_datum(struct rendering *r, struct builder *b, struct datum d) {
  if (d.kind == DATUM_UNDEFINED) return true;
  return d.kind == DATUM_TEXT ? builder_marked(r, b, *d.text) : print_repr(r, b, d);
}

bool datum_plain(struct rendering *r, struct datum d, struct datum *out) {
  struct builder b = {0};
  *out = d;
  out->html = false;
  return d.kind == DATUM_TEXT || (print_datum(r, &b, d) && builder_take(r, &b, out));
}

bool datum_repr(struct rendering *r, struct datum d, bool ascii, struct datum *out) {
  struct builder b = {0}, all = {0};
  if (!print_repr(r, &b, d) || !builder_take(r, &b, out)) return false;
  return !ascii || (print_ascii(r, &all, *out->text) && builder_take(r, &all, out));
}

bool datum_string(struct rendering *r, struct datum d, const struct marked **out) {
  struct datum text;
  if (!datum_plain(r, d, &text)) return false;
  *out = text.text;
  return true;
}

/* --- JSON ------------------------------------------------------------------------------------------------------- */

static bool json_value(struct rendering *r, struct builder *b, struct datum d, const struct json_style *style,
                       size_t level);

static bool json_line(struct rendering *r, struct builder *b, const struct json_style *style, size_t level) {
  if (!style->indent) return true;
  if (!print_plain(r, b, "\n")) return false;
  for (size_t i = 0; i < level; i++)
    if (!builder_marked(r, b, *style->indent)) return false;
  return true;
}

static bool json_list(struct rendering *r, struct builder *b, const struct datum_list *list,
                      const struct json_style *style, size_t level) {
  if (list->count == 0) return print_plain(r, b, "[]");
  if (!print_plain(r, b, "[")) return false;
  for (size_t i = 0; i < list->count; i++) {
    if (i && !builder_marked(r, b, *style->item_separator)) return false;
    if (!json_line(r, b, style, level + 1) || !json_value(r, b, list->items[i], style, level + 1)) return false;
  }
  return json_line(r, b, style, level) && print_plain(r, b, "]");
}

/* A key is a text, or what JSON writes for a number, a boolean or null, as a text. */
static bool json_key(struct rendering *r, struct builder *b, struct datum key, const struct json_style *style) {
  if (key.kind == DATUM_TEXT) return json_value(r, b, key, style, 0);
  if (key.kind > DATUM_TEXT || key.kind == DATUM_UNDEFINED)
    return rendering_fail(r, "a key of JSON must be a text or a number, not a %s", datum_kind_name(key));
  return print_plain(r, b, "\"") && json_value(r, b, key, style, 0) && print_plain(r, b, "\"");
}

static int compare_entries(const void *a, const void *b) {
  const struct marked *x = ((const struct map_entry *)a)->key.text, *y = ((const struct map_entry *)b)->key.text;
  size_t size = x->size < y->size ? x->size : y->size;
  int order = size ? memcmp(x->bytes, y->bytes, size) : 0;
  return order ? order : (x->size > y->size) - (x->size < y->size);
}

bool map_sorted(struct rendering *r, const struct datum_map *map, struct map_entry **entries) {
  *entries = rendering_alloc(r, map->count * sizeof **entries);
  size_t rounds = 1;
  while (map->count >> rounds) rounds++;
  if (!*entries || !rendering_charge(r, rounds * map->extent.weight)) return false;
  for (size_t i = 0; i < map->count; i++) {
    if (map->entries[i].key.kind != DATUM_TEXT) return rendering_fail(r, "only keys that are texts are sorted");
    (*entries)[i] = map->entries[i];
  }
  qsort(*entries, map->count, sizeof **entries, compare_entries);
  return true;
}

static bool json_map(struct rendering *r, struct builder *b, const struct datum_map *map,
                     const struct json_style *style, size_t level) {
  if (map->count == 0) return print_plain(r, b, "{}");
  struct map_entry *entries = map->entries;
  if (style->sort_keys && !map_sorted(r, map, &entries)) return false;
  if (!print_plain(r, b, "{")) return false;
  for (size_t i = 0; i < map->count; i++) {
    if (i && !builder_marked(r, b, *style->item_separator)) return false;
    if (!json_line(r, b, style, level + 1) || !json_key(r, b, entries[i].key, style)) return false;
    if (!builder_marked(r, b, *style->key_separator)) return false;
    if (!json_value(r, b, entries[i].value, style, level + 1)) return false;
  }
  return json_line(r, b, style, level) && print_plain(r, b, "}");
}

static bool json_value(struct rendering *r, struct builder *b, struct datum d, const struct json_style *style,
                       size_t level) {
  switch (d.kind) {
  case DATUM_NONE: return print_plain(r, b, "null");
  case DATUM_BOOL: return print_plain(r, b, d.truth ? "true" : "false");
  case DATUM_INT: return print_int(r, b, d.integer);
  case DATUM_FLOAT: return print_float(r, b, d.number, true);
  case DATUM_BIG: return builder_marked(r, b, *d.text);
  case DATUM_TEXT: return print_quoted(r, b, *d.text, '"', style->ascii ? ESCAPE_JSON_ASCII : ESCAPE_JSON);
  case DATUM_LIST:
    if (d.list->form <= FORM_TUPLE) return json_list(r, b, d.list, style, level);
    break;
  case DATUM_MAP: return json_map(r, b, d.map, style, level);
  default: break;
  }
  return rendering_fail(r, "a %s cannot be written as JSON", datum_kind_name(d));
}

bool print_json(struct rendering *r, struct builder *b, struct datum d, const struct json_style *style) {
  return json_value(r, b, d, style, 0);
}
