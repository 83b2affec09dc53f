/* Kinds and cases of characters: utf8proc's, and what its categories and single mappings leave out. */
#include "text/letters.h"

#include "text/letter_tables.h"

#include <string.h>
#include <utf8proc.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

static utf8proc_category_t category(uint32_t code) { return utf8proc_category((utf8proc_int32_t)code); }

static bool in_ranges(const struct letter_range *ranges, size_t count, uint32_t code) {
  size_t low = 0;
  while (low < count && ranges[low].last < code) low++;
  return low < count && ranges[low].first <= code;
}

bool letter_is_lower(uint32_t code) {
  if (code < 0x80) return code >= 'a' && code <= 'z';
  return category(code) == UTF8PROC_CATEGORY_LL || in_ranges(other_lower, COUNT(other_lower), code);
}

bool letter_is_upper(uint32_t code) {
  if (code < 0x80) return code >= 'A' && code <= 'Z';
  return category(code) == UTF8PROC_CATEGORY_LU || in_ranges(other_upper, COUNT(other_upper), code);
}

bool letter_is_title(uint32_t code) { return category(code) == UTF8PROC_CATEGORY_LT; }

bool letter_is_cased(uint32_t code) { return letter_is_lower(code) || letter_is_upper(code) || letter_is_title(code); }

bool letter_is_ignored(uint32_t code) {
  static const uint32_t points[] = {'\'', '.', ':', 0xB7, 0x387, 0x55F, 0x5F4, 0x2018, 0x2019, 0x2024, 0x2027};
  for (size_t i = 0; i < COUNT(points); i++)
    if (code == points[i]) return true;
  utf8proc_category_t kind = category(code);
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME || kind == UTF8PROC_CATEGORY_CF ||
         kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_SK;
}

bool letter_is_alpha(uint32_t code) {
  utf8proc_category_t kind = category(code);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool letter_is_decimal(uint32_t code) { return category(code) == UTF8PROC_CATEGORY_ND; }

bool letter_is_digit(uint32_t code) {
  return letter_is_decimal(code) || in_ranges(other_digits, COUNT(other_digits), code);
}

bool letter_is_numeric(uint32_t code) {
  utf8proc_category_t kind = category(code);
  return (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO) ||
         in_ranges(other_numbers, COUNT(other_numbers), code);
}

bool letter_is_alnum(uint32_t code) { return letter_is_alpha(code) || letter_is_numeric(code); }

bool letter_is_printable(uint32_t code) {
  switch (category(code)) {
  case UTF8PROC_CATEGORY_CC:
  case UTF8PROC_CATEGORY_CF:
  case UTF8PROC_CATEGORY_CS:
  case UTF8PROC_CATEGORY_CO:
  case UTF8PROC_CATEGORY_CN:
  case UTF8PROC_CATEGORY_ZL:
  case UTF8PROC_CATEGORY_ZP: return false;
  case UTF8PROC_CATEGORY_ZS: return code == ' ';
  default: return true;
  }
}

/* --- cases -------------------------------------------------------------------------------------------------------- */

static size_t copy_letters(const uint32_t from[3], uint32_t out[3]) {
  size_t count = 0;
  for (; count < 3 && from[count]; count++) out[count] = from[count];
  return count;
}

static const struct special_case *special_find(uint32_t code) {
  size_t low = 0, high = COUNT(special_cases);
  if (code < special_cases[0].code) return NULL;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (special_cases[middle].code < code)
      low = middle + 1;
    else
      high = middle;
  }
  return low < COUNT(special_cases) && special_cases[low].code == code ? &special_cases[low] : NULL;
}

size_t letter_upper(uint32_t code, uint32_t out[3]) {
  const struct special_case *special = special_find(code);
  if (special) return copy_letters(special->upper, out);
  out[0] = (uint32_t)utf8proc_toupper((utf8proc_int32_t)code);
  return 1;
}

size_t letter_title(uint32_t code, uint32_t out[3]) {
  const struct special_case *special = special_find(code);
  if (special) return copy_letters(special->title, out);
  out[0] = (uint32_t)utf8proc_totitle((utf8proc_int32_t)code);
  return 1;
}

size_t letter_lower(uint32_t code, uint32_t out[3]) {
  static const uint32_t dotted[3] = {'i', 0x307};
  if (code == 0x130) return copy_letters(dotted, out);
  out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
  return 1;
}

size_t letter_folded(uint32_t code, uint32_t out[3]) {
  utf8proc_int32_t folded[4];
  int boundary;
  utf8proc_ssize_t count = utf8proc_decompose_char((utf8proc_int32_t)code, folded, 4, UTF8PROC_CASEFOLD, &boundary);
  if (count < 1 || count > 3) folded[0] = (utf8proc_int32_t)code, count = 1;
  for (utf8proc_ssize_t i = 0; i < count; i++) out[i] = (uint32_t)folded[i];
  return (size_t)count;
}
