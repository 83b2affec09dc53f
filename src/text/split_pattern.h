/* Split regexes: written for Oniguruma in tokenizer.json, run by PCRE2 with its just-in-time compiler. */
#ifndef SPATE_TEXT_SPLIT_PATTERN_H
#define SPATE_TEXT_SPLIT_PATTERN_H

#include "text/tokenizer_spec.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* What a pattern sees of a piece. */
enum split_view {
  VIEW_TEXT,    /* its characters */
  VIEW_BYTES,   /* each byte as a character */
  VIEW_LETTERS, /* the letters of its bytes (byte_level.h) */
  VIEW_MARKS,   /* U+2581 for each space */
};

struct split_pattern {
  pcre2_code *code; /* owned */
  enum split_mode mode;
  bool inverted;
  enum split_view view;
  bool compiled; /* to machine code */
};

/* What matching in one text needs, and takes: a regex made for it takes time in proportion to the square of a text, and
 * more, within all limits of a single match. The time is that of all that the thread does from the first look on:
 * matching, and what is done between matches, which is in proportion to the bytes gone through. So is what it may take:
 * a long text is not refused for its length. */
struct split_match {
  pcre2_match_data *data; /* for one pair; owned */
  uint32_t count;         /* of matches that were looked for */
  uint64_t gone;          /* bytes gone through, each time by each pattern, and one more for each match */
  uint64_t since, spent;  /* when time was first looked at, and the thread's own when that was too long; 0: not yet */
};

bool split_match_init(struct split_match *match);
void split_match_release(struct split_match *match);

/* Refuses a pattern that does not compile, or that would mean something else to PCRE2 than to its author. */
bool split_pattern_open(struct split_pattern *split, struct slice pattern, enum split_view view, struct error *error);
void split_pattern_close(struct split_pattern *split);

/* The first non-empty match at or after `from` of a text as the pattern sees it: false when there is none or when
 * matching fails, or the text has taken longer than LIMIT_SPLIT_SECONDS and LIMIT_SPLIT_BYTE_NS allow it, first by the
 * clock and then once more of the thread's own time (then *error is set: its code starts as ERROR_NONE). */
bool split_pattern_next(const struct split_pattern *split, struct split_match *match, struct slice text, size_t from,
                        size_t *start, size_t *end, struct error *error);

/* The regexes of well-known families. */
extern const char split_gpt2[], split_llama3[], split_qwen2[], split_digit[];

/* White space; punctuation, with ASCII's symbols; of bytes the letters of which are numbers: digits and ² ³ ¹ ¼ ½ ¾. */
extern const char split_space[], split_punctuation[], split_byte_number[], split_byte_numbers[];

#endif
