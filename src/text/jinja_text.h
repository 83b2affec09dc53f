/* What filters and methods of texts share. Characters keep their marks wherever they go. */
#ifndef SPATE_TEXT_JINJA_TEXT_H
#define SPATE_TEXT_JINJA_TEXT_H

#include "text/jinja_rendering.h"

/* The character at byte `at` (which must be within the text): its size in bytes. */
size_t text_character(struct marked text, size_t at, uint32_t *code);
bool text_is_space(uint32_t code); /* as Python's str.isspace */

/* Where the line that begins at `at` ends, as str.splitlines has it; *ending: the bytes of what ends it, 0: the text
 * does. */
size_t text_line(struct marked text, size_t at, size_t *ending);

/* Drops the characters of a set, or white space (NULL), from the ends. */
bool text_strip(struct rendering *r, struct marked text, const struct marked *set, bool left, bool right,
                struct datum *out);

/* Byte position of part at or after `from`, or SIZE_MAX. */
size_t text_find(struct marked text, size_t from, struct marked part);
size_t text_find_last(struct marked text, size_t end, struct marked part); /* the last one that ends at or before */

/* The first `count` occurrences (below 0: all). */
bool text_replace(struct rendering *r, struct marked text, struct marked from, struct marked to, int64_t count,
                  struct datum *out);

enum letter_case {
  CASE_UPPER,
  CASE_LOWER,
  CASE_TITLE,      /* a capital after anything that is no letter: the method */
  CASE_WORDS,      /* after white space, a hyphen or an opening bracket: the filter */
  CASE_CAPITALIZE, /* the first character only */
  CASE_SWAP,
  CASE_FOLD,
};
bool text_recase(struct rendering *r, struct marked text, enum letter_case letter_case, struct datum *out);

/* Whether there are letters that have a case, and all of them are capital, or small. */
bool text_has_case(struct rendering *r, struct marked text, bool upper, bool *result);

/* Whether there are, and those that begin words are capital and the others small. */
bool text_has_titles(struct rendering *r, struct marked text, bool *result);

/* str() of the items with the separator between them. */
bool text_join(struct rendering *r, const struct datum_list *items, struct marked separator, struct datum *out);

#endif
