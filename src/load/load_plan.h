/* What a load asks for, and what came of it: one struct for each request, made before the run from a seed or from a
 * file, filled by the run (load_run.h), read by the tally. */
#ifndef SPATE_LOAD_LOAD_PLAN_H
#define SPATE_LOAD_LOAD_PLAN_H

#include "base/error.h"
#include "base/slice.h"

#include <jansson.h>

enum load_api { LOAD_GENERATE, LOAD_COMPLETIONS, LOAD_CHAT };

/* How a request ended. The names are those of the report. */
enum load_end {
  LOAD_NOT_SENT,
  LOAD_OK,
  LOAD_CONNECT, /* no connection */
  LOAD_BUSY,    /* 429 or 503 */
  LOAD_STATUS,  /* another status than 200 */
  LOAD_TOLD,    /* an error in the stream */
  LOAD_CUT,     /* the stream ended before the answer did */
  LOAD_GARBAGE, /* no HTTP, no events, no JSON */
  LOAD_TIMEOUT,
  LOAD_STOPPED, /* by the user */
  LOAD_END_COUNT
};
extern const char *const load_end_name[LOAD_END_COUNT];

enum { LOAD_LENGTH_MOST = 1024 }; /* what is drawn is cut off there */

/* Tokens: always the mean (spread 0), or log-normal with this mean and this standard deviation of the logarithm. */
struct load_length {
  double mean, spread;
};

struct load_request {
  int client;          /* requests of one client come one after another; −1: this one waits for none */
  int after;           /* the client's next request, or −1 */
  bool first;          /* of its client, or of none: it waits for no other */
  uint64_t due_us;     /* not before that much of the run is over, */
  uint64_t ready_us;   /* nor before the request ended that it waited for; 0: for none */
  int input, output;   /* tokens wanted; input 0: not known */
  struct slice prompt; /* empty: made of words */

  enum load_end end;
  int status;                /* of HTTP; 0: none came */
  uint64_t sent_us, done_us; /* after the run began */
  uint32_t *event_us;        /* [n_event], after it was sent: when tokens came; owned */
  int n_event, event_room;
  int prompt_tokens, output_tokens; /* as the server says; −1: it does not */
};

struct load_plan {
  struct load_request *request; /* [count] */
  int count;
  int clients;  /* that many ask at once, each what is next in the list; 0: each request at its time */
  double rate;  /* requests a second that were drawn; 0: none were */
  json_t *file; /* of a trace: what prompts point into */
};

struct load_shape {
  uint64_t seed;
  int requests;
  struct load_length input, output;
  bool even; /* arrivals are as far apart as the rate says; otherwise a Poisson process */
};

/* clients at once, or, where they are 0, arrivals at this rate. The lengths are the same for any of both. */
bool load_plan_draw(struct load_plan *plan, const struct load_shape *shape, int clients, double rate,
                    struct error *error);

/* A file of JSON lines: {"prompt": TEXT or "input_tokens": N, "max_tokens": N, "at": SECONDS, "client": N}; the last
 * two may be left out. */
bool load_plan_read(struct load_plan *plan, const char *path, struct error *error);

void load_plan_release(struct load_plan *plan);

/* When it should have been sent. */
static inline uint64_t load_due_us(const struct load_request *request) {
  return request->due_us > request->ready_us ? request->due_us : request->ready_us;
}

/* Whether there are prompts that are made of words. */
bool load_plan_makes_prompts(const struct load_plan *plan);

/* "128", or "MEAN:SPREAD" as in 161:1. */
bool load_length_parse(const char *text, struct load_length *length);

#endif
