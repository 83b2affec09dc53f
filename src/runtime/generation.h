/* A generation: one request on its way through the runtime. Submitted by any thread, then owned by a worker (which
 * tokenizes), then by the step thread until its last event is in the inbox. Only `cancelled` is touched by others. */
#ifndef SPATE_RUNTIME_GENERATION_H
#define SPATE_RUNTIME_GENERATION_H

#include "runtime/generation_rules.h"
#include "runtime/inbox.h"
#include "schedule/schedule.h"
#include "text/detokenizer.h"
#include "text/stop_matcher.h"

struct generation_params {
  struct slice prompt;   /* text, when n_token is 0 */
  bool chat;             /* the prompt is a conversation in JSON */
  const int32_t *tokens; /* instead of text */
  int32_t n_token;
  int32_t max_tokens;
  struct sampling sampling; /* index and history are the schedule's, rules the generation's */
  struct rule_params rules;
  const struct slice *stop;
  int32_t n_stop;
  bool show_stop; /* what stopped it is part of the text */
  int32_t priority;
  float timeout_s;         /* from submission to the last token; 0: none */
  int32_t tenant;          /* [0, SCHEDULE_TENANTS): those of one priority share by tokens */
  struct slice cache_salt; /* cached prefixes are shared among requests of one salt only */
};

/* On its way to the inbox: what two tokens (one in flight when it paused) and a stop matcher may add. */
enum {
  GENERATION_TEXT_MAX = 2 * (DETOKENIZER_OUT_MAX + LIMIT_STOP_BYTES),
  GENERATION_LOGPROBS_MAX = 2 * (1 + TOP_LOGPROBS),
};

struct generation {
  struct letter letter; /* first: a letter is its generation */
  struct sequence sequence;
  uint64_t id;
  struct inbox *inbox; /* held */
  atomic_bool cancelled;
  size_t charge; /* bytes counted against LIMIT_QUEUED_BYTES */

  char *prompt; /* owned; freed once tokenized */
  size_t prompt_size;
  bool chat; /* the prompt is a conversation in JSON */
  int32_t max_tokens;
  struct logit_rules *rules; /* owned */
  bool show_stop;
  struct error error; /* code set: it ends with FAILED */

  struct detokenizer detokenizer;
  struct stop_matcher stop;
  int32_t generated, last_token;
  bool scheduled; /* the schedule holds the sequence */
  bool ended;     /* no more tokens; the last event may still be on its way */
  enum finish_reason finish;
  size_t n_text;
  uint8_t text[GENERATION_TEXT_MAX];
  int32_t n_logprob; /* tokens whose log-probabilities wait: each the token's, then those of the likeliest */
  struct token_logprob logprobs[GENERATION_LOGPROBS_MAX];
  uint64_t submitted_us, last_us;     /* of the submission and the last token */
  uint64_t deadline_us;               /* UINT64_MAX: none */
  struct generation *previous, *next; /* the step thread's list of all it owns */
};

/* Copies everything; the inbox is held; rules (of rules_compile) become its own, on failure too. NULL with a sentence
 * when a stop string is refused or memory is short. */
struct generation *generation_new(const struct generation_params *params, struct logit_rules *rules,
                                  struct inbox *inbox, struct error *error);
void generation_free(struct generation *generation);

/* Moves the prompt's ids into the sequence, with room for what will be generated. */
bool generation_set_tokens(struct generation *generation, const int32_t *tokens, int32_t count, struct error *error);

/* One more token: its text goes to `text`; sets `ended` and `finish` when it was the last. */
void generation_accept(struct generation *generation, const struct schedule_event *event);

void generation_end(struct generation *generation, enum finish_reason finish);
void generation_fail(struct generation *generation, const struct error *error);

/* Pushes what there is to tell; true when nothing is left waiting. */
bool generation_deliver(struct generation *generation);

#endif
