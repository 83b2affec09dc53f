/* Strings are looked for in the way in which the call is written. */
#include "server/call_open.h"

#include "server/call_text.h"

/* A call of Python's: [f( or f( */
static bool is_python(struct slice text) {
  size_t at = 0;
  if (text.size > 0 && text.data[0] == '[') text = call_trimmed(call_rest(text, 1));
  while (at < text.size && text.data[at] > ' ' && text.data[at] != '(' && text.data[at] != '<' &&
         text.data[at] != '{' && text.data[at] != '"' && text.data[at] != '[')
    at++;
  return at > 0 && at < text.size && text.data[at] == '(';
}

/* Behind a string that begins here; NULL: it does not end. */
static const uint8_t *string_skip(const uint8_t *at, const uint8_t *end, bool python) {
  uint8_t quote = *at;
  ptrdiff_t n = python && end - at >= 3 && at[1] == quote && at[2] == quote ? 3 : 1;
  const uint8_t quotes[3] = {quote, quote, quote};
  for (at += n; end - at >= n; at++) {
    if (*at == '\\')
      at++;
    else if (memcmp(at, quotes, (size_t)n) == 0)
      return at + n;
    else if (!python && *at == '\n') /* which no string of JSON has: this was no quote */
      return at;
  }
  return NULL;
}

static bool string_open(struct slice text, bool python) {
  const uint8_t *at = text.data, *end = text.data + text.size;
  while (at < end) {
    bool quote = *at == '"' || (python && *at == '\'');
    at = quote ? string_skip(at, end, python) : at + 1;
    if (!at) return true;
  }
  return false;
}

/* A value between tags that was begun and not ended. */
static bool tag_open(struct slice text) {
  static const char *const tags[][2] = {{"<arg_value>", "</arg_value>"},
                                        {"<parameter=", "</parameter>"},
                                        {"<parameter name=", "</parameter>"},
                                        {"<｜DSML｜parameter ", "</｜DSML｜parameter>"},
                                        {"<param name=", "</param>"},
                                        {"<|open|>argument ", "<|close|>argument<|sep|>"},
                                        {"<|\"|>", "<|\"|>"},
                                        {"<escape>", "<escape>"}};
  for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
    struct slice rest = text, before;
    while (call_until(&rest, tags[i][0], &before))
      if (!call_until(&rest, tags[i][1], &before)) return true;
  }
  return false;
}

bool call_open(struct slice text) {
  text = call_trimmed(text);
  if (is_python(text)) return string_open(text, true);
  const uint8_t *object = text.size ? memchr(text.data, '{', text.size) : NULL;
  return tag_open(text) || (object && string_open(call_rest(text, (size_t)(object - text.data)), false));
}
