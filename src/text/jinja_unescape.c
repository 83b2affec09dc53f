/* Texts of HTML read back: tags left out, and references (&lt; &#60; &#x3c;) as the characters that they stand for, by
 * the rules of Python's html.unescape. */
#include "text/html_names.inc"
#include "text/jinja_html.h"
#include "text/jinja_text.h"

/* --- references --------------------------------------------------------------------------------------------------- */

/* What numbers stand for that are none of characters: those of Windows-1252, and what may not be there (0). */
static uint32_t character_of(uint64_t number) {
  static const uint16_t windows[32] = {0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021,
                                       0x2C6,  0x2030, 0x160,  0x2039, 0x152,  0x8D,   0x17D,  0x8F,
                                       0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                       0x2DC,  0x2122, 0x161,  0x203A, 0x153,  0x9D,   0x17E,  0x178};
  if (number == 0 || number > 0x10FFFF || (number >= 0xD800 && number < 0xE000)) return 0xFFFD;
  if (number >= 0x80 && number < 0xA0) return windows[number - 0x80];
  bool control =
      (number < 0x20 && number != '\t' && number != '\n' && number != '\f' && number != '\r') || number == 0x7F;
  bool none = (number & 0xFFFE) == 0xFFFE || (number >= 0xFDD0 && number <= 0xFDEF);
  return control || none ? 0 : (uint32_t)number;
}

/* "#60;" or "#x3c;", the semicolon as it may be: the bytes that it takes, or 0. */
static size_t numeric(struct slice text, uint32_t *code) {
  size_t at = 1, start;
  bool hex = text.size > 1 && (text.data[1] | 32) == 'x';
  uint64_t number = 0;
  for (start = at += hex; at < text.size; at++) {
    uint8_t byte = text.data[at], letter = byte | 32;
    bool digit = byte >= '0' && byte <= '9';
    if (!digit && !(hex && letter >= 'a' && letter <= 'f')) break;
    number = number * (hex ? 16 : 10) + (digit ? byte - '0' : letter - 'a' + 10);
    if (number > 0x10FFFF) number = 0x110000;
  }
  if (at == start) return 0;
  *code = character_of(number);
  return at + (at < text.size && text.data[at] == ';');
}

/* The longest name that the text begins with: its bytes, or 0. */
static size_t named(struct slice text, const char **meaning) {
  size_t longest = 0;
  const char *row = text.size && text.data[0] >= 'A' && text.data[0] <= 'z' ? html_names[text.data[0] - 'A'] : NULL;
  for (; row && *row; row += strlen(row) + 1) {
    size_t size = 1 + strlen(row);
    const char *name = row;
    row += size;
    if (size <= longest || size > text.size || memcmp(text.data + 1, name, size - 1) != 0) continue;
    longest = size;
    *meaning = row;
  }
  return longest;
}

static bool user_wrote(struct marked text) { return text.user && memchr(text.user, 1, text.size); }

/* The reference that begins with an ampersand; *size: its bytes behind that, 0 where there is none. A character is the
 * user's where a byte of its reference is. */
static bool append_reference(struct rendering *r, struct builder *b, struct marked text, size_t *size) {
  enum { NAMES_OF_A_LETTER = 64 /* steps: some 200 names are looked through */ };
  struct slice bytes = slice_make(text.bytes + 1, text.size - 1);
  const char *meaning = NULL;
  uint32_t code = 0;
  bool number = bytes.size && bytes.data[0] == '#';
  if (!rendering_charge(r, NAMES_OF_A_LETTER)) return false;
  *size = number ? numeric(bytes, &code) : named(bytes, &meaning);
  if (!rendering_charge_characters(r, *size)) return false;
  uint8_t user = user_wrote(marked_part(text, 0, 1 + *size));
  if (number) return *size == 0 || code == 0 || builder_character(r, b, code, user);
  for (; meaning && *meaning; meaning++)
    if (!builder_byte(r, b, (uint8_t)*meaning, user)) return false;
  return true;
}

static bool unescape(struct rendering *r, struct marked text, struct datum *out) {
  struct builder b = {0};
  size_t plain = 0, size;
  if (!rendering_charge_bytes(r, text.size)) return false;
  for (size_t at = 0; at < text.size; at++) {
    if (text.bytes[at] != '&') continue;
    if (!builder_marked(r, &b, marked_part(text, plain, at))) return false;
    if (!append_reference(r, &b, marked_part(text, at, text.size), &size)) return false;
    plain = size ? at + 1 + size : at;
    if (size) at += size;
  }
  return builder_marked(r, &b, marked_part(text, plain, text.size)) && builder_take(r, &b, out);
}

/* --- tags --------------------------------------------------------------------------------------------------------- */

/* Where the tag or the comment that begins at `at` ends; SIZE_MAX: it does not. */
static size_t tag_end(struct marked text, size_t at) {
  static const struct marked close = {(const uint8_t *)">", NULL, 1}, comment = {(const uint8_t *)"-->", NULL, 3};
  bool is_comment = slice_starts(slice_make(text.bytes + at, text.size - at), "<!--");
  size_t end = is_comment ? text_find(text, at + 4, comment) : text_find(text, at, close);
  return end == SIZE_MAX ? end : end + (is_comment ? 3 : 1);
}

static bool without_tags(struct rendering *r, struct marked text, struct datum *out) {
  static const struct marked open = {(const uint8_t *)"<", NULL, 1};
  struct builder b = {0};
  size_t at = 0, start, end;
  while ((start = text_find(text, at, open)) != SIZE_MAX && (end = tag_end(text, start)) != SIZE_MAX) {
    if (!builder_marked(r, &b, marked_part(text, at, start))) return false;
    at = end;
  }
  return builder_marked(r, &b, marked_part(text, at, text.size)) && builder_take(r, &b, out);
}

/* One space for each stretch of white space, none at the ends. */
static bool without_spaces(struct rendering *r, struct marked text, struct datum *out) {
  struct builder b = {0};
  size_t start = 0, size;
  if (!rendering_charge_characters(r, text.size)) return false;
  for (size_t at = 0; at <= text.size; at += size) {
    uint32_t code = ' '; /* its end ends a word, too */
    size = at < text.size ? text_character(text, at, &code) : 1;
    if (!text_is_space(code)) continue;
    if (at > start && b.size && !builder_text(r, &b, slice_text(" "))) return false;
    if (at > start && !builder_marked(r, &b, marked_part(text, start, at))) return false;
    start = at + size;
  }
  return builder_take(r, &b, out);
}

bool html_unescape(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  return unescape(r, *self.text, out);
}

bool html_striptags(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  (void)a;
  struct datum text;
  return without_tags(r, *self.text, &text) && without_spaces(r, *text.text, &text) && unescape(r, *text.text, out);
}
