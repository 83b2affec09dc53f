/* The key-value pairs of a GGUF header: typed access. */
#include "format/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *gguf_value_type(const struct gguf_value *value, char out[32]) {
  snprintf(out, 32, "%s%s", value->is_array ? "array of " : "", gguf_type_name(value->type));
  return out;
}

/* Little-endian, unaligned. */
static uint64_t load_bits(const uint8_t *bytes, size_t size) {
  uint64_t bits = 0;
  memcpy(&bits, bytes, size);
  return bits;
}

/* An integer's bits, sign-extended to 64, and whether the type is signed. False for types that are no integers. */
static bool integer_bits(const struct gguf_value *value, size_t i, uint64_t *bits, bool *is_signed) {
  const uint8_t *data = value->data;
  switch (value->type) {
  case GGUF_BOOL:
  case GGUF_UINT8: *bits = data[i]; break;
  case GGUF_UINT16: *bits = load_bits(data + 2 * i, 2); break;
  case GGUF_UINT32: *bits = load_bits(data + 4 * i, 4); break;
  case GGUF_UINT64:
  case GGUF_INT64: *bits = load_bits(data + 8 * i, 8); break;
  case GGUF_INT8: *bits = (uint64_t)(int8_t)data[i]; break;
  case GGUF_INT16: *bits = (uint64_t)(int16_t)load_bits(data + 2 * i, 2); break;
  case GGUF_INT32: *bits = (uint64_t)(int32_t)load_bits(data + 4 * i, 4); break;
  default: return false;
  }
  *is_signed =
      value->type == GGUF_INT8 || value->type == GGUF_INT16 || value->type == GGUF_INT32 || value->type == GGUF_INT64;
  return true;
}

bool gguf_value_int(const struct gguf_value *value, size_t i, int64_t *out) {
  uint64_t bits;
  bool is_signed;
  if (!integer_bits(value, i, &bits, &is_signed) || (!is_signed && bits > INT64_MAX)) return false;
  *out = (int64_t)bits;
  return true;
}

bool gguf_value_float(const struct gguf_value *value, size_t i, double *out) {
  if (value->type == GGUF_FLOAT64) {
    memcpy(out, value->data + 8 * i, sizeof *out);
    return true;
  }
  if (value->type != GGUF_FLOAT32) return false;
  float single;
  memcpy(&single, value->data + 4 * i, sizeof single);
  *out = single;
  return true;
}

/* --- by key ------------------------------------------------------------------------------------------------------- */

/* How a lookup ended before the value itself is looked at. */
enum lookup { LOOKUP_FAILED, LOOKUP_ABSENT, LOOKUP_FOUND };

static bool refuse_type(const struct gguf_value *value, const char *expected, struct error *error) {
  char actual[32];
  return error_set(error, ERROR_FORMAT, "Key \"%.200s\" is of type %s; expected %s.", value->key,
                   gguf_value_type(value, actual), expected);
}

static enum lookup lookup(const struct gguf *gguf, const char *key, enum gguf_need need, const char *expected,
                          const struct gguf_value **value, struct error *error) {
  *value = gguf_find(gguf, key);
  if (*value) return LOOKUP_FOUND;
  if (need == GGUF_OPTIONAL) return LOOKUP_ABSENT;
  error_set(error, ERROR_NOT_FOUND, "The file has no key \"%.200s\" (expected: %s).", key, expected);
  return LOOKUP_FAILED;
}

static enum lookup lookup_scalar(const struct gguf *gguf, const char *key, enum gguf_need need, const char *expected,
                                 const struct gguf_value **value, struct error *error) {
  enum lookup found = lookup(gguf, key, need, expected, value, error);
  if (found != LOOKUP_FOUND || !(*value)->is_array) return found;
  refuse_type(*value, expected, error);
  return LOOKUP_FAILED;
}

static enum lookup lookup_integer(const struct gguf *gguf, const char *key, enum gguf_need need, uint64_t *bits,
                                  bool *is_signed, struct error *error) {
  const struct gguf_value *value;
  enum lookup found = lookup_scalar(gguf, key, need, "an integer", &value, error);
  if (found != LOOKUP_FOUND) return found;
  if (value->type != GGUF_BOOL && integer_bits(value, 0, bits, is_signed)) return LOOKUP_FOUND;
  refuse_type(value, "an integer", error);
  return LOOKUP_FAILED;
}

