/* Text changes: matches from the left, of which no two overlap. */
#include "text/text_changes.h"

/* How many bytes of the text's end are the beginning of a match that is not whole. */
static size_t begun_size(struct slice text, struct slice from) {
  size_t most = from.size - 1 < text.size ? from.size - 1 : text.size;
  for (size_t size = most; size > 0; size--)
    if (memcmp(text.data + text.size - size, from.data, size) == 0) return size;
  return 0;
}

/* Moves what lies at `at` to `to`, with each match replaced; returns the end of it. The result is not longer, so that
 * it does not reach what is still to be read. */
static size_t replace_in_place(const struct text_change *change, uint8_t *text, size_t size) {
  size_t at = 0, to = 0;
  const uint8_t *found;
  while ((found = memmem(text + at, size - at, change->from.data, change->from.size))) {
    size_t before = (size_t)(found - text) - at;
    memmove(text + to, text + at, before);
    to += before;
    if (change->to.size) memcpy(text + to, change->to.data, change->to.size);
    to += change->to.size;
    at += before + change->from.size;
  }
  memmove(text + to, text + at, size - at);
  return to + size - at;
}

/* The same, where what is left behind the last match may begin another one. */
static size_t apply(const struct text_change *change, uint8_t *held, uint8_t *n_held, uint8_t *text, size_t size,
                    bool ends) {
  memmove(text + *n_held, text, size);
  memcpy(text, held, *n_held);
  size += *n_held;
  size_t begun = 0, behind = 0;
  const uint8_t *found;
  while ((found = memmem(text + behind, size - behind, change->from.data, change->from.size)))
    behind = (size_t)(found - text) + change->from.size;
  if (!ends) begun = begun_size(slice_make(text + behind, size - behind), change->from);
  *n_held = (uint8_t)begun;
  memcpy(held, text + size - begun, begun);
  return replace_in_place(change, text, size - begun);
}

size_t text_changes_apply(const struct text_changes *changes, struct text_changing *state, uint8_t *text, size_t size,
                          bool ends) {
  for (int i = 0; i < changes->count; i++)
    size = apply(&changes->changes[i], state->held[i], &state->n_held[i], text, size, ends);
  return size;
}
