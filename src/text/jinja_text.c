/* Texts searched, stripped, replaced and joined. */
#include "text/jinja_text.h"

#include "base/utf8.h"

size_t text_character(struct marked text, size_t at, uint32_t *code) {
  size_t size = utf8_read(slice_make(text.bytes + at, text.size - at), code);
  if (size) return size;
  *code = 0xFFFD; /* not reached: texts are valid UTF-8 */
  return 1;
}

bool text_is_space(uint32_t code) {
  return (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F ||
         code == 0x205F || code == 0x3000;
}

size_t text_find(struct marked text, size_t from, struct marked part) {
  if (from > text.size || part.size > text.size - from) return SIZE_MAX;
  if (part.size == 0) return from;
  const uint8_t *found = memmem(text.bytes + from, text.size - from, part.bytes, part.size);
  return found ? (size_t)(found - text.bytes) : SIZE_MAX;
}

size_t text_find_last(struct marked text, size_t end, struct marked part) {
  if (part.size > end) return SIZE_MAX;
  for (size_t at = end - part.size + 1; at-- > 0;)
    if (memcmp(text.bytes + at, part.bytes, part.size) == 0) return at;
  return SIZE_MAX;
}

/* Whether the character at `at` is stripped. Looking through a set is charged before it is done: when the budget is
 * spent none is, and the charge of the whole fails. */
static bool strips(struct rendering *r, struct marked text, size_t at, const struct marked *set, size_t *size) {
  uint32_t code;
  *size = text_character(text, at, &code);
  if (!set) return text_is_space(code);
  return rendering_charge_bytes(r, 16 + set->size) && text_find(*set, 0, marked_part(text, at, at + *size)) != SIZE_MAX;
}

bool text_strip(struct rendering *r, struct marked text, const struct marked *set, bool left, bool right,
                struct datum *out) {
  size_t start = 0, end = text.size, size;
  while (left && start < end && strips(r, text, start, set, &size)) start += size;
  while (right && end > start) {
    size_t at = end - 1;
    while (at > start && (text.bytes[at] & 0xC0) == 0x80) at--;
    if (!strips(r, text, at, set, &size)) break;
    end = at;
  }
  if (!rendering_charge_characters(r, start + (text.size - end))) return false;
  return datum_marked(r, marked_part(text, start, end), out);
}

/* Before every character and at the end, as Python does. */
static bool replace_nothing(struct rendering *r, struct marked text, struct marked to, int64_t count,
                            struct datum *out) {
  struct builder b = {0};
  for (size_t at = 0, end; at <= text.size; at = end) {
    if (count != 0 && !builder_marked(r, &b, to)) return false;
    count -= count > 0;
    if (at == text.size) break;
    end = marked_offset(text, at, 1);
    if (!builder_marked(r, &b, marked_part(text, at, end))) return false;
  }
  return builder_take(r, &b, out);
}

bool text_replace(struct rendering *r, struct marked text, struct marked from, struct marked to, int64_t count,
                  struct datum *out) {
  if (from.size == 0) return replace_nothing(r, text, to, count, out);
  struct builder b = {0};
  size_t at = 0, found;
  for (; count != 0 && (found = text_find(text, at, from)) != SIZE_MAX; at = found + from.size) {
    if (!builder_marked(r, &b, marked_part(text, at, found)) || !builder_marked(r, &b, to)) return false;
    count -= count > 0;
  }
  return builder_marked(r, &b, marked_part(text, at, text.size)) && builder_take(r, &b, out);
}

bool text_join(struct rendering *r, const struct datum_list *items, struct marked separator, struct datum *out) {
  struct builder b = {0};
  for (size_t i = 0; i < items->count; i++)
    if ((i && !builder_marked(r, &b, separator)) || !print_datum(r, &b, items->items[i])) return false;
  return builder_take(r, &b, out);
}
