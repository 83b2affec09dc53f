#include "server/access.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

enum { KEY_BYTES_MAX = 512 };

/* Printable and without spaces: what a header can carry after "Bearer ". */
static bool key_valid(struct slice key) {
  if (key.size == 0 || key.size > KEY_BYTES_MAX) return false;
  for (size_t i = 0; i < key.size; i++)
    if (key.data[i] <= ' ' || key.data[i] > '~') return false;
  return true;
}

static bool keys_read(struct access *access, const char *keys, struct error *error) {
  if (!keys) return true;
  if (getrandom(&access->secret, sizeof access->secret, 0) != (ssize_t)sizeof access->secret)
    return error_set(error, ERROR_IO, "The system gave no random bytes: see getrandom(2).");
  for (const char *from = keys, *end; from; from = *end ? end + 1 : NULL) {
    end = from + strcspn(from, ",");
    struct slice key = slice_make((const uint8_t *)from, (size_t)(end - from));
    if (access->n_key == ACCESS_KEYS)
      return error_set(error, ERROR_LIMIT, "There are more than %d API keys.", ACCESS_KEYS);
    if (!key_valid(key))
      return error_set(error, ERROR_INVALID,
                       "API key %d is empty, longer than %d characters, or holds a space or another character that a "
                       "header cannot carry.",
                       access->n_key + 1, KEY_BYTES_MAX);
    access->key[access->n_key++] = keyed_hash(&access->secret, key);
  }
  return true;
}

/* A whole number that ends at a comma or the text's end; NULL when there is none. */
static const char *priority_read(const char *from, int *priority) {
  char *end;
  errno = 0;
  long value = strtol(from, &end, 10);
  *priority = (int)value;
  bool digits = end > from && end[-1] >= '0' && end[-1] <= '9' && *from != ' ' && *from != '+';
  return digits && errno == 0 && value >= INT32_MIN && value <= INT32_MAX && (!*end || *end == ',') ? end : NULL;
}

static bool priorities_read(struct access *access, const char *priorities, struct error *error) {
  int most = access->n_key ? access->n_key : 1, n = 0;
  const char *from = priorities;
  for (; from && n < most; n++) {
    const char *end = priority_read(from, &access->min_priority[n]);
    if (!end)
      return error_set(error, ERROR_INVALID, "--min-priority is \"%.40s\", expected whole numbers with commas.",
                       priorities);
    from = *end ? end + 1 : NULL;
  }
  if (from || (n > 1 && n < most))
    return error_set(error, ERROR_INVALID,
                     "--min-priority is \"%.40s\", expected one number, or as many as there are API keys: %d.",
                     priorities, access->n_key);
  for (int i = 1; n == 1 && i < most; i++) access->min_priority[i] = access->min_priority[0];
  return true;
}

bool access_init(struct access *access, const char *keys, const char *min_priorities, struct error *error) {
  *access = (struct access){0};
  return keys_read(access, keys, error) && priorities_read(access, min_priorities, error);
}

int access_check(const struct access *access, struct slice authorization) {
  static const char scheme[] = "Bearer ";
  size_t size = sizeof scheme - 1;
  if (access->n_key == 0) return 0;
  if (authorization.size < size || strncasecmp((const char *)authorization.data, scheme, size) != 0) return -1;
  struct hash128 given = keyed_hash(&access->secret, slice_make(authorization.data + size, authorization.size - size));
  int found = -1;
  for (int i = 0; i < access->n_key; i++) {
    uint64_t differs = (given.low ^ access->key[i].low) | (given.high ^ access->key[i].high);
    found = differs == 0 ? i : found;
  }
  return found;
}
