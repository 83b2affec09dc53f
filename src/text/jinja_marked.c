/* Texts with their marks: making, cutting, building. */
#include "text/jinja_rendering.h"

#include "base/utf8.h"
#include "base/limits.h"
#include "text/jinja_literal.h"

static bool text_new(struct rendering *r, struct marked text, struct datum *out) {
  struct marked *copy = rendering_alloc(r, sizeof *copy);
  if (!copy) return false;
  *copy = text.size ? text : (struct marked){.bytes = (const uint8_t *)""};
  *out = (struct datum){.kind = DATUM_TEXT, .text = copy};
  return true;
}

bool datum_marked(struct rendering *r, struct marked text, struct datum *out) {
  return rendering_charge_bytes(r, text.size) && text_new(r, text, out);
}

bool datum_text(struct rendering *r, struct slice template_text, struct datum *out) {
  return datum_marked(r, (struct marked){.bytes = template_text.data, .size = template_text.size}, out);
}

struct marked marked_part(struct marked text, size_t start, size_t end) {
  return (struct marked){text.bytes + start, text.user ? text.user + start : NULL, end - start};
}

static bool starts_character(uint8_t byte) { return (byte & 0xC0) != 0x80; }

size_t marked_length(struct marked text) {
  size_t length = 0;
  for (size_t i = 0; i < text.size; i++) length += starts_character(text.bytes[i]);
  return length;
}

size_t marked_offset(struct marked text, size_t from, size_t count) {
  size_t at = from;
  for (; count > 0 && at < text.size; count--) do
      at++;
    while (at < text.size && !starts_character(text.bytes[at]));
  return at;
}

/* --- building --------------------------------------------------------------------------------------------------- */

static bool builder_reserve(struct rendering *r, struct builder *b, size_t size) {
  if (!rendering_charge_bytes(r, size)) return false;
  if (size > LIMIT_TEMPLATE_OUTPUT_BYTES - b->size)
    return rendering_fail(r, "it writes more than %d bytes", LIMIT_TEMPLATE_OUTPUT_BYTES);
  if (size <= b->capacity - b->size) return true;
  size_t capacity = 2 * (b->size + size) < 64 ? 64 : 2 * (b->size + size);
  uint8_t *memory = rendering_alloc(r, 2 * capacity);
  if (!memory) return false;
  if (b->size) {
    memcpy(memory, b->bytes, b->size);
    memcpy(memory + capacity, b->user, b->size);
  }
  b->bytes = memory;
  b->user = memory + capacity;
  b->capacity = capacity;
  return true;
}

bool builder_marked(struct rendering *r, struct builder *b, struct marked text) {
  if (!builder_reserve(r, b, text.size)) return false;
  if (text.size == 0) return true;
  memcpy(b->bytes + b->size, text.bytes, text.size);
  if (text.user) {
    memcpy(b->user + b->size, text.user, text.size);
    b->marked = true;
  } else {
    memset(b->user + b->size, 0, text.size);
  }
  b->size += text.size;
  return true;
}

bool builder_text(struct rendering *r, struct builder *b, struct slice template_text) {
  return builder_marked(r, b, (struct marked){.bytes = template_text.data, .size = template_text.size});
}

bool builder_byte(struct rendering *r, struct builder *b, uint8_t byte, uint8_t user) {
  return builder_marked(r, b, (struct marked){&byte, user ? &user : NULL, 1});
}

bool builder_character(struct rendering *r, struct builder *b, uint32_t code, uint8_t user) {
  uint8_t bytes[4], marks[4] = {user, user, user, user};
  size_t size = utf8_write(code, bytes);
  return builder_marked(r, b, (struct marked){bytes, user ? marks : NULL, size});
}

/* The bytes were charged when they were written. */
bool builder_take(struct rendering *r, const struct builder *b, struct datum *out) {
  return rendering_charge(r, 1) && text_new(r, (struct marked){b->bytes, b->marked ? b->user : NULL, b->size}, out);
}
