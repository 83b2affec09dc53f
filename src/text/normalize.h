/* Normalizing steps: text to text before it is split. */
#ifndef SPATE_TEXT_NORMALIZE_H
#define SPATE_TEXT_NORMALIZE_H

#include "text/split_pattern.h"

static inline bool step_normalizes(enum step_kind kind) { return kind <= STEP_SPELL; }

/* A step that is ready to be applied. */
struct normalizer {
  enum step_kind kind;
  uint32_t mode;
  struct slice a, b;            /* borrowed */
  struct split_pattern matches; /* STEP_REPLACE_MATCHES: of a; owned */
};

/* Compiles the step's regex, if it has one. */
bool normalizer_open(struct normalizer *step, struct error *error);
void normalizer_close(struct normalizer *step);

/* Applies one step to text: *result is text itself where nothing changes, else the content of out, which must not be
 * where text lies. match is a block made for one pair. A result larger than out may be and more than
 * LIMIT_UNSORTED_MARKS that follow each other are refused. */
bool normalize_step(const struct normalizer *step, struct split_match *match, struct slice text, struct buffer *out,
                    struct slice *result, struct error *error);

/* *first, the size of what text begins with, becomes that of what the step made of it in its result: 0 when that has
 * gone, or was replaced together with what follows. */
bool normalize_first(const struct normalizer *step, struct split_match *match, struct slice text, struct slice result,
                     size_t *first, struct error *error);

/* The steps that look at one character at a time (STEP_CLEAN to STEP_NMT): false when out is full. */
bool normalize_characters(enum step_kind kind, uint32_t mode, struct slice text, struct buffer *out,
                          struct slice *result);

/* The text without the white space at its ends; mode: enum strip_mode. */
struct slice normalize_strip(struct slice text, uint32_t mode);

#endif
