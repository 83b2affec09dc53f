/* A walk of recursive descent over bytes. */
#include "server/call_json.h"

#include "base/limits.h"

/* Each of these reads from `at` on and answers where what it has read ends; 0: it is not there. */

static size_t spaces_skip(struct slice text, size_t at) {
  while (at < text.size && json_is_space(text.data[at])) at++;
  return at;
}

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

static bool is_hex(uint8_t c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

/* Past the backslash. */
static size_t escape_end(struct slice text, size_t at) {
  if (at == text.size || !text.data[at] || !strchr("\"\\/bfnrtu", text.data[at])) return 0;
  if (text.data[at] != 'u') return at + 1;
  for (size_t i = 1; i <= 4; i++)
    if (at + i >= text.size || !is_hex(text.data[at + i])) return 0;
  return at + 5;
}

static size_t string_end(struct slice text, size_t at) {
  if (at == text.size || text.data[at] != '"') return 0;
  for (at++; at < text.size && text.data[at] >= 0x20;) {
    if (text.data[at] == '"') return at + 1;
    if (text.data[at] != '\\')
      at++;
    else if ((at = escape_end(text, at + 1)) == 0)
      return 0;
  }
  return 0;
}

static size_t digits_end(struct slice text, size_t at) {
  size_t first = at;
  while (at < text.size && is_digit(text.data[at])) at++;
  return at > first ? at : 0;
}

static size_t number_end(struct slice text, size_t at) {
  at += at < text.size && text.data[at] == '-';
  bool zero = at < text.size && text.data[at] == '0';
  if (zero)
    at++;
  else if ((at = digits_end(text, at)) == 0)
    return 0;
  if (at < text.size && text.data[at] == '.' && (at = digits_end(text, at + 1)) == 0) return 0;
  if (at < text.size && (text.data[at] | 0x20) == 'e') {
    at++;
    at += at < text.size && (text.data[at] == '+' || text.data[at] == '-');
    return digits_end(text, at);
  }
  return at;
}

static size_t word_end(struct slice text, size_t at) {
  static const char *const words[] = {"true", "false", "null"};
  struct slice rest = slice_make(text.data + at, text.size - at);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (slice_starts(rest, words[i])) return at + strlen(words[i]);
  return 0;
}

static size_t value_end(struct slice text, size_t at, int depth);

/* Past a member's name and its colon. */
static size_t name_end(struct slice text, size_t at) {
  at = string_end(text, at);
  if (at > 0) at = spaces_skip(text, at);
  return at > 0 && at < text.size && text.data[at] == ':' ? spaces_skip(text, at + 1) : 0;
}

static size_t many_end(struct slice text, size_t at, int depth) {
  bool object = text.data[at] == '{';
  uint8_t close = object ? '}' : ']';
  at = spaces_skip(text, at + 1);
  if (at < text.size && text.data[at] == close) return at + 1;
  while (depth < LIMIT_JSON_DEPTH) {
    if (object && (at = name_end(text, at)) == 0) return 0;
    if ((at = value_end(text, at, depth + 1)) == 0) return 0;
    at = spaces_skip(text, at);
    if (at == text.size || (text.data[at] != ',' && text.data[at] != close)) return 0;
    if (text.data[at] == close) return at + 1;
    at = spaces_skip(text, at + 1);
  }
  return 0;
}

static size_t value_end(struct slice text, size_t at, int depth) {
  if (at >= text.size) return 0;
  uint8_t c = text.data[at];
  if (c == '{' || c == '[') return many_end(text, at, depth);
  if (c == '"') return string_end(text, at);
  return c == '-' || is_digit(c) ? number_end(text, at) : word_end(text, at);
}

size_t call_json_value(struct slice text) { return value_end(text, 0, 0); }

/* The text goes on behind this many bytes. */
static struct slice part_take(struct slice *text, size_t size) {
  struct slice part = slice_make(text->data, size);
  *text = slice_make(text->data + size, text->size - size);
  return part;
}

static void between_skip(struct slice *text) {
  size_t at = spaces_skip(*text, 0);
  if (at < text->size && text->data[at] == ',') at = spaces_skip(*text, at + 1);
  part_take(text, at);
}

bool call_json_element(struct slice *list, struct slice *value) {
  between_skip(list);
  size_t size = call_json_value(*list);
  *value = part_take(list, size);
  return size > 0;
}

bool call_json_member(struct slice *object, struct slice *name, struct slice *value) {
  between_skip(object);
  size_t size = string_end(*object, 0), with_colon = name_end(*object, 0);
  if (size == 0 || with_colon == 0) return false;
  *name = slice_make(object->data, size);
  part_take(object, with_colon);
  return call_json_element(object, value);
}

json_t *call_json_string(struct slice quoted) {
  struct error error;
  struct buffer list; /* json_parse reads no value alone */
  buffer_init(&list, LIMIT_TOOL_CALL_BYTES + 2);
  buffer_text(&list, "[");
  buffer_append(&list, quoted.data, quoted.size);
  buffer_text(&list, "]");
  json_t *values = list.failed ? NULL : json_parse(buffer_slice(&list), &error);
  json_t *string = json_array_size(values) == 1 ? json_incref(json_array_get(values, 0)) : NULL;
  buffer_release(&list);
  json_decref(values);
  return string;
}
