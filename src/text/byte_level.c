/* Byte-level letters. */
#include "text/byte_level.h"

#include "base/utf8.h"

static bool byte_is_visible(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

/* The byte of the index-th letter from U+0100 on, or -1. */
static int hidden_byte(uint32_t index) {
  for (uint32_t byte = 0; byte < 256; byte++)
    if (!byte_is_visible(byte) && index-- == 0) return (int)byte;
  return -1;
}

bool byte_level_decode(struct slice letters, uint8_t *out, size_t *out_size) {
  *out_size = 0;
  for (size_t at = 0, size; at < letters.size; at += size) {
    uint32_t code;
    size = utf8_read(slice_make(letters.data + at, letters.size - at), &code);
    int byte = size == 0 ? -1 : code >= 0x100 ? hidden_byte(code - 0x100) : byte_is_visible(code) ? (int)code : -1;
    if (byte < 0) return false;
    out[(*out_size)++] = (uint8_t)byte;
  }
  return true;
}

/* How many hidden bytes come before a hidden one: 0x00 to 0x20, 0x7F to 0xA0 and 0xAD are. */
static uint32_t hidden_index(uint32_t byte) { return byte <= 0x20 ? byte : byte <= 0xA0 ? byte - 0x7F + 0x21 : 0x43; }

size_t byte_level_encode(struct slice bytes, uint8_t *out) {
  size_t size = 0;
  for (size_t i = 0; i < bytes.size; i++) {
    uint32_t byte = bytes.data[i], code = byte_is_visible(byte) ? byte : 0x100 + hidden_index(byte);
    if (code >= 0x80) out[size++] = (uint8_t)(0xC0 | code >> 6);
    out[size++] = (uint8_t)(code >= 0x80 ? 0x80 | (code & 0x3F) : code);
  }
  return size;
}
