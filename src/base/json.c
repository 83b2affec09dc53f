/* JSON: strict reading, escaping writer. */
#include "base/json.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/utf8.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* jansson's own depth limit is 2048, deep enough to make later recursion costly: measured before parsing. */
static bool depth_within(struct slice text, int max) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size; i++) {
    uint8_t c = text.data[i];
    if (quoted) {
      if (c == '\\') i++;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > max) return false;
    } else if (c == '}' || c == ']') {
      depth--;
    }
  }
  return true;
}

/* Where an allocation fails, jansson's lexer leaves a byte of a string or a number out and goes on, or reads over the
 * end of what it has; and it says that the text is wrong. So once one has failed, all fail until that text is given up,
 * which json_parse then knows. */
static json_malloc_t memory_give; /* what jansson had before, malloc unless this is a library in another's program */
static _Thread_local bool parses, starved;

static void *memory_take(size_t size) {
  void *memory = parses && starved ? NULL : memory_give(size);
  starved |= !memory;
  return memory;
}

static void memory_watch(void) {
  json_free_t give_back;
  json_get_alloc_funcs(&memory_give, &give_back);
  json_set_alloc_funcs(memory_take, give_back);
}

/* NULL: it is wrong, or starved. */
static json_t *watched_parse(struct slice text, json_error_t *detail) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  const char *start = text.data ? (const char *)text.data : ""; /* an empty file is mapped nowhere */
  pthread_once(&once, memory_watch);
  starved = false;
  parses = true;
  json_t *value = json_loadb(start, text.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, detail);
  parses = false;
  if (!starved) return value;
  json_decref(value);
  return NULL;
}

json_t *json_parse(struct slice text, struct error *error) {
  if (!depth_within(text, LIMIT_JSON_DEPTH)) {
    error_set(error, ERROR_LIMIT, "The JSON nests deeper than %d levels; send it flatter.", LIMIT_JSON_DEPTH);
    return NULL;
  }
  json_error_t detail;
  json_t *value = watched_parse(text, &detail);
  if (!value && starved)
    error_set(error, ERROR_MEMORY, "There is no memory to read %zu bytes of JSON.", text.size);
  else if (!value)
    error_set(error, ERROR_INVALID, "Not valid JSON at line %d, column %d: %s.", detail.line, detail.column,
              detail.text);
  return value;
}

json_t *json_read(const char *path, size_t max, struct error *error) {
  struct file file;
  if (!file_open(&file, path, error)) return NULL;
  json_t *value = NULL;
  if (file.size > max)
    error_set(error, ERROR_LIMIT, "%s has %zu bytes, more than the %zu allowed for such a file.", path, file.size, max);
  else if (!(value = json_parse(slice_make(file.data, file.size), error)))
    error_prefix(error, "%s: ", path);
  file_close(&file);
  return value;
}

struct slice json_slice(const json_t *string) {
  return slice_make(json_string_value(string), json_string_length(string));
}

static bool write_escaped(struct buffer *out, uint32_t code, struct slice raw) {
  switch (code) {
  case '"': return buffer_text(out, "\\\"");
  case '\\': return buffer_text(out, "\\\\");
  case '\n': return buffer_text(out, "\\n");
  case '\r': return buffer_text(out, "\\r");
  case '\t': return buffer_text(out, "\\t");
  default: break;
  }
  bool control = code < 0x20 || (code >= 0x7f && code < 0xa0), line = code == 0x2028 || code == 0x2029;
  if (control || line) return buffer_print(out, "\\u%04x", code);
  return buffer_append(out, raw.data, raw.size);
}

bool json_write_string(struct buffer *out, struct slice text) {
  buffer_append(out, "\"", 1);
  size_t at = 0;
  while (at < text.size) {
    size_t plain = at;
    while (plain < text.size && text.data[plain] >= 0x20 && text.data[plain] < 0x7f && text.data[plain] != '"' &&
           text.data[plain] != '\\')
      plain++;
    buffer_append(out, text.data + at, plain - at);
    at = plain;
    if (at == text.size) break;
    uint32_t code;
    size_t size = utf8_read(slice_make(text.data + at, text.size - at), &code);
    if (size == 0) {
      buffer_text(out, "\xEF\xBF\xBD");
      at++;
      continue;
    }
    write_escaped(out, code, slice_make(text.data + at, size));
    at += size;
  }
  return buffer_append(out, "\"", 1);
}

bool json_write_number(struct buffer *out, double number) {
  if (!isfinite(number)) return buffer_text(out, "null");
  if (number == floor(number) && fabs(number) < 9007199254740992.0) return buffer_print(out, "%.0f", number);
  char text[40];
  for (int digits = 6; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, number);
    if (strtod(text, NULL) == number) break;
  }
  return buffer_text(out, text);
}
