/* An inbox: the events of one client's requests, in order. A ring of bytes with one producer (the step thread) and one
 * consumer; events are copied in and read in place. When there is no room the producer is told so and pauses that
 * sequence; when the consumer makes room it wakes the producer. The consumer's descriptor is signalled once for all
 * events of a step. Lives as long as its client or a request holds it. */
#ifndef SPATE_RUNTIME_INBOX_H
#define SPATE_RUNTIME_INBOX_H

#include "base/error.h"
#include "base/slice.h"
#include "plan/batch.h"
#include "runtime/mailbox.h"

enum inbox_event_kind { INBOX_TEXT, INBOX_DONE, INBOX_FAILED, INBOX_PROMPT };
enum { INBOX_PROMPT_END = 8 };
enum finish_reason { FINISH_NONE, FINISH_STOP, FINISH_LENGTH, FINISH_CANCELLED };

struct inbox_event {
  uint64_t request;
  enum inbox_event_kind kind;
  int32_t answer;                    /* whose text it is */
  enum finish_reason finish;         /* DONE */
  enum error_code code;              /* FAILED; the text is then its sentence */
  int32_t token;                     /* the last the text came from; −1: none */
  int32_t generated, prompt, cached; /* tokens */
  int32_t n_logprob, n_top;
  int32_t stop_string;                  /* index of the request's stop string that ended it; −1: none */
  int32_t stop_token;                   /* its stop token that did; −1: none */
  int32_t prompt_end[INBOX_PROMPT_END]; /* TEXT, DONE: the prompt's last tokens; −1 before its first */
  const struct token_logprob *logprobs; /* [n_logprob][1 + n_top]: a token's own (PROMPT: those of the prompt's tokens,
                                           of which the first has NaN), then those of the likeliest */
  int32_t n_number;
  const float *numbers; /* [n_number] DONE: what a text has become */
  struct slice text;    /* this, numbers and logprobs, when taken: valid until the next take */
};

struct inbox;

/* The producer's side of all its inboxes. */
struct inbox_producer {
  struct mailbox *mailbox; /* borrowed; woken when room appears */
  struct inbox *pushed;    /* the producer's alone: inboxes with events whose consumers are not signalled yet, held */
};

/* Held once by the caller. The producer is borrowed. */
struct inbox *inbox_new(struct inbox_producer *producer, struct error *error);
void inbox_hold(struct inbox *inbox);
void inbox_drop(struct inbox *inbox); /* the last one frees it */

/* The client goes away: events are swallowed from now on. */
void inbox_abandon(struct inbox *inbox);

int inbox_descriptor(const struct inbox *inbox);

/* Producer. False: no room now. */
bool inbox_push(struct inbox *inbox, const struct inbox_event *event);

/* Producer, after pushing: signals the consumers of all inboxes that got events. */
void inbox_signal(struct inbox_producer *producer);

/* Consumer: up to max events; waits up to timeout_ms for the first (−1: for ever). */
int inbox_take(struct inbox *inbox, struct inbox_event *events, int max, int timeout_ms);

#endif
