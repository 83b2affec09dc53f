/* Normalizing steps: Unicode forms by utf8proc, prefix and replacement by hand. Text that a step leaves as it is (most
 * English) is passed on without a copy. */
#include "text/normalize.h"

#include <stdlib.h>
#include <utf8proc.h>

static const struct {
  int options;
  uint8_t inert; /* text whose bytes are all below it is in this form: U+0300 is 0xCC 0x80, U+0080 is 0xC2 0x80 */
} forms[] = {
    [STEP_NFC] = {UTF8PROC_STABLE | UTF8PROC_COMPOSE, 0xCC},
    [STEP_NFD] = {UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, 0x80},
    [STEP_NFKC] = {UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT, 0x80},
    [STEP_NFKD] = {UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, 0x80},
};

static bool bytes_below(struct slice text, uint8_t limit) {
  uint8_t most = 0;
  for (size_t i = 0; i < text.size; i++) most = text.data[i] > most ? text.data[i] : most;
  return most < limit;
}

static bool unicode_form(enum step_kind kind, struct slice text, struct buffer *out, struct slice *result) {
  if (bytes_below(text, forms[kind].inert)) return true;
  uint8_t *normal = NULL;
  utf8proc_ssize_t size =
      utf8proc_map(text.data, (utf8proc_ssize_t)text.size, &normal, (utf8proc_option_t)forms[kind].options);
  bool done = size >= 0 && buffer_append(out, normal, (size_t)size);
  free(normal);
  *result = buffer_slice(out);
  return done;
}

static bool replace(struct slice from, struct slice to, struct slice text, struct buffer *out, struct slice *result) {
  size_t at = 0;
  for (;;) {
    const uint8_t *found = memmem(text.data + at, text.size - at, from.data, from.size);
    if (!found) break;
    size_t start = (size_t)(found - text.data);
    buffer_append(out, text.data + at, start - at);
    if (!buffer_append(out, to.data, to.size) && to.size) return false;
    at = start + from.size;
  }
  if (at == 0) return true;
  buffer_append(out, text.data + at, text.size - at);
  *result = buffer_slice(out);
  return !out->failed;
}

bool normalize_step(enum step_kind kind, struct slice a, struct slice b, struct slice text, struct buffer *out,
                    struct slice *result) {
  *result = text;
  if (text.size == 0) return true;
  buffer_clear(out);
  if (kind == STEP_REPLACE) return replace(a, b, text, out, result);
  if (kind != STEP_PREPEND) return unicode_form(kind, text, out, result);
  buffer_append(out, a.data, a.size);
  if (!buffer_append(out, text.data, text.size)) return false;
  *result = buffer_slice(out);
  return true;
}
