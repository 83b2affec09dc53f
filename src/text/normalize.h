/* Normalizing steps: text to text before it is split. */
#ifndef SPATE_TEXT_NORMALIZE_H
#define SPATE_TEXT_NORMALIZE_H

#include "text/tokenizer_spec.h"

static inline bool step_normalizes(enum step_kind kind) { return kind <= STEP_REPLACE; }

/* Applies one step (STEP_NFC to STEP_REPLACE) to text: *result is text itself where nothing changes, else the content
 * of out, which must not be where text lies. False when it would be larger than out may be, or more than
 * LIMIT_UNSORTED_MARKS follow each other. */
bool normalize_step(enum step_kind kind, struct slice a, struct slice b, struct slice text, struct buffer *out,
                    struct slice *result);

#endif
