/* The first words of a call. */
#include "server/answer_bare.h"

#include "base/limits.h"

enum { SPACES_MAX = 64 }; /* more of them behind a bracket are text, whatever follows */

static enum bare_begin bracket_begins(struct slice text) {
  static const char *const first[] = {"\"name\"", "\"type\"", "\"function\"", "\"parameters\"", "\"arguments\""};
  size_t at = 1;
  while (at < text.size && json_is_space(text.data[at])) at++;
  if (at > SPACES_MAX) return BARE_TEXT;
  struct slice rest = slice_make(text.data + at, text.size - at);
  if (text.data[0] == '[' && rest.size > 0 && rest.data[0] == '{') return bracket_begins(rest);
  if (text.data[0] == '[') {
    size_t n = 0;
    while (n < rest.size && !strchr(" \n\r\t()[]{}\"',", rest.data[n])) n++;
    if (n > LIMIT_TOOL_NAME_BYTES) return BARE_TEXT;
    return n == rest.size ? BARE_PERHAPS : n > 0 && rest.data[n] == '(' ? BARE_CALL : BARE_TEXT;
  }
  enum bare_begin begins = BARE_TEXT;
  for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
    size_t size = strlen(first[i]), same = rest.size < size ? rest.size : size;
    if (memcmp(rest.data, first[i], same) == 0)
      begins = same == size ? BARE_CALL : begins == BARE_CALL ? BARE_CALL : BARE_PERHAPS;
  }
  return begins;
}

static enum bare_begin line_begins(struct slice text, const json_t *tools) {
  enum bare_begin begins = BARE_TEXT;
  for (size_t i = 0; i < json_array_size(tools); i++) {
    struct slice name = json_slice(json_object_get(json_object_get(json_array_get(tools, i), "function"), "name"));
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
  return text.data[0] && strchr(brackets, text.data[0]) ? bracket_begins(text) : BARE_TEXT;
}
