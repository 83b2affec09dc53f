/* The bytes of an answer to /generate: one JSON object for a whole answer, one for each piece of a streamed one, framed
 * as a server-sent event or as a line. Pure functions. */
#ifndef SPATE_SERVER_ANSWER_TEXT_H
#define SPATE_SERVER_ANSWER_TEXT_H

#include "base/buffer.h"
#include "spate.h"

enum answer_form {
  ANSWER_WHOLE, /* one object when all is generated */
  ANSWER_SSE,
  ANSWER_NDJSON,
};

/* What the last object says of the whole generation. */
struct answer_end {
  spate_finish finish;
  int prompt_tokens, generated_tokens;
};

/* What one object tells that those before it have not. */
struct answer_part {
  struct slice text;
  bool has_logprobs;     /* they were asked for */
  struct slice logprobs; /* objects of answer_logprobs.h */
};

const char *answer_content_type(enum answer_form form);

/* {"text":…,"usage":{…},"finish_reason":…}; "logprobs":[…] follows each text when asked for. */
bool answer_write_whole(struct buffer *out, const struct answer_part *part, const struct answer_end *end);

/* One framed object of a stream: {"text":…,"finished":false,"generated_tokens":…}. */
bool answer_write_piece(struct buffer *out, enum answer_form form, const struct answer_part *part,
                        int generated_tokens);

/* The last one: finished is true, and usage and finish_reason are there as in a whole answer. */
bool answer_write_last(struct buffer *out, enum answer_form form, const struct answer_part *part,
                       const struct answer_end *end);

/* The last one of a stream that fails: finished is true and error says why. */
bool answer_write_failure(struct buffer *out, enum answer_form form, struct slice sentence, int generated_tokens);

#endif
