/* How a model writes what it thinks and which tools it calls: found in its chat template, which has to teach it. */
#ifndef SPATE_SERVER_ANSWER_DIALECT_H
#define SPATE_SERVER_ANSWER_DIALECT_H

#include "base/slice.h"

#include <stdbool.h>

enum { ANSWER_MARKS = 2, DROPPED_MARKS = 3, CALL_FORMS = 2 };

/* Around thoughts. */
struct thought_marks {
  const char *sign;                                      /* stands in the template */
  const char *begins[ANSWER_MARKS], *ends[ANSWER_MARKS]; /* as templates write them, and as models do in its place */
  const char *dropped[DROPPED_MARKS];                    /* others that are part of no text; NULL: none */
  bool special;                                          /* they are special tokens, which texts are usually without */
};

/* Around calls, which tool_calls.h reads whatever they are like. */
struct call_form {
  const char *begin, *end; /* begin NULL: there is no such form; end NULL: the end of the answer */
  bool kept;               /* the begin is part of the call */
};

struct call_marks {
  const char *name, *sign;
  struct call_form forms[CALL_FORMS]; /* what the template teaches, and what models write in its place */
  const char *bare;                   /* what begins with one of these may be calls without a mark; NULL: nothing is;
                                         a line end: an answer that begins with a tool's name, a line end and an object */
};

struct answer_dialect {
  const struct thought_marks *thoughts; /* NULL: the model tells none */
  const struct call_marks *calls;
  bool channels; /* gpt-oss's: every part has a header that says what it is, and neither of the above counts */
  bool thinks;   /* an answer begins with a thought, whether or not it says so */
};

/* A template that teaches no calls is taken to be of a model that writes <tool_call>, as most do. */
struct answer_dialect answer_dialect_of(struct slice template);

#endif
