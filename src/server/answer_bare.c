/* The first words of a call. */
#include "server/answer_bare.h"

#include "base/json.h"
#include "base/limits.h"

enum { SPACES_MAX = 64 }; /* more of them behind a bracket are text, whatever follows */

enum bare_begin bare_begins(struct slice text) {
  static const char *const first[] = {"\"name\"", "\"type\"", "\"function\"", "\"parameters\"", "\"arguments\""};
  size_t at = 1;
  while (at < text.size && json_is_space(text.data[at])) at++;
  if (at > SPACES_MAX) return BARE_TEXT;
  struct slice rest = slice_make(text.data + at, text.size - at);
  if (text.data[0] == '[' && rest.size > 0 && rest.data[0] == '{') return bare_begins(rest);
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
