/* The marks that lead from one part of an answer to another. */
#ifndef SPATE_SERVER_ANSWER_MARKS_H
#define SPATE_SERVER_ANSWER_MARKS_H

#include "server/answer_parts.h"

enum { MARKS_MAX = 2 * ANSWER_MARKS + DROPPED_MARKS + CALL_FORMS };

struct mark {
  const char *text;
  enum answer_part to;
  bool first; /* after nothing but spaces */
  int form;   /* of calls */
};

/* Those that may end the part that an answer is in; answers how many. */
int answer_marks(const struct answer_parts *parts, struct mark out[MARKS_MAX]);

/* Where a mark begins that is whole, or may become whole: the first place from `at` on. */
struct place {
  size_t at;
  const struct mark *mark; /* NULL: the text ends within one, or at its end */
};

struct place answer_mark_find(struct slice text, size_t at, const struct mark *marks, int n_mark);

/* How much of a mark (NULL: none) a text ends with that was cut. */
size_t answer_mark_begun(struct slice text, const char *mark);

/* gpt-oss's, which may begin the next header: it is a part of that. */
bool answer_mark_kept(const char *mark);

/* How many spaces end before a place. */
size_t answer_spaces_before(struct slice text, size_t at);

#endif
