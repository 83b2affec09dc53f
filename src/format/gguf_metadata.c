/* The key-value pairs of a GGUF header: reading them. */
#include "base/limits.h"
#include "format/gguf.h"
#include "format/gguf_cursor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PAIR_BYTES_MIN = 8 + 1 + 4 + 1, STRING_BYTES_MIN = 8 };

static const struct {
  const char *name;
  size_t bytes; /* of one element as stored; 0: varies */
} types[] = {
    [GGUF_UINT8] = {"uint8", 1},     [GGUF_INT8] = {"int8", 1},       [GGUF_UINT16] = {"uint16", 2},
    [GGUF_INT16] = {"int16", 2},     [GGUF_UINT32] = {"uint32", 4},   [GGUF_INT32] = {"int32", 4},
    [GGUF_BOOL] = {"bool", 1},       [GGUF_FLOAT32] = {"float32", 4}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0},     [GGUF_UINT64] = {"uint64", 8},   [GGUF_INT64] = {"int64", 8},
    [GGUF_FLOAT64] = {"float64", 8},
};

const char *gguf_type_name(enum gguf_type type) { return types[type].name; }

static bool read_type(struct gguf_cursor *cursor, enum gguf_type *type) {
  uint32_t number;
  if (!cursor_u32(cursor, &number)) return false;
  if (number >= sizeof types / sizeof types[0])
    return error_set(cursor->error, ERROR_FORMAT,
                     "The value type of %s is %" PRIu32 " (byte %zu); GGUF defines 0 to 12.", cursor->subject, number,
                     cursor->at - sizeof number);
  *type = (enum gguf_type)number;
  return true;
}

static bool read_strings(struct arena *arena, struct gguf_cursor *cursor, struct gguf_value *value) {
  if (value->count > cursor_left(cursor) / STRING_BYTES_MIN)
    return error_set(
        cursor->error, ERROR_FORMAT,
        "The file ends at byte %zu, too soon for the %zu strings of %s: it is truncated or damaged; get it "
        "again.",
        cursor->bytes.size, value->count, cursor->subject);
  struct slice *strings = arena_array(arena, value->count, sizeof *strings);
  if (!strings)
    return error_set(cursor->error, ERROR_MEMORY, "There is no memory for the %zu strings of %s.", value->count,
                     cursor->subject);
  for (size_t i = 0; i < value->count; i++)
    if (!cursor_string(cursor, &strings[i])) return false;
  value->strings = strings;
  return true;
}

static bool read_elements(struct arena *arena, struct gguf_cursor *cursor, struct gguf_value *value) {
  value->at = cursor->at;
  value->data = cursor->bytes.data + cursor->at;
  if (value->type == GGUF_STRING) return read_strings(arena, cursor, value);
  if (!cursor_take(cursor, value->count * types[value->type].bytes))
    return false; /* count is within LIMIT_GGUF_ARRAY */
  for (size_t i = 0; value->type == GGUF_BOOL && i < value->count; i++)
    if (value->data[i] > 1)
      return error_set(cursor->error, ERROR_FORMAT, "A bool of %s is %d (byte %zu); expected 0 or 1.", cursor->subject,
                       value->data[i], value->at + i);
  return true;
}

/* The element type and count of an array. */
static bool read_array_head(struct gguf_cursor *cursor, struct gguf_value *value) {
  uint64_t count;
  if (!read_type(cursor, &value->type) || !cursor_u64(cursor, &count)) return false;
  if (value->type == GGUF_ARRAY)
    return error_set(cursor->error, ERROR_UNSUPPORTED,
                     "The value of %s is an array of arrays (byte %zu), which is not supported.", cursor->subject,
                     cursor->at - 12);
  if (count > LIMIT_GGUF_ARRAY)
    return error_set(cursor->error, ERROR_LIMIT, "The array of %s has %" PRIu64 " elements; at most %d are supported.",
                     cursor->subject, count, LIMIT_GGUF_ARRAY);
  value->is_array = true;
  value->count = count;
  return true;
}

static bool read_pair(struct arena *arena, struct gguf_cursor *cursor, struct gguf_value *value) {
  struct slice key;
  if (!cursor_string(cursor, &key)) return false;
  value->key = tensor_name_copy(key, cursor->subject, arena, cursor->error);
  if (!value->key) return false;
  cursor_subject(cursor, "key \"%.200s\"", value->key);
  if (!read_type(cursor, &value->type)) return false;
  value->count = 1;
  if (value->type == GGUF_ARRAY && !read_array_head(cursor, value)) return false;
  return read_elements(arena, cursor, value);
}

static int compare_keys(const void *a, const void *b) {
  const struct gguf_value *const *left = a, *const *right = b;
  return strcmp((*left)->key, (*right)->key);
}

static bool index_keys(struct gguf *gguf, struct error *error) {
  size_t n = (size_t)gguf->n_value;
  gguf->by_key = arena_array(&gguf->arena, n, sizeof *gguf->by_key);
  if (!gguf->by_key) return error_set(error, ERROR_MEMORY, "There is no memory for an index of %zu keys.", n);
  for (size_t i = 0; i < n; i++) gguf->by_key[i] = &gguf->values[i];
  qsort(gguf->by_key, n, sizeof *gguf->by_key, compare_keys);
  for (size_t i = 1; i < n; i++) {
    const struct gguf_value *a = gguf->by_key[i - 1], *b = gguf->by_key[i];
    if (strcmp(a->key, b->key) == 0)
      return error_set(error, ERROR_FORMAT, "Key \"%.200s\" occurs twice, with values at bytes %zu and %zu.", a->key,
                       a->at, b->at);
  }
  return true;
}

bool gguf_read_metadata(struct gguf *gguf, struct gguf_cursor *cursor, uint64_t n_value) {
  if (n_value > LIMIT_GGUF_KEYS)
    return error_set(cursor->error, ERROR_LIMIT, "The file has %" PRIu64 " metadata keys; at most %d are supported.",
                     n_value, LIMIT_GGUF_KEYS);
  if (n_value > cursor_left(cursor) / PAIR_BYTES_MIN)
    return error_set(cursor->error, ERROR_FORMAT, "The file claims %" PRIu64 " metadata keys, but ends at byte %zu.",
                     n_value, cursor->bytes.size);
  gguf->values = arena_array(&gguf->arena, n_value, sizeof *gguf->values);
  if (!gguf->values)
    return error_set(cursor->error, ERROR_MEMORY, "There is no memory for %" PRIu64 " metadata keys.", n_value);
  gguf->n_value = (int)n_value;
  for (int i = 0; i < gguf->n_value; i++) {
    cursor_subject(cursor, "key %d (from byte %zu)", i, cursor->at);
    if (!read_pair(&gguf->arena, cursor, &gguf->values[i])) return false;
  }
  return index_keys(gguf, cursor->error);
}

const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key) {
  struct gguf_value wanted = {.key = key};
  const struct gguf_value *wanted_at = &wanted;
  const struct gguf_value **found =
      bsearch(&wanted_at, gguf->by_key, (size_t)gguf->n_value, sizeof *gguf->by_key, compare_keys);
  return found ? *found : NULL;
}
