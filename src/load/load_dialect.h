/* What requests and events look like: /generate, and OpenAI's completions and chat, as other servers speak them too. */
#ifndef SPATE_LOAD_LOAD_DIALECT_H
#define SPATE_LOAD_LOAD_DIALECT_H

#include "base/buffer.h"
#include "load/load_plan.h"

struct load_question {
  enum load_api api;
  const char *model; /* NULL: the field is left out */
  struct slice prompt;
  int max_tokens;
  bool allow_eos; /* otherwise the answer has max_tokens, if the server knows ignore_eos */
};

bool load_api_parse(const char *name, enum load_api *api);
const char *load_api_path(enum load_api api);

/* A greedy, streaming request. */
bool load_question_write(const struct load_question *question, struct buffer *out);

/* What an event said. */
struct load_event {
  bool has_text, last;                         /* last: why the answer ended, or [DONE] */
  int generated, prompt_tokens, output_tokens; /* −1: not told */
};

enum load_reading { LOAD_READ, LOAD_READ_ERROR, LOAD_UNREADABLE };

/* Reads the data of an event of any of them. Not LOAD_READ: with a sentence. */
enum load_reading load_event_read(struct slice data, struct load_event *event, struct error *error);

#endif
