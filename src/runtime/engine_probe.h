/* Does the engine still compute finite numbers? Requests that fail for want of them say nothing of it: what they ask
 * for may be what spoils them. After several in a row the step thread runs tokens of its own choice, which no client
 * has a part in, as any sequence of the schedule's; when none of them has finite logits, the engine is unhealthy, and
 * goes on: it is asked again from time to time. */
#ifndef SPATE_RUNTIME_ENGINE_PROBE_H
#define SPATE_RUNTIME_ENGINE_PROBE_H

#include "schedule/schedule.h"

#include <stdatomic.h>

enum {
  PROBE_AFTER = 8,          /* requests without finite logits and no token in between */
  PROBE_TRIES = 4,          /* tokens from all over the vocabulary: a network may have some that it was never taught */
  PROBE_AGAIN_US = 10000000 /* while unhealthy */
};

struct runtime;

/* The step thread's, but for `failed`. */
struct engine_probe {
  struct sequence sequence; /* has no owner */
  int32_t tokens[2];        /* its prompt, and what is drawn */
  bool scheduled;           /* the schedule has it */
  bool answered;            /* and it only has to come out */
  int n_spoilt;             /* requests in a row */
  int n_tried;              /* tokens that had no finite logits */
  uint64_t due_us;          /* when an unhealthy engine is asked again */
  atomic_bool failed;
};

/* A request has failed for want of finite logits, or has one more token: then the engine is well, whatever its own
 * tokens had. Beams and prompts' scores are no tokens of this kind. */
void probe_hear_request(struct engine_probe *probe, bool spoilt);

void probe_hear(struct runtime *runtime, const struct schedule_event *event);

/* Starts it when it is due. True while the schedule has it: a draining runtime waits until it has not. */
bool probe_review(struct runtime *runtime, bool draining);

#endif
