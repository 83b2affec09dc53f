/* What decoding does to a text as a whole, while it is written: replacements of texts by shorter ones, one after the
 * other. The end of what has come so far waits where it may begin a match. */
#ifndef SPATE_TEXT_TEXT_CHANGES_H
#define SPATE_TEXT_TEXT_CHANGES_H

#include "base/limits.h"
#include "base/slice.h"

struct text_change {
  struct slice from, to; /* borrowed; from: 1 to LIMIT_AFFIX_BYTES bytes, to: no more than from */
};

static inline bool text_change_fits(const struct text_change *change) {
  size_t size = change->from.size;
  return size > 0 && size <= LIMIT_AFFIX_BYTES && change->to.size <= size;
}

struct text_changes {
  int count;
  struct text_change changes[LIMIT_TEXT_CHANGES];
};

enum {
  TEXT_CHANGES_HELD = LIMIT_TEXT_CHANGES * LIMIT_AFFIX_BYTES, /* bytes of all that wait, at most */
};

/* Of one text; zero to begin with. */
struct text_changing {
  uint8_t held[LIMIT_TEXT_CHANGES][LIMIT_AFFIX_BYTES];
  uint8_t n_held[LIMIT_TEXT_CHANGES];
};

/* Changes size bytes in place, behind which there is room for TEXT_CHANGES_HELD; returns how many are left. ends:
 * nothing waits any more. */
size_t text_changes_apply(const struct text_changes *changes, struct text_changing *state, uint8_t *text, size_t size,
                          bool ends);

#endif
