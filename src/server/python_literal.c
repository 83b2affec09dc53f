/* A reader of recursive descent. Each function moves `at` past what it has read; what is no literal leaves NULL. */
#include "server/python_literal.h"

#include "base/limits.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>

struct reader {
  const uint8_t *at, *end;
  int depth;
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

/* Past the backslash. Escapes that Python does not know stand for themselves. */
static bool escape_take(struct reader *r, struct buffer *out) {
  static const char from[] = "ntrbf0\\'\"", to[] = "\n\t\r\b\f\0\\'\"";
  if (r->at == r->end) return false;
  uint8_t kind = *r->at++, bytes[4];
  const char *known = memchr(from, kind, sizeof from - 1);
  if (known) return buffer_append(out, &to[known - from], 1);
  if (kind == '\n') return true;
  int n_digit = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
  if (n_digit == 0) return buffer_append(out, "\\", 1) && buffer_append(out, &kind, 1);
  uint32_t code;
  return digits_take(r, n_digit, &code) && buffer_append(out, bytes, utf8_write(code, bytes));
}

static json_t *string_take(struct reader *r) {
  struct buffer text;
  uint8_t quote = *r->at++;
  bool valid = true;
  buffer_init(&text, LIMIT_TOOL_CALL_BYTES);
  while (valid && r->at < r->end && *r->at != quote) {
    uint8_t c = *r->at++;
    valid = c == '\\' ? escape_take(r, &text) : buffer_append(&text, &c, 1);
  }
  json_t *string = valid && r->at < r->end ? json_stringn(text.data ? text.data : "", text.size) : NULL;
  if (string) r->at++;
  buffer_release(&text);
  return string;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static json_t *value_take(struct reader *r);

static json_t *word_take(struct reader *r) {
  struct slice word = name_take(r);
  if (slice_is(word, "True") || slice_is(word, "true")) return json_true();
  if (slice_is(word, "False") || slice_is(word, "false")) return json_false();
  return slice_is(word, "None") || slice_is(word, "null") ? json_null() : NULL;
}

static json_t *number_take(struct reader *r) {
  char digits[64], *rest;
  size_t size = 0;
  while (r->at < r->end && *r->at && size + 1 < sizeof digits && strchr("+-.0123456789eE", *r->at))
    digits[size++] = (char)*r->at++;
  digits[size] = 0;
  errno = 0;
  long long whole = strtoll(digits, &rest, 10);
  if (size > 0 && !*rest && errno == 0) return json_integer(whole);
  double real = strtod(digits, &rest);
  return size > 0 && !*rest ? json_real(real) : NULL; /* NULL too where it is not finite */
}

static json_t *list_take(struct reader *r, char close) {
  json_t *list = json_array();
  while (list && !character_take(r, close)) {
    json_t *value = value_take(r);
    bool next = value && json_array_append_new(list, value) == 0 &&
                (character_take(r, ',') || (r->at < r->end && *r->at == (uint8_t)close));
    if (next) continue;
    json_decref(list);
    list = NULL;
  }
  return list;
}

static bool pair_take(struct reader *r, json_t *object) {
  json_t *key = r->at < r->end && (*r->at == '"' || *r->at == '\'') ? string_take(r) : NULL;
  json_t *value = key && character_take(r, ':') ? value_take(r) : NULL;
  bool stored = value && json_object_setn_new(object, json_string_value(key), json_string_length(key), value) == 0;
  json_decref(key);
  return stored;
}

static json_t *dictionary_take(struct reader *r) {
  json_t *object = json_object();
  while (object && !character_take(r, '}')) {
    bool next = pair_take(r, object) && (character_take(r, ',') || (r->at < r->end && *r->at == '}'));
    if (next) continue;
    json_decref(object);
    object = NULL;
  }
  return object;
}

static json_t *value_take(struct reader *r) {
  json_t *value = NULL;
  spaces_skip(r);
  if (r->at == r->end || r->depth == LIMIT_JSON_DEPTH) return NULL;
  r->depth++;
  if (*r->at == '"' || *r->at == '\'')
    value = string_take(r);
  else if (character_take(r, '['))
    value = list_take(r, ']');
  else if (character_take(r, '('))
    value = list_take(r, ')');
  else if (character_take(r, '{'))
    value = dictionary_take(r);
  else
    value = is_name(*r->at, true) ? word_take(r) : number_take(r);
  r->depth--;
  return value;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

static bool argument_take(struct reader *r, json_t *arguments) {
  struct slice name = name_take(r);
  json_t *value = name.size > 0 && character_take(r, '=') ? value_take(r) : NULL;
  return value && json_object_setn_new(arguments, (const char *)name.data, name.size, value) == 0;
}

static bool arguments_take(struct reader *r, json_t *arguments) {
  while (!character_take(r, ')'))
    if (!argument_take(r, arguments) || !(character_take(r, ',') || (r->at < r->end && *r->at == ')'))) return false;
  return true;
}

static bool call_take(struct reader *r, json_t *calls) {
  struct slice name = name_take(r);
  json_t *arguments = json_object(), *call = NULL;
  if (name.size > 0 && character_take(r, '(') && arguments && arguments_take(r, arguments))
    call = json_pack("{s:s%,s:O}", "name", name.data, name.size, "arguments", arguments);
  json_decref(arguments);
  return call && json_array_append_new(calls, call) == 0;
}

json_t *python_calls_read(struct slice text) {
  struct reader r = {.at = text.data, .end = text.data + text.size};
  json_t *calls = json_array();
  bool read = calls && character_take(&r, '[');
  bool more = read && !character_take(&r, ']');
  while (read && more) {
    read = call_take(&r, calls) && (character_take(&r, ',') || (r.at < r.end && *r.at == ']'));
    more = read && !character_take(&r, ']');
  }
  spaces_skip(&r);
  if (read && r.at == r.end && json_array_size(calls) > 0) return calls;
  json_decref(calls);
  return NULL;
}
