/* UTF-8 decoding after the table of Unicode 15, section 3.9 (well-formed byte sequences). */
#include "base/utf8.h"

/* Length by lead byte, 0 for one that cannot lead. */
static size_t lead_size(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

/* The second byte's range is narrower after some lead bytes: no overlong forms, surrogates or values too large. */
static bool second_valid(uint8_t lead, uint8_t second) {
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  return second >= low && second <= high;
}

/* How many bytes of text are a valid beginning of one character of lead_size bytes. */
static size_t valid_run(struct slice text, size_t size) {
  if (text.size < 2 || !second_valid(text.data[0], text.data[1])) return 1;
  size_t at = 2;
  while (at < size && at < text.size && (text.data[at] & 0xC0) == 0x80) at++;
  return at;
}

size_t utf8_read(struct slice text, uint32_t *code) {
  size_t size = text.size ? lead_size(text.data[0]) : 0;
  if (size == 1) *code = text.data[0];
  if (size <= 1) return size;
  if (text.size < size || valid_run(text, size) != size) return 0;
  uint32_t value = text.data[0] & (0x7Fu >> size);
  for (size_t i = 1; i < size; i++) value = value << 6 | (text.data[i] & 0x3F);
  *code = value;
  return size;
}

size_t utf8_complete(struct slice text) {
  size_t back = text.size < 3 ? text.size : 3;
  for (size_t i = 1; i <= back; i++) {
    struct slice tail = slice_make(text.data + text.size - i, i);
    size_t size = lead_size(tail.data[0]);
    if (size <= 1 && (tail.data[0] & 0xC0) == 0x80) continue;
    bool incomplete = size > i && (i == 1 || valid_run(tail, size) == i);
    return incomplete ? text.size - i : text.size;
  }
  return text.size;
}

/* The eight bytes at data are ASCII. */
static bool ascii_word(const uint8_t *data) {
  uint64_t word;
  memcpy(&word, data, sizeof word);
  return (word & 0x8080808080808080u) == 0;
}

bool utf8_valid(struct slice text) {
  uint32_t code;
  for (size_t at = 0, size; at < text.size; at += size) {
    size = 8;
    if (text.size - at >= 8 && ascii_word(text.data + at)) continue;
    size = utf8_read(slice_make(text.data + at, text.size - at), &code);
    if (size == 0) return false;
  }
  return true;
}

size_t utf8_characters(struct slice text) {
  size_t count = 0;
  for (size_t i = 0; i < text.size; i++) count += (text.data[i] & 0xc0) != 0x80;
  return count;
}

size_t utf8_write(uint32_t code, uint8_t *out) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = 0xFFFD;
  if (code < 0x80) {
    out[0] = (uint8_t)code;
    return 1;
  }
  size_t size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = size - 1; i > 0; i--, code >>= 6) out[i] = (uint8_t)(0x80 | (code & 0x3F));
  out[0] = (uint8_t)(0xF00u >> size | code);
  return size;
}
