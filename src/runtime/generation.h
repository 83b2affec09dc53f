/* A generation: one sequence of a request, from tokens to events. Belongs to the step thread while it runs. */
#ifndef SPATE_RUNTIME_GENERATION_H
#define SPATE_RUNTIME_GENERATION_H

#include "runtime/generation_rules.h"
#include "runtime/inbox.h"
#include "schedule/schedule.h"
#include "text/detokenizer.h"
#include "text/stop_matcher.h"

/* On its way to the inbox: what two tokens (one in flight when it paused) and a stop matcher may add. */
enum {
  GENERATION_TEXT_MAX = 2 * (DETOKENIZER_OUT_MAX + LIMIT_STOP_BYTES),
  GENERATION_LOGPROBS_MAX = 2 * (1 + TOP_LOGPROBS),
};

struct request;

struct generation {
  struct request *request;
  int32_t index; /* of its request's generations: the answer's number, or the beam's */
  struct sequence sequence;
  struct detokenizer detokenizer;
  struct stop_matcher stop;
  int32_t generated, last_token;
  bool scheduled; /* the schedule holds the sequence */
  bool ended;     /* no more tokens; the last event may still be on its way */
  bool over;      /* the last event is told, or another has spoken for the whole request */
  enum finish_reason finish;
  int32_t stop_token; /* of the request's stop tokens, the one that ended it; −1: none */
  size_t n_text;
  uint8_t text[GENERATION_TEXT_MAX];
  int32_t n_logprob; /* tokens whose log-probabilities wait: each the token's, then those of the likeliest */
  struct token_logprob logprobs[GENERATION_LOGPROBS_MAX];
  uint64_t last_us; /* of the last token */
};

/* One more token, and its log-probability with those of the likeliest: text goes to `text`; sets `ended` and `finish`
 * when it was the last. */
void generation_accept(struct generation *generation, int32_t token, float logprob, const struct token_logprob *top);

/* Would the text end with this token, by a stop string? The generation stays as it is. */
bool generation_would_stop(const struct generation *generation, int32_t token);

/* The text of a token that a beam goes on with is looked at for stop strings, and told later. */
void generation_skim(struct generation *generation, int32_t token);

void generation_end(struct generation *generation, enum finish_reason finish);

/* Pushes what there is to tell; true when nothing is left waiting. */
bool generation_deliver(struct generation *generation);

#endif
