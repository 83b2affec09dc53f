/* A model's answer taken apart as it comes: what it thinks, what it says, which tools it calls. What comes out is the
 * same however the text was cut into pieces. A call comes out when it is complete; one that cannot be read is content,
 * as the model wrote it. Pure, but for memory: belongs to who feeds it. */
#ifndef SPATE_SERVER_ANSWER_PARTS_H
#define SPATE_SERVER_ANSWER_PARTS_H

#include "base/buffer.h"
#include "base/json.h"
#include "base/limits.h"
#include "server/answer_dialect.h"
#include "server/answer_seam.h"

enum answer_part { PART_CONTENT, PART_THOUGHT, PART_CALLS, PART_HEADER /* of gpt-oss's messages: told to nobody */ };

struct part_sink {
  /* CONTENT or THOUGHT; false: no more may wait. */
  bool (*text)(void *user, enum answer_part part, struct slice text);
  bool (*call)(void *user, struct slice name, struct slice arguments); /* an object of JSON */
  void *user;
};

struct answer_parts {
  struct answer_dialect dialect;
  const json_t *tools; /* borrowed: those that may be called; NULL: calls are content */
  struct part_sink sink;
  enum answer_part part; /* that `held` goes on with */
  struct buffer held;    /* what it is that is not known yet: spaces, the beginning of a mark, a call with its mark */
  size_t seen;           /* of a call or a header: where the search for its end goes on */
  size_t spaces;         /* that ended what was told last */
  struct answer_seam seam;
  bool said;       /* something else than spaces has come as content */
  bool framed;     /* the first of the dropped marks has come */
  bool after_mark; /* spaces that follow are dropped */
  bool foreign;    /* a message of gpt-oss's to somebody whom nobody here knows */
  struct {
    size_t at;     /* in `held`: where it begins, behind its mark */
    size_t spaces; /* there: before its mark */
    size_t missed; /* there: the end of the first mark of its end that was taken for a part of an argument; 0: none */
    int n_missed;
    int form;                             /* of the marks' */
    bool bare;                            /* it has no mark: tools have to be known ones */
    bool exact;                           /* nothing may follow it */
    char name[LIMIT_TOOL_NAME_BYTES + 1]; /* of the tool, where a header had it */
  } call;                                 /* of PART_CALLS */
  size_t n_call;                          /* told: no more than LIMIT_TOOL_CALLS */
  int n_bare;                             /* texts that looked like calls without a mark and were none */
  bool failed;                            /* the sink took no more, or memory is short */
};

/* prompt_end: the last bytes of the prompt, which may have begun a thought. */
void answer_parts_init(struct answer_parts *parts, struct answer_dialect dialect, const json_t *tools,
                       struct slice prompt_end, struct part_sink sink);
void answer_parts_release(struct answer_parts *parts);

/* The next piece; false once failed. */
bool answer_parts_take(struct answer_parts *parts, struct slice text);

/* There is no more. */
bool answer_parts_end(struct answer_parts *parts);

#endif
