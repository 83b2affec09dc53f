/* The schedule: a pure state machine that decides which tokens of which sequences make the next step. No thread, clock,
 * socket or device: sequences, time and results come in; batches and tokens go out. One caller at a time.
 *
 * The policy of this version: sequences are admitted in order of priority, then arrival, each with the blocks of its
 * whole length; the oldest that is not paused runs alone, its prompt in chunks of at most limits.tokens. */
#ifndef SPATE_SCHEDULE_SCHEDULE_H
#define SPATE_SCHEDULE_SCHEDULE_H

#include "plan/backend.h"

enum sequence_state { SEQUENCE_WAITING, SEQUENCE_RUNNING, SEQUENCE_OUT };

/* A sequence belongs to whoever added it and must stay in place until schedule_remove. */
struct sequence {
  /* set by the owner before schedule_add */
  int32_t *tokens;  /* [n_prompt + max_tokens]: the prompt; generated tokens are appended by schedule_done */
  int32_t n_prompt; /* at least 1 */
  int32_t max_tokens;
  int32_t priority; /* lower runs first */
  struct sampling sampling;
  void *owner;

  /* the schedule's */
  enum sequence_state state;
  int32_t n_token;                  /* tokens known: prompt and generated */
  int32_t length;                   /* tokens in the KV cache, once the submitted steps are done */
  int32_t seat;                     /* while running */
  bool paused;                      /* its owner has no room for more tokens */
  bool in_flight;                   /* part of a step that is not done */
  bool leaving;                     /* removed while in flight */
  uint32_t n_block;                 /* of each group */
  uint64_t admitted;                /* order of admission */
  struct sequence *previous, *next; /* waiting list */
};

/* What a step produced: one token for each row that had an output. */
struct schedule_event {
  struct sequence *sequence;
  int32_t token;
  float logprob;
};

struct schedule_events {
  int n_event;
  const struct schedule_event *event; /* valid until the next schedule_done */
};

struct schedule_stats {
  int waiting, running;
  uint64_t prompt_tokens, generated_tokens, steps; /* since the start */
  double kv_used;                                  /* fraction of the fullest group */
};

struct schedule;

/* run_ahead: steps that may be out before the first is done. All memory is allocated here. NULL when there is none. */
struct schedule *schedule_new(const struct limits *limits, int n_group, int run_ahead);
void schedule_free(struct schedule *schedule);

/* Can a sequence of so many tokens ever run? The sentence says what is too small. */
bool schedule_fits(const struct schedule *schedule, int n_prompt, int max_tokens, struct error *error);

/* schedule_fits must hold. */
void schedule_add(struct schedule *schedule, struct sequence *sequence);

/* Takes a sequence out in any state. True: it is out now. False: it is part of a step that is not done; it comes out
 * by itself with an event of token −1. */
bool schedule_remove(struct schedule *schedule, struct sequence *sequence);

void schedule_pause(struct schedule *schedule, struct sequence *sequence, bool paused);

/* The next step's batch, NULL when there is nothing to do (or run_ahead + 1 steps are out). Valid until its done. */
const struct batch *schedule_next(struct schedule *schedule, uint64_t now_us);

/* The oldest step's results. The tokens of events are already appended to their sequences. */
void schedule_done(struct schedule *schedule, const struct result *result, struct schedule_events *events);

/* The steps that are out have failed: their results will not come, and no sequence is part of a step any more. What
 * their sequences hold in the cache is unknown: remove them. */
void schedule_abandon(struct schedule *schedule);

void schedule_stats(const struct schedule *schedule, struct schedule_stats *stats);

#endif
