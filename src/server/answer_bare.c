/* The first words of a call. */
#include "server/answer_bare.h"

#include "base/limits.h"

enum { SPACES_MAX = 64 }; /* more of them behind a bracket are text, whatever follows */

static struct slice name_of(const json_t *tools, size_t i) {
  return json_slice(json_object_get(json_object_get(json_array_get(tools, i), "function"), "name"));
}

/* The text begins with a tool's name and what ends it. */
static enum bare_begin name_begins(struct slice text, const char *end, const json_t *tools) {
  enum bare_begin begins = BARE_TEXT;
  for (size_t i = 0; i < json_array_size(tools); i++) {
    struct slice name = name_of(tools, i);
    size_t same = text.size < name.size ? text.size : name.size;
    if (same > 0 && memcmp(text.data, name.data, same) != 0) continue;
    if (text.size <= name.size) begins = BARE_PERHAPS;
    if (text.size > name.size && text.data[name.size] == *end) return BARE_CALL;
  }
  return begins;
}

/* Past spaces and this character. False: it is not there; what is left is empty if it may still come. */
static bool past(struct slice *text, uint8_t wanted) {
  size_t at = 0;
  while (at < text->size && at <= SPACES_MAX && json_is_space(text->data[at])) at++;
  bool there = at < text->size && text->data[at] == wanted;
  *text = slice_make(text->data + at + there, text->size - at - there);
  return there;
}

static enum bare_begin object_begins(struct slice text, const json_t *tools) {
  static const char *const first[] = {"\"name\"", "\"type\"", "\"function\"", "\"parameters\"", "\"arguments\""};
  enum bare_begin begins = BARE_TEXT;
  for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
    size_t size = strlen(first[i]), same = text.size < size ? text.size : size;
    if (same > 0 && memcmp(text.data, first[i], same) != 0) continue;
    if (same < size) begins = BARE_PERHAPS;
    if (same == size && i > 0) return BARE_CALL;
    if (same < size || i > 0) continue;
    text = slice_make(text.data + size, text.size - size);
    if (past(&text, ':') && past(&text, '"')) return name_begins(text, "\"", tools);
    return text.size ? BARE_TEXT : BARE_PERHAPS;
  }
  return begins;
}

static enum bare_begin bracket_begins(struct slice text, const json_t *tools) {
  size_t at = 1;
  while (at < text.size && json_is_space(text.data[at])) at++;
  if (at > SPACES_MAX) return BARE_TEXT;
  struct slice rest = slice_make(text.data + at, text.size - at);
  if (text.data[0] != '[') return object_begins(rest, tools);
  if (rest.size == 0) return BARE_PERHAPS;
  if (rest.data[0] == '{') return bracket_begins(rest, tools);
  enum bare_begin begins = name_begins(rest, "(", tools);
  return begins == BARE_CALL ? BARE_LIST : begins;
}

static enum bare_begin line_begins(struct slice text, const json_t *tools) {
  enum bare_begin begins = BARE_TEXT;
  for (size_t i = 0; i < json_array_size(tools); i++) {
    struct slice name = name_of(tools, i);
    size_t same = text.size < name.size ? text.size : name.size, at = name.size;
    if (memcmp(text.data, name.data, same) != 0) continue;
    while (at < text.size && json_is_space(text.data[at])) at++;
    bool line = at > name.size && memchr(text.data + name.size, '\n', at - name.size);
    if (at < text.size && line && text.data[at] == '{') return BARE_CALL;
    if (at >= text.size && at - name.size <= SPACES_MAX) begins = BARE_PERHAPS;
  }
  return begins;
}

enum bare_begin bare_begins(const char *brackets, struct slice text, const json_t *tools) {
  if (*brackets == '\n') return line_begins(text, tools);
  return text.data[0] && strchr(brackets, text.data[0]) ? bracket_begins(text, tools) : BARE_TEXT;
}

size_t bare_find(const char *brackets, struct slice text, size_t limit, const json_t *tools, enum bare_begin *begins) {
  for (size_t at = 0; at < limit; at++)
    if ((*begins = bare_begins(brackets, slice_make(text.data + at, text.size - at), tools)) != BARE_TEXT) return at;
  *begins = BARE_TEXT;
  return limit;
}
