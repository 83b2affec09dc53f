/* Line ends and string escapes of template sources. */
#include "text/jinja_string.h"

size_t jinja_utf8_write(uint32_t code, uint8_t *out) {
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

bool jinja_unify_lines(struct slice *source, struct arena *arena) {
  if (source->size && memchr(source->data, '\r', source->size)) {
    uint8_t *copy = arena_alloc(arena, source->size);
    if (!copy) return false;
    size_t size = 0;
    for (size_t i = 0; i < source->size; i++) {
      uint8_t c = source->data[i];
      if (c == '\n' && i > 0 && source->data[i - 1] == '\r') continue;
      copy[size++] = c == '\r' ? '\n' : c;
    }
    *source = slice_make(copy, size);
  }
  if (source->size && source->data[source->size - 1] == '\n') source->size--;
  return true;
}

static int digit_value(uint8_t c, int base) {
  int value = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 99;
  return value < base ? value : -1;
}

/* Up to `most` digits of the base; returns how many there are. */
static size_t read_digits(struct slice text, size_t most, int base, uint32_t *code) {
  size_t count = 0;
  *code = 0;
  for (; count < most && count < text.size && digit_value(text.data[count], base) >= 0; count++)
    *code = *code * (uint32_t)base + (uint32_t)digit_value(text.data[count], base);
  return count;
}

/* \xNN, \uNNNN and \UNNNNNNNN have all their digits or are no escape; octal ones have one to three. */
static size_t numeric_escape(struct slice escape, uint32_t *code) {
  uint8_t c = escape.data[0];
  size_t most = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (most) {
    struct slice rest = slice_make(escape.data + 1, escape.size - 1);
    return read_digits(rest, most, 16, code) == most ? most + 1 : 0;
  }
  return read_digits(escape, 3, 8, code);
}

bool jinja_unescape(struct slice written, struct arena *arena, struct slice *text) {
  static const char letters[] = "\\'\"abfnrtv", meanings[] = "\\'\"\a\b\f\n\r\t\v";
  *text = written;
  if (!written.size || !memchr(written.data, '\\', written.size)) return true;
  uint8_t *out = arena_alloc(arena, written.size + 4); /* an octal escape of two bytes writes at most two */
  if (!out) return false;
  size_t size = 0;
  for (size_t i = 0; i < written.size;) {
    if (written.data[i] != '\\' || i + 1 == written.size) {
      out[size++] = written.data[i++];
      continue;
    }
    struct slice escape = slice_make(written.data + i + 1, written.size - i - 1);
    uint32_t code;
    size_t used = numeric_escape(escape, &code);
    const char *letter = memchr(letters, escape.data[0], sizeof letters - 1);
    if (used) {
      size += jinja_utf8_write(code, out + size);
    } else if (letter) {
      out[size++] = (uint8_t)meanings[letter - letters];
      used = 1;
    } else if (escape.data[0] == '\n') {
      used = 1;
    } else {
      out[size++] = '\\';
    }
    i += 1 + used;
  }
  *text = slice_make(out, size);
  return true;
}
