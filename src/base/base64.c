/* base64, four characters at a time. */
#include "base/base64.h"

enum { BAD = 64, SPACE = 65, PAD = 66 };

/* What a character is worth; set out once a call, which is little beside an image. */
static void values_fill(uint8_t value[256]) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  memset(value, BAD, 256);
  for (int i = 0; i < 64; i++) value[(uint8_t)digits[i]] = (uint8_t)i;
  value['-'] = 62;
  value['_'] = 63;
  value['\r'] = value['\n'] = SPACE;
  value['='] = PAD;
}

static bool character_refuse(const char *what, struct slice text, size_t at, struct error *error) {
  return error_set(error, ERROR_INVALID, "%s has the byte 0x%02X at position %zu: encode the file anew.", what,
                   text.data[at], at);
}

/* Four good characters at a time, as long as there are; returns how many were read. */
static size_t fours_decode(struct slice text, const uint8_t value[256], uint8_t *to, size_t *written) {
  size_t at = 0, out = 0;
  for (; text.size - at >= 4; at += 4, out += 3) {
    uint8_t a = value[text.data[at]], b = value[text.data[at + 1]], c = value[text.data[at + 2]],
            d = value[text.data[at + 3]];
    if ((a | b | c | d) >= BAD) break;
    to[out] = (uint8_t)(a << 2 | b >> 4);
    to[out + 1] = (uint8_t)(b << 4 | c >> 2);
    to[out + 2] = (uint8_t)(c << 6 | d);
  }
  *written = out;
  return at;
}

/* What of a last group is left over must be whole bytes, and its padding, if any, the right one. */
static bool tail_check(const char *what, int digits, int pads, uint32_t bits, struct error *error) {
  uint32_t unused = digits == 2 ? bits & 15 : digits == 3 ? bits & 3 : 0;
  if (digits == 1 || unused != 0 || (pads > 0 && digits + pads != 4))
    return error_set(error, ERROR_INVALID, "%s does not end with a whole byte: it was cut off, encode the file anew.",
                     what);
  return true;
}

bool base64_decode(struct slice text, const char *what, struct buffer *out, struct error *error) {
  uint8_t value[256], *to = buffer_reserve(out, text.size / 4 * 3 + 3);
  values_fill(value);
  if (!to)
    return error_set(error, ERROR_LIMIT, "%s has %zu characters, more than %zu bytes: send less.", what, text.size,
                     out->max);
  size_t written, at = fours_decode(text, value, to, &written);
  uint32_t bits = 0;
  int digits = 0, pads = 0;
  for (; at < text.size; at++) {
    uint8_t v = value[text.data[at]];
    if (v == SPACE) continue;
    if (v == BAD || (v < BAD && pads > 0) || (v == PAD && ++pads > 2)) return character_refuse(what, text, at, error);
    if (v == PAD) continue;
    bits = bits << 6 | v;
    if (++digits < 4) continue;
    for (int shift = 16; shift >= 0; shift -= 8) to[written++] = (uint8_t)(bits >> shift);
    bits = 0;
    digits = 0;
  }
  if (!tail_check(what, digits, pads, bits, error)) return false;
  if (digits >= 2) to[written++] = (uint8_t)(digits == 2 ? bits >> 4 : bits >> 10);
  if (digits == 3) to[written++] = (uint8_t)(bits >> 2);
  out->size += written;
  return true;
}

bool base64_encode(struct slice bytes, struct buffer *out) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint8_t *to = buffer_reserve(out, (bytes.size + 2) / 3 * 4);
  if (!to) return false;
  for (size_t at = 0; at < bytes.size; at += 3) {
    size_t left = bytes.size - at;
    uint32_t bits = (uint32_t)bytes.data[at] << 16;
    if (left > 1) bits |= (uint32_t)bytes.data[at + 1] << 8;
    if (left > 2) bits |= bytes.data[at + 2];
    for (int i = 0; i < 4; i++) *to++ = (uint8_t)((size_t)i > left ? '=' : digits[bits >> (18 - 6 * i) & 63]);
    out->size += 4;
  }
  return true;
}
