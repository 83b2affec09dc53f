/* Split regexes: written for Oniguruma in tokenizer.json, run by PCRE2 with its just-in-time compiler. */
#ifndef SPATE_TEXT_SPLIT_PATTERN_H
#define SPATE_TEXT_SPLIT_PATTERN_H

#include "text/tokenizer_spec.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct split_pattern {
  pcre2_code *code; /* owned */
  enum split_mode mode;
  bool inverted;
  bool bytes;    /* each byte is a character */
  bool compiled; /* to machine code */
};

/* Refuses a pattern that does not compile, or that would mean something else to PCRE2 than to its author. bytes: it is
 * for texts that need not be UTF-8. */
bool split_pattern_open(struct split_pattern *split, struct slice pattern, bool bytes, struct error *error);
void split_pattern_close(struct split_pattern *split);

/* The first non-empty match at or after `from`: false when there is none or when matching fails (then *error is set:
 * its code starts as ERROR_NONE). match is a block made for one pair. */
bool split_pattern_next(const struct split_pattern *split, pcre2_match_data *match, struct slice text, size_t from,
                        size_t *start, size_t *end, struct error *error);

/* The regexes of well-known families. */
extern const char split_gpt2[], split_llama3[], split_qwen2[], split_digit[];

/* White space; punctuation, with ASCII's symbols. */
extern const char split_space[], split_punctuation[];

#endif
