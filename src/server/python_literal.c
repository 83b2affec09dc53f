/* A reader of recursive descent. Each function moves `at` past what it has read and appends it to `out` as JSON; false:
 * it is no literal, or has no like in JSON. */
#include "server/python_literal.h"

#include "base/limits.h"
#include "base/utf8.h"
#include "server/call_text.h"
#include "server/tool_calls.h"

#include <errno.h>
#include <stdlib.h>

struct reader {
  const uint8_t *at, *end;
  int depth;
  struct buffer out;
};

static void spaces_skip(struct reader *r) {
  while (r->at < r->end && json_is_space(*r->at)) r->at++;
}

/* Past this character, and the spaces around it. */
static bool character_take(struct reader *r, char wanted) {
  spaces_skip(r);
  if (r->at == r->end || *r->at != (uint8_t)wanted) return false;
  r->at++;
  spaces_skip(r);
  return true;
}

/* Dots and hyphens are part of tools' names, if not of Python's. */
static bool is_name(uint8_t c, bool first) {
  bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c >= 0x80;
  return letter || (!first && ((c >= '0' && c <= '9') || c == '.' || c == '-'));
}

static struct slice name_take(struct reader *r) {
  const uint8_t *begin = r->at;
  while (r->at < r->end && is_name(*r->at, r->at == begin)) r->at++;
  return slice_make(begin, (size_t)(r->at - begin));
}

/* --- strings ------------------------------------------------------------------------------------------------------ */

/* So many hexadecimal digits, at most eight. */
static bool digits_take(struct reader *r, int count, uint32_t *code) {
  char digits[9] = "", *rest;
  if (r->end - r->at < count) return false;
  memcpy(digits, r->at, (size_t)count);
  *code = (uint32_t)strtoul(digits, &rest, 16);
  r->at += count;
  return !*rest && digits[0] != '-' && digits[0] != '+' && digits[0] != ' ';
}

/* Past the backslash and the letter: one character, or the two that UTF-16 has for one. */
static bool number_escape_take(struct reader *r, int n_digit, struct buffer *text) {
  uint32_t code, low;
  uint8_t bytes[4];
  if (!digits_take(r, n_digit, &code)) return false;
  if (code >= 0xd800 && code < 0xdc00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
    r->at += 2;
    if (!digits_take(r, 4, &low)) return false;
    if (low >= 0xdc00 && low < 0xe000)
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    else
      r->at -= 6;
  }
  return buffer_append(text, bytes, utf8_write(code, bytes));
}

/* Past the backslash. Escapes that Python does not know stand for themselves. */
static bool escape_take(struct reader *r, struct buffer *text) {
  static const char from[] = "ntrbfav0\\'\"", to[] = "\n\t\r\b\f\a\v\0\\'\"";
  if (r->at == r->end) return false;
  uint8_t kind = *r->at++;
  const char *known = memchr(from, kind, sizeof from - 1);
  if (known) return buffer_append(text, &to[known - from], 1);
  if (kind == '\n') return true;
  int n_digit = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
  if (n_digit > 0) return number_escape_take(r, n_digit, text);
  return buffer_append(text, "\\", 1) && buffer_append(text, &kind, 1);
}

/* A string begins here; *raw: backslashes stand for themselves. */
static bool string_begins(const struct reader *r, bool *raw) {
  const uint8_t *at = r->at;
  *raw = at < r->end && (*at == 'r' || *at == 'R');
  if (at < r->end && (*raw || *at == 'u' || *at == 'U')) at++;
  return at < r->end && (*at == '"' || *at == '\'');
}

/* One of them, without the quotes: three of a kind also end at three. */
static bool quoted_take(struct reader *r, bool raw, struct buffer *text) {
  if (*r->at != '"' && *r->at != '\'') r->at++;
  uint8_t quote = *r->at;
  size_t n = r->end - r->at >= 3 && r->at[1] == quote && r->at[2] == quote ? 3 : 1;
  const uint8_t quotes[3] = {quote, quote, quote};
  for (r->at += n; (size_t)(r->end - r->at) >= n;) {
    if (memcmp(r->at, quotes, n) == 0) {
      r->at += n;
      return true;
    }
    bool escaped = *r->at == '\\';
    if (escaped && raw && !buffer_append(text, "\\", 1)) return false;
    if (escaped && ++r->at == r->end) return false;
    if (escaped && !raw ? !escape_take(r, text) : !buffer_append(text, r->at++, 1)) return false;
  }
  return false;
}

/* Strings that stand side by side are one. */
static bool strings_take(struct reader *r, struct buffer *text) {
  bool raw, fine = true;
  while (fine && string_begins(r, &raw)) {
    fine = quoted_take(r, raw, text);
    spaces_skip(r);
  }
  return fine;
}