/* "-3" or "18446744073709551615". */
static const char *integer_text(uint64_t bits, bool is_signed, char out[24]) {
  if (is_signed)
    snprintf(out, 24, "%" PRId64, (int64_t)bits);
  else
    snprintf(out, 24, "%" PRIu64, bits);
  return out;
}

bool gguf_get_u32(const struct gguf *gguf, const char *key, enum gguf_need need, uint32_t *out, struct error *error) {
  uint64_t bits;
  bool is_signed;
  enum lookup found = lookup_integer(gguf, key, need, &bits, &is_signed, error);
  if (found != LOOKUP_FOUND) return found == LOOKUP_ABSENT;
  char actual[24];
  if (bits > UINT32_MAX) /* negative ones are */
    return error_set(error, ERROR_FORMAT, "Key \"%.200s\" is %s; expected 0 to %" PRIu32 ".", key,
                     integer_text(bits, is_signed, actual), UINT32_MAX);
  *out = (uint32_t)bits;
  return true;
}

bool gguf_get_i64(const struct gguf *gguf, const char *key, enum gguf_need need, int64_t *out, struct error *error) {
  uint64_t bits;
  bool is_signed;
  enum lookup found = lookup_integer(gguf, key, need, &bits, &is_signed, error);
  if (found != LOOKUP_FOUND) return found == LOOKUP_ABSENT;
  if (!is_signed && bits > INT64_MAX)
    return error_set(error, ERROR_FORMAT, "Key \"%.200s\" is %" PRIu64 "; expected at most %" PRId64 ".", key, bits,
                     INT64_MAX);
  *out = (int64_t)bits;
  return true;
}

bool gguf_get_alike(const struct gguf *gguf, const char *key, int64_t *out, struct error *error) {
  const struct gguf_value *value = gguf_find(gguf, key);
  size_t same = 0;
  int64_t next;
  if (!value || !value->is_array || value->count == 0 || !gguf_value_int(value, 0, out))
    return gguf_get_i64(gguf, key, GGUF_REQUIRED, out, error);
  while (same < value->count && gguf_value_int(value, same, &next) && next == *out) same++;
  return same == value->count ||
         error_set(error, ERROR_UNSUPPORTED,
                   "Key \"%.200s\" is a list whose elements differ; expected one number for all layers.", key);
}

bool gguf_get_float(const struct gguf *gguf, const char *key, enum gguf_need need, double *out, struct error *error) {
  const struct gguf_value *value;
  enum lookup found = lookup_scalar(gguf, key, need, "a float", &value, error);
  if (found != LOOKUP_FOUND) return found == LOOKUP_ABSENT;
  return gguf_value_float(value, 0, out) || refuse_type(value, "a float", error);
}

bool gguf_get_bool(const struct gguf *gguf, const char *key, enum gguf_need need, bool *out, struct error *error) {
  const struct gguf_value *value;
  enum lookup found = lookup_scalar(gguf, key, need, "bool", &value, error);
  if (found != LOOKUP_FOUND) return found == LOOKUP_ABSENT;
  if (value->type != GGUF_BOOL) return refuse_type(value, "bool", error);
  *out = value->data[0];
  return true;
}

bool gguf_get_string(const struct gguf *gguf, const char *key, enum gguf_need need, struct slice *out,
                     struct error *error) {
  const struct gguf_value *value;
  enum lookup found = lookup_scalar(gguf, key, need, "string", &value, error);
  if (found != LOOKUP_FOUND) return found == LOOKUP_ABSENT;
  if (value->type != GGUF_STRING) return refuse_type(value, "string", error);
  *out = value->strings[0];
  return true;
}

bool gguf_get_array(const struct gguf *gguf, const char *key, enum gguf_need need, enum gguf_type element,
                    const struct gguf_value **out, struct error *error) {
  char expected[32];
  snprintf(expected, sizeof expected, "array of %s", gguf_type_name(element));
  const struct gguf_value *value;
  enum lookup found = lookup(gguf, key, need, expected, &value, error);
  if (found != LOOKUP_FOUND) return found == LOOKUP_ABSENT;
  if (!value->is_array || value->type != element) return refuse_type(value, expected, error);
  *out = value;
  return true;
}
