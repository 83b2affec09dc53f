/* Query strings and percent-encoding. */
#include "http/http_query.h"

int http_hex_value(uint8_t digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

bool http_percent_decode(struct slice encoded, bool plus_is_space, char *out, size_t *size) {
  *size = 0;
  for (size_t i = 0; i < encoded.size; i++) {
    uint8_t byte = encoded.data[i];
    if (byte == '%') {
      if (encoded.size - i < 3) return false;
      int high = http_hex_value(encoded.data[i + 1]), low = http_hex_value(encoded.data[i + 2]);
      if (high < 0 || low < 0) return false;
      byte = (uint8_t)(high * 16 + low);
      i += 2;
    } else if (byte == '+' && plus_is_space) {
      byte = ' ';
    }
    out[(*size)++] = (char)byte;
  }
  return true;
}

/* Takes the bytes up to the separator off *rest, and the separator. */
static struct slice take_until(struct slice *rest, char separator) {
  struct slice part = {rest->data, 0};
  while (part.size < rest->size && rest->data[part.size] != (uint8_t)separator) part.size++;
  size_t taken = part.size < rest->size ? part.size + 1 : part.size;
  *rest = slice_make(rest->data + taken, rest->size - taken);
  return part;
}

bool http_query_next(struct slice *query, struct slice *name, struct slice *value) {
  while (query->size) {
    *value = take_until(query, '&');
    *name = take_until(value, '=');
    if (name->size || value->size) return true;
  }
  return false;
}

bool http_query_decode(struct slice encoded, struct buffer *out) {
  char *room = buffer_reserve(out, encoded.size);
  size_t size;
  if (!room || !http_percent_decode(encoded, true, room, &size)) return false;
  out->size += size;
  return true;
}