static bool string_take(struct reader *r) {
  struct buffer text;
  buffer_init(&text, LIMIT_TOOL_CALL_BYTES);
  bool taken = strings_take(r, &text) && json_write_string(&r->out, buffer_slice(&text));
  buffer_release(&text);
  return taken;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static bool value_take(struct reader *r);

static bool word_take(struct reader *r) {
  struct slice word = name_take(r);
  if (slice_is(word, "True") || slice_is(word, "true")) return buffer_text(&r->out, "true");
  if (slice_is(word, "False") || slice_is(word, "false")) return buffer_text(&r->out, "false");
  return (slice_is(word, "None") || slice_is(word, "null")) && buffer_text(&r->out, "null");
}

/* 0x10, 0o20, 0b10000: the letter is next. */
static bool based_take(struct reader *r) {
  char digits[80], *rest;
  size_t size = 0;
  int base = (*r->at | 0x20) == 'x' ? 16 : (*r->at | 0x20) == 'o' ? 8 : 2;
  for (r->at++; r->at < r->end && size + 1 < sizeof digits && *r->at && strchr("0123456789abcdefABCDEF_", *r->at);
       r->at++)
    if (*r->at != '_') digits[size++] = (char)*r->at;
  digits[size] = 0;
  errno = 0;
  unsigned long long number = strtoull(digits, &rest, base);
  return size > 0 && !*rest && errno == 0 && buffer_print(&r->out, "%llu", number);
}

/* So many digits, of which '_' parts some; leading zeros are none of them. */
static size_t decimals_take(struct reader *r, bool leading) {
  size_t n = 0;
  for (; r->at < r->end && ((*r->at >= '0' && *r->at <= '9') || (*r->at == '_' && n > 0)); r->at++) {
    bool next = r->at + 1 < r->end && r->at[1] >= '0' && r->at[1] <= '9';
    if (*r->at == '_' || (!leading && n == 0 && *r->at == '0' && next)) continue;
    n += buffer_append(&r->out, r->at, 1);
  }
  return n;
}

/* As many digits as there are: whoever reads it knows how large its numbers may be. */
static bool number_take(struct reader *r) {
  if (*r->at == '-') buffer_text(&r->out, "-");
  r->at += *r->at == '-' || *r->at == '+';
  if (r->end - r->at > 1 && *r->at == '0' && r->at[1] && strchr("xXoObB", r->at[1])) {
    r->at++;
    return based_take(r);
  }
  size_t whole = decimals_take(r, false), part = 0;
  if (whole == 0) buffer_text(&r->out, "0");
  if (r->at < r->end && *r->at == '.') {
    r->at++;
    buffer_text(&r->out, ".");
    part = decimals_take(r, true);
    if (part == 0) buffer_text(&r->out, "0");
  }
  if (whole + part > 0 && r->at < r->end && (*r->at | 0x20) == 'e') {
    r->at++;
    buffer_text(&r->out, "e");
    if (r->at < r->end && (*r->at == '-' || *r->at == '+')) buffer_append(&r->out, r->at++, 1);
    return decimals_take(r, true) > 0;
  }
  return whole + part > 0;
}

/* What stands between brackets, of which the first is behind. A value alone in round ones, without a comma, is no
 * list. */
static bool list_take(struct reader *r, char close) {
  size_t begin = r->out.size;
  int n = 0;
  bool comma = false;
  buffer_text(&r->out, "[");
  for (; !character_take(r, close); n++) {
    if (n > 0 && !comma) return false;
    if (n > 0) buffer_text(&r->out, ", ");
    if (!value_take(r)) return false;
    comma = character_take(r, ',');
  }
  if (close == ']' || n != 1 || comma) return buffer_text(&r->out, "]");
  if (r->out.failed) return false;
  memmove(r->out.data + begin, r->out.data + begin + 1, --r->out.size - begin);
  return true;
}

static bool dictionary_take(struct reader *r) {
  bool more = true, raw;
  buffer_text(&r->out, "{");
  for (int n = 0; !character_take(r, '}'); n++) {
    if (!more) return false;
    if (n > 0) buffer_text(&r->out, ", ");
    if (!string_begins(r, &raw) || !string_take(r) || !character_take(r, ':')) return false;
    buffer_text(&r->out, ": ");
    if (!value_take(r)) return false;
    more = character_take(r, ',');
  }
  return buffer_text(&r->out, "}");
}

static bool value_take(struct reader *r) {
  bool taken, raw;
  spaces_skip(r);
  if (r->at == r->end || r->depth == LIMIT_JSON_DEPTH) return false;
  r->depth++;
  if (string_begins(r, &raw))
    taken = string_take(r);
  else if (character_take(r, '['))
    taken = list_take(r, ']');
  else if (character_take(r, '('))
    taken = list_take(r, ')');
  else if (character_take(r, '{'))
    taken = dictionary_take(r);
  else
    taken = is_name(*r->at, true) ? word_take(r) : number_take(r);
  r->depth--;
  return taken;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

/* Past the bracket that opens them. */
static bool arguments_take(struct reader *r) {
  for (bool more = true; !character_take(r, ')'); more = character_take(r, ',')) {
    if (!more || !call_arguments_name(&r->out, name_take(r)) || !character_take(r, '=') || !value_take(r)) return false;
  }
  return true;
}

/* Behind its name. */
static bool call_take(struct reader *r, json_t *calls, struct slice name) {
  call_arguments_begin(&r->out);
  bool taken = name.size > 0 && character_take(r, '(') && arguments_take(r);
  return call_arguments_end(calls, name, &r->out, taken);
}

static struct reader reader_of(struct slice text) {
  return (struct reader){.at = text.data, .end = text.data + text.size, .depth = 1};
}

bool python_list_read(json_t *calls, struct slice *text) {
  struct reader r = reader_of(*text);
  if (!character_take(&r, '[')) return false;
  for (bool more = true; !character_take(&r, ']'); more = character_take(&r, ','))
    if (!more || !call_take(&r, calls, name_take(&r))) return false;
  *text = slice_make(r.at, (size_t)(r.end - r.at));
  return true;
}

bool python_call_read(json_t *calls, struct slice *text, const json_t *tools) {
  struct reader r = reader_of(*text);
  struct slice name = name_take(&r);
  if (!tool_find(tools, name) || !call_take(&r, calls, name)) return false;
  *text = slice_make(r.at, (size_t)(r.end - r.at));
  return true;
}
