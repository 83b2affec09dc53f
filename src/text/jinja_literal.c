/* Line ends, string escapes and numbers of template sources. */
#include "text/jinja_literal.h"

#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>

enum { DIGITS_MAX = 4300 /* as many as Python reads */ };

bool source_unify_lines(struct slice *source, struct arena *arena) {
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

bool literal_is_spoilt(struct slice written) {
  for (size_t i = 0; i + 1 < written.size; i++) {
    uint32_t code = 0;
    if (written.data[i] != '\\') continue;
    struct slice escape = slice_make(written.data + i + 1, written.size - i - 1);
    bool numeric = escape.data[0] == 'x' || escape.data[0] == 'u' || escape.data[0] == 'U';
    if (escape.data[0] == 'N' || (numeric && !numeric_escape(escape, &code))) return true;
    if (code > 0x10FFFF || (numeric && code >= 0xD800 && code < 0xE000)) return true;
    i++;
  }
  return false;
}

/* What follows a backslash: appends its meaning to out and returns how many bytes it took. Python keeps the backslash
 * of an escape that it does not know. */
static size_t unescape_one(struct slice escape, uint8_t *out, size_t *size) {
  static const char letters[] = "\\'\"abfnrtv", meanings[] = "\\'\"\a\b\f\n\r\t\v";
  uint32_t code;
  size_t used = numeric_escape(escape, &code);
  const char *letter = memchr(letters, escape.data[0], sizeof letters - 1);
  if (used) *size += utf8_write(code, out + *size);
  if (used || escape.data[0] == '\n') return used ? used : 1;
  out[(*size)++] = letter ? (uint8_t)meanings[letter - letters] : '\\';
  return letter ? 1 : 0;
}

bool literal_text(struct slice written, struct arena *arena, struct slice *text) {
  *text = written;
  if (!written.size || !memchr(written.data, '\\', written.size)) return true;
  uint8_t *out = arena_alloc(arena, written.size); /* no meaning is longer than its escape */
  if (!out) return false;
  size_t size = 0;
  for (size_t i = 0; i < written.size;) {
    if (written.data[i] == '\\' && i + 1 < written.size)
      i += 1 + unescape_one(slice_make(written.data + i + 1, written.size - i - 1), out, &size);
    else
      out[size++] = written.data[i++];
  }
  *text = slice_make(out, size);
  return true;
}

/* --- numbers ---------------------------------------------------------------------------------------------------- */

static uint8_t byte_at(struct slice text, size_t at) { return at < text.size ? text.data[at] : 0; }

/* The end of the digits (and underscores between them) from `at` on. */
static size_t digits_end(struct slice text, size_t at, int base) {
  while (digit_value(byte_at(text, at), base) >= 0 ||
         (byte_at(text, at) == '_' && digit_value(byte_at(text, at + 1), base) >= 0))
    at++;
  return at;
}

static size_t number_end(struct slice text, bool after_dot, bool *is_real) {
  size_t end = digits_end(text, 0, 10);
  if (after_dot) return end;
  if (byte_at(text, end) == '.' && digit_value(byte_at(text, end + 1), 10) >= 0) {
    *is_real = true;
    end = digits_end(text, end + 1, 10);
  }
  size_t sign = byte_at(text, end + 1) == '+' || byte_at(text, end + 1) == '-';
  if ((byte_at(text, end) | 32) == 'e' && digit_value(byte_at(text, end + 1 + sign), 10) >= 0) {
    *is_real = true;
    end = digits_end(text, end + 1 + sign, 10);
  }
  return end;
}

static int literal_base(struct slice text) {
  static const char letters[] = "xob";
  static const int bases[] = {16, 8, 2};
  const char *letter = byte_at(text, 0) == '0' && byte_at(text, 1) ? strchr(letters, byte_at(text, 1) | 32) : NULL;
  int base = letter && *letter ? bases[letter - letters] : 10;
  size_t first = 2 + (byte_at(text, 2) == '_');
  return digit_value(byte_at(text, first), base) >= 0 ? base : 10;
}

bool literal_number(struct slice text, bool after_dot, struct arena *arena, struct literal_number *number) {
  size_t used = 0;
  int base = after_dot ? 10 : literal_base(text);
  size_t start = base == 10 ? 0 : 2;
  *number = (struct literal_number){0};
  number->size = base == 10 ? number_end(text, after_dot, &number->is_real)
                            : digits_end(text, start + (byte_at(text, start) == '_'), base);
  char *copy = number->size <= DIGITS_MAX ? arena_alloc(arena, number->size + 1) : NULL;
  if (!copy) return false;
  for (size_t i = start; i < number->size; i++)
    if (text.data[i] != '_') copy[used++] = (char)text.data[i];
  errno = 0;
  number->integer = number->is_real ? 0 : strtoll(copy, NULL, base);
  number->is_big = errno == ERANGE;
  number->real = strtod(copy, NULL);
  number->digits = slice_make(copy, used);
  return !number->is_big || base == 10;
}
