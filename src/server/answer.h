/* One generation's answer to one HTTP request: takes the engine's events in order and writes the response. While a
 * client is slower than the engine, its text waits here and is merged, so that nobody else's does; one that leaves too
 * much waiting loses its request. Belongs to the thread of its loop. */
#ifndef SPATE_SERVER_ANSWER_H
#define SPATE_SERVER_ANSWER_H

#include "http/http_request.h"
#include "server/answer_text.h"

struct answer {
  struct answer *next; /* in its loop's table */
  uint64_t engine_id;  /* of spate_submit */
  uint64_t http_id;    /* finds the request, while its client is there */
  enum answer_form form;
  bool begun;                 /* the stream's head is out */
  bool stopped;               /* the client is slow: text waits */
  bool ended;                 /* the engine's last event has come */
  bool left;                  /* the client has gone: nobody else points here */
  bool overflowed;            /* more waited than may */
  struct answer_end end;      /* generated_tokens is kept up to date */
  struct buffer text;         /* ANSWER_WHOLE: all so far; else what waits for a slow client */
  const spate_engine *engine; /* tells tokens' texts, when log-probabilities are asked for; else NULL */
  struct buffer logprobs;     /* those of the text that is not sent yet */
};

struct answer *answer_new(enum answer_form form, uint64_t http_id); /* NULL when out of memory */
void answer_free(struct answer *answer);

/* Before its first event: the client asked for log-probabilities; the engine tells tokens' texts. */
void answer_want_logprobs(struct answer *answer, const spate_engine *engine);

enum answer_progress {
  ANSWER_GOES_ON,
  ANSWER_OVER,     /* the response is complete */
  ANSWER_TOO_SLOW, /* more waits than may: cancel; the answer ends with the engine's last event */
};

/* An event of the engine. */
enum answer_progress answer_take(struct answer *answer, struct http_request *request, const spate_event *event);

/* The slow client has caught up. */
enum answer_progress answer_drain(struct answer *answer, struct http_request *request);

#endif
