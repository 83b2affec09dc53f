/* Texts in another case. */
#include "text/jinja_text.h"
#include "text/letters.h"

static bool starts_word(enum letter_case letter_case, uint32_t before, bool first) {
  if (first) return true;
  if (letter_case == CASE_CAPITALIZE) return false;
  if (letter_case == CASE_TITLE) return !letter_is_cased(before);
  return text_is_space(before) || (before < 0x80 && strchr("-({[<", (int)before));
}

/* Whether the next letter beside `at` that is not ignored has a case. */
static bool cased_beside(struct marked text, size_t at, bool behind) {
  while (behind ? at < text.size : at > 0) {
    uint32_t code;
    if (!behind) do
        at--;
      while (at > 0 && (text.bytes[at] & 0xC0) == 0x80);
    size_t size = text_character(text, at, &code);
    if (behind) at += size;
    if (!letter_is_ignored(code)) return letter_is_cased(code);
  }
  return false;
}

/* A capital sigma that is the last of its word. */
static bool ends_word(struct marked text, size_t at, size_t size) {
  return cased_beside(text, at, false) && !cased_beside(text, at + size, true);
}

static size_t recase(uint32_t code, enum letter_case letter_case, uint32_t before, bool first, uint32_t out[3]) {
  if (letter_case == CASE_SWAP) letter_case = letter_is_upper(code) ? CASE_LOWER : CASE_UPPER;
  if (letter_case == CASE_FOLD) return letter_folded(code, out);
  if (letter_case == CASE_UPPER) return letter_upper(code, out);
  if (letter_case == CASE_LOWER || !starts_word(letter_case, before, first)) return letter_lower(code, out);
  return (letter_case == CASE_WORDS ? letter_upper : letter_title)(code, out);
}

bool text_recase(struct rendering *r, struct marked text, enum letter_case letter_case, struct datum *out) {
  struct builder b = {0};
  uint32_t before = 0, code, letters[3];
  for (size_t at = 0, size; at < text.size; at += size, before = code) {
    size = text_character(text, at, &code);
    uint8_t user = text.user ? text.user[at] : 0;
    size_t count = recase(code, letter_case, before, at == 0, letters);
    if (code == 0x3A3 && letters[0] == 0x3C3 && letter_case != CASE_FOLD) {
      if (!rendering_charge_characters(r, text.size)) return false; /* its neighbours may all be ignored */
      if (ends_word(text, at, size)) letters[0] = 0x3C2;
    }
    for (size_t i = 0; i < count; i++)
      if (!builder_character(r, &b, letters[i], user)) return false;
  }
  return builder_take(r, &b, out);
}

bool text_has_case(struct rendering *r, struct marked text, bool upper, bool *result) {
  *result = false;
  if (!rendering_charge_characters(r, text.size)) return false;
  for (size_t at = 0; at < text.size;) {
    uint32_t code;
    at += text_character(text, at, &code);
    if (!letter_is_cased(code)) continue;
    *result = upper ? letter_is_upper(code) : letter_is_lower(code);
    if (!*result) break;
  }
  return true;
}

bool text_has_titles(struct rendering *r, struct marked text, bool *result) {
  bool within = false; /* a word */
  *result = false;
  if (!rendering_charge_characters(r, text.size)) return false;
  for (size_t at = 0; at < text.size;) {
    uint32_t code;
    at += text_character(text, at, &code);
    bool begins = letter_is_upper(code) || letter_is_title(code), cased = begins || letter_is_lower(code);
    if (cased && begins == within) {
      *result = false;
      return true;
    }
    *result |= cased;
    within = cased;
  }
  return true;
}
