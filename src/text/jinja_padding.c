/* Texts filled up to a width: methods of texts. */
#include "text/jinja_field.h"
#include "text/jinja_html.h"
#include "text/jinja_text_methods.h"

static const struct marked space = {(const uint8_t *)" ", NULL, 1};

/* `before` and `after` characters of the fill around the text. */
static bool surround(struct rendering *r, struct marked text, struct marked fill, int64_t before, int64_t after,
                     struct datum *out) {
  struct builder b = {0};
  const struct field left = {.fill = fill, .width = before, .precision = -1},
                     right = {.fill = fill, .width = after, .precision = -1};
  return field_text(r, &b, &left, (struct marked){0}) && builder_marked(r, &b, text) &&
         field_text(r, &b, &right, (struct marked){0}) && builder_take(r, &b, out);
}

/* How many characters are missing, and what fills them. */
static bool missing(struct rendering *r, struct datum self, const struct arguments *a, int64_t *count,
                    struct marked *fill) {
  const struct marked *given = NULL;
  struct datum escaped;
  int64_t width = 0, length = (int64_t)marked_length(*self.text);
  if (!argument_int(r, a, 0, "width", "a padding", &width)) return false;
  if (self.html && a->count > 1 && !html_escape(r, a->items[1], &escaped)) return false;
  if (self.html && a->count > 1)
    given = escaped.text;
  else if (!argument_text(r, a, 1, NULL, "a padding", &given))
    return false;
  if (given && marked_length(*given) != 1) return rendering_fail(r, "a padding is made of one character");
  *fill = given ? *given : space;
  *count = width > length ? width - length : 0;
  return rendering_charge_bytes(r, self.text->size);
}

bool text_center(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  int64_t count, width = 0;
  struct marked fill;
  if (!missing(r, self, a, &count, &fill) || !argument_int(r, a, 0, "width", "a padding", &width)) return false;
  int64_t left = count / 2 + (count & width & 1); /* an odd one is on the left when the width is odd */
  return surround(r, *self.text, fill, left, count - left, out);
}

bool text_ljust(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  int64_t count;
  struct marked fill;
  return missing(r, self, a, &count, &fill) && surround(r, *self.text, fill, 0, count, out);
}

bool text_rjust(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  int64_t count;
  struct marked fill;
  return missing(r, self, a, &count, &fill) && surround(r, *self.text, fill, count, 0, out);
}

/* Zeros behind the sign. */
bool text_zfill(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  static const struct marked zero = {(const uint8_t *)"0", NULL, 1};
  const struct marked text = *self.text;
  const struct arguments width = {.count = a->count ? 1 : 0, .items = a->items};
  int64_t count;
  struct marked fill;
  struct datum digits;
  struct builder b = {0};
  if (!missing(r, self, &width, &count, &fill)) return false;
  size_t sign = text.size && (text.bytes[0] == '-' || text.bytes[0] == '+') ? 1 : 0;
  return surround(r, marked_part(text, sign, text.size), zero, count, 0, &digits) &&
         builder_marked(r, &b, marked_part(text, 0, sign)) && builder_marked(r, &b, *digits.text) &&
         builder_take(r, &b, out);
}

/* Each tab up to the next column that tabsize divides; a line's end begins a new count. */
bool text_expandtabs(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out) {
  const struct marked text = *self.text;
  struct builder b = {0};
  int64_t size = 8, column = 0;
  if (!argument_int(r, a, 0, "tabsize", "expandtabs", &size)) return false;
  for (size_t at = 0, end; at < text.size; at = end) {
    end = marked_offset(text, at, 1);
    bool tab = text.bytes[at] == '\t';
    struct field room = {.fill = space, .width = tab && size > 0 ? size - column % size : 0, .precision = -1};
    if (tab ? !field_text(r, &b, &room, (struct marked){0}) : !builder_marked(r, &b, marked_part(text, at, end)))
      return false;
    column = text.bytes[at] == '\n' || text.bytes[at] == '\r' ? 0 : column + (tab ? room.width : 1);
  }
  return builder_take(r, &b, out);
}
