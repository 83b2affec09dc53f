/* Added tokens (markers such as <|im_end|>, and words that a model's author put in): found in the text before anything
 * else is done to it, the leftmost first and of those the longest. */
#ifndef SPATE_TEXT_ADDED_TOKENS_H
#define SPATE_TEXT_ADDED_TOKENS_H

#include "text/tokenizer_blob.h"

/* One of the two sets of a tokenizer: those looked for in raw text and those looked for in normalized text. */
struct added_set {
  const struct tokenizer_tables *tables;
  uint32_t first, last; /* [first, last) of tables->added, sorted by text */
  bool starts[256];     /* bytes that one of them starts with */
  bool has_special;
};

void added_set_init(struct added_set *set, const struct tokenizer_tables *tables, bool normalized);

/* Where special tokens are recognised. */
struct special_guard {
  bool parse;                     /* false: nowhere */
  const struct text_range *plain; /* [n_plain] not where they touch one of these ranges, in order and apart */
  size_t n_plain;
};

/* The first range that ends behind start; n_plain: none does. */
size_t special_guard_range(const struct special_guard *guard, size_t start);

/* Whether a special token may stand at [start, end). */
bool special_guard_allows(const struct special_guard *guard, size_t start, size_t end);

struct added_match {
  size_t start, end; /* bytes of the text, with the white space that the token takes */
  size_t next;       /* where the next may start: maybe within that white space */
  uint32_t id;
  size_t space_end; /* of the white space behind the token that took some last, so that none is looked at again */
};

/* The first match at or after `from`, passing over special tokens that the guard does not allow. It takes no white
 * space before `taken`. match: the one before it in this text, at first {0}. */
bool added_set_next(const struct added_set *set, struct slice text, size_t from, size_t taken,
                    const struct special_guard *guard, struct added_match *match);

#endif
