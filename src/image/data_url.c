/* data: URLs around base64, checked. */
#include "image/data_url.h"

#include "base/base64.h"

#include <strings.h>

/* "data:", a type with parameters, "base64", a comma: leaves what follows. */
static bool head_take(struct slice *text, struct slice *mime, struct error *error) {
  const uint8_t *comma = memchr(text->data, ',', text->size < 256 ? text->size : 256);
  if (!comma)
    return error_set(error, ERROR_INVALID, "The image's data: URL has no comma: write data:image/png;base64,...");
  struct slice head = slice_make(text->data + 5, (size_t)(comma - text->data) - 5);
  size_t type = 0;
  while (type < head.size && head.data[type] != ';') type++;
  static const char last[] = ";base64";
  size_t tail = sizeof last - 1;
  if (head.size < tail || strncasecmp((const char *)head.data + head.size - tail, last, tail) != 0)
    return error_set(error, ERROR_INVALID, "The image's data: URL is not in base64: write data:image/png;base64,...");
  *mime = slice_make(head.data, type);
  *text = slice_make(comma + 1, text->size - (size_t)(comma + 1 - text->data));
  return true;
}

bool data_url_decode(struct slice text, struct slice *mime, struct buffer *out, struct error *error) {
  *mime = (struct slice){0};
  if (text.size >= 5 && strncasecmp((const char *)text.data, "data:", 5) == 0 && !head_take(&text, mime, error))
    return false;
  return base64_decode(text, "The image's base64", out, error);
}
