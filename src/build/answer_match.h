/* Is a generated answer right? As lm-evaluation-harness decides it for gsm8k: a filter finds the answer in the text,
 * and what remains of it and of the file's answer, without commas, dollars and all before "#### ", must be equal. */
#ifndef SPATE_BUILD_ANSWER_MATCH_H
#define SPATE_BUILD_ANSWER_MATCH_H

#include "base/error.h"
#include "base/slice.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum answer_filter {
  FILTER_STRICT,   /* the number after the first "#### " */
  FILTER_FLEXIBLE, /* the last number of the text */
  FILTER_COUNT
};

enum { ANSWER_IGNORED = 4 };

struct answer_match {
  pcre2_code *filter[FILTER_COUNT], *ignored[ANSWER_IGNORED]; /* owned */
  pcre2_match_data *found;
};

bool answer_match_init(struct answer_match *match, struct error *error);
void answer_match_release(struct answer_match *match);

bool answer_matches(const struct answer_match *match, enum answer_filter filter, struct slice answer,
                    struct slice reference);

#endif
