/* JSON with numbers that jansson does not take: a whole one beyond 64 bits, a real one beyond a double. The text is
 * read with a 1 and spaces in the place of each, which are then put back where they were: the numbers of a tree stand
 * in the order of its text. */
#include "base/json.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { WIDE = 0xFF, DIGITS_MAX = 4300 /* as many as Python reads */ };

bool json_is_wide(const json_t *value, struct slice *written) {
  if (!json_is_string(value) || json_string_length(value) < 2) return false;
  struct slice bytes = json_slice(value);
  if (bytes.data[0] != WIDE) return false; /* no byte of UTF-8, so that no text of a client's is taken for one */
  *written = slice_make(bytes.data + 1, bytes.size - 1);
  return true;
}

/* --- in the text -------------------------------------------------------------------------------------------------- */

static size_t digits_end(struct slice text, size_t at) {
  while (at < text.size && text.data[at] >= '0' && text.data[at] <= '9') at++;
  return at;
}

/* The end of the number at `at`, which may be no number of JSON's; *real: it has a point or an exponent. */
static size_t number_end(struct slice text, size_t at, bool *real) {
  size_t digits = at + (text.data[at] == '-'), end = digits_end(text, digits);
  *real = false;
  if (end < text.size && text.data[end] == '.') {
    *real = true;
    end = digits_end(text, end + 1);
  }
  if (end < text.size && (text.data[end] | 32) == 'e') {
    size_t sign = end + 1 < text.size && (text.data[end + 1] == '+' || text.data[end + 1] == '-');
    *real = true;
    end = digits_end(text, end + 1 + sign);
  }
  return end;
}

static double number_value(struct slice written) {
  char copy[DIGITS_MAX + 64];
  memcpy(copy, written.data, written.size);
  copy[written.size] = '\0';
  return strtod(copy, NULL);
}

/* Whether jansson refuses the number for its size alone. */
static bool is_wide(struct slice written, bool real) {
  size_t sign = written.data[0] == '-', digits = written.size - sign;
  uint8_t first = digits ? written.data[sign] : 0, last = written.data[written.size - 1];
  if (first < '0' || first > '9' || last < '0' || last > '9' || digits > DIGITS_MAX) return false;
  if (first == '0' && digits > 1 && written.data[sign + 1] >= '0' && written.data[sign + 1] <= '9') return false;
  const uint8_t *point = memchr(written.data, '.', written.size);
  if (point && (point[1] < '0' || point[1] > '9')) return false;
  if (real) return isinf(number_value(written));
  const char *most = sign ? "9223372036854775808" : "9223372036854775807";
  return digits > 19 || (digits == 19 && memcmp(written.data + sign, most, 19) > 0);
}

/* The next number at or after *at, which is outside of a string; false: no more. */
static bool number_next(struct slice text, size_t *at, struct slice *written, bool *real) {
  bool quoted = false;
  for (size_t i = *at; i < text.size; i++) {
    uint8_t c = text.data[i];
    if (quoted && c == '\\') i++;
    if (c == '"') quoted = !quoted;
    if (quoted || (c != '-' && (c < '0' || c > '9'))) continue;
    size_t end = number_end(text, i, real);
    *written = slice_make(text.data + i, end - i);
    *at = end;
    return true;
  }
  *at = text.size;
  return false;
}

/* --- in the tree -------------------------------------------------------------------------------------------------- */

/* Goes through the numbers of text and tree at once. */
struct walk {
  struct slice text;
  size_t at;
  bool exact;
};

static json_t *wide_value(struct slice written, bool exact) {
  if (!exact) {
    double value = number_value(written);
    return json_real(isinf(value) ? copysign(DBL_MAX, value) : value);
  }
  char bytes[DIGITS_MAX + 64] = {(char)WIDE};
  memcpy(bytes + 1, written.data, written.size);
  return json_stringn_nocheck(bytes, written.size + 1);
}

/* What belongs in the place of value: value itself, what was in it restored, or a new one. NULL: no memory. */
static json_t *restore(struct walk *w, json_t *value) {
  struct slice written;
  bool real;
  void *member;
  size_t i;
  switch (json_typeof(value)) {
  case JSON_OBJECT:
    for (member = json_object_iter(value); member; member = json_object_iter_next(value, member)) {
      json_t *read = json_object_iter_value(member), *right = restore(w, read);
      if (!right || (right != read && json_object_iter_set_new(value, member, right) != 0)) return NULL;
    }
    return value;
  case JSON_ARRAY:
    for (i = 0; i < json_array_size(value); i++) {
      json_t *read = json_array_get(value, i), *right = restore(w, read);
      if (!right || (right != read && json_array_set_new(value, i, right) != 0)) return NULL;
    }
    return value;
  case JSON_INTEGER:
  case JSON_REAL:
    if (!number_next(w->text, &w->at, &written, &real) || !is_wide(written, real)) return value;
    return wide_value(written, w->exact);
  default: return value;
  }
}

static bool has_wide(struct slice text) {
  struct slice written;
  bool real;
  for (size_t at = 0; number_next(text, &at, &written, &real);)
    if (is_wide(written, real)) return true;
  return false;
}

/* A copy with a 1 and spaces for each. */
static uint8_t *plain_copy(struct slice text) {
  uint8_t *copy = malloc(text.size);
  struct slice written;
  bool real;
  if (!copy) return NULL;
  memcpy(copy, text.data, text.size);
  for (size_t at = 0; number_next(text, &at, &written, &real);) {
    if (!is_wide(written, real)) continue;
    memset(copy + (written.data - text.data), ' ', written.size);
    copy[written.data - text.data] = '1';
  }
  return copy;
}

json_t *json_parse_client(struct slice text, bool exact, struct error *error) {
  if (!has_wide(text)) return json_parse(text, error);
  uint8_t *copy = plain_copy(text);
  struct walk w = {.text = text, .exact = exact};
  json_t *value = copy ? json_parse(slice_make(copy, text.size), error) : NULL;
  json_t *restored = value ? restore(&w, value) : NULL;
  free(copy);
  if (!copy || (value && !restored))
    error_set(error, ERROR_MEMORY, "There is no memory to read %zu bytes of JSON.", text.size);
  if (restored != value) json_decref(value);
  return restored;
}
