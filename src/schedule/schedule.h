/* The schedule: a pure state machine that decides which tokens of which sequences make the next step. No thread, clock,
 * socket or device: sequences, time and results come in; batches and tokens go out. One caller at a time. The policy is
 * described in docs/scheduling.md: who is admitted in admission.c, what goes into a step in step_form.c, who gives up
 * blocks in preemption.c, what is reused in prefix.c. */
#ifndef SPATE_SCHEDULE_SCHEDULE_H
#define SPATE_SCHEDULE_SCHEDULE_H

#include "base/keyed_hash.h"
#include "plan/backend.h"

enum { SCHEDULE_TENANTS = 64 };

enum schedule_policy {
  SCHEDULE_CONTINUOUS, /* whoever waits joins at the next step */
  SCHEDULE_DYNAMIC,    /* a batch forms within a delay, or as soon as it is full, and runs to its end */
  SCHEDULE_STATIC,     /* a batch forms when it is full (or after a second) and runs to its end */
};

struct schedule_options {
  const struct limits *limits; /* copied */
  int n_group;
  int run_ahead; /* steps that may be out before the first is done */
  enum schedule_policy policy;
  uint32_t batch_delay_us; /* of SCHEDULE_DYNAMIC */
  bool no_reuse;           /* no block is found again by its tokens */
  struct hash_key key;     /* of the blocks' hashes: secret, so that nobody can make two prefixes collide */
};

enum sequence_state { SEQUENCE_WAITING, SEQUENCE_RUNNING, SEQUENCE_OUT };

/* A sequence belongs to whoever added it and must stay in place until it is out. */
struct sequence {
  /* set by the owner before schedule_add */
  int32_t *tokens;  /* [n_prompt + max_tokens]: the prompt; generated tokens are appended by schedule_done */
  int32_t n_prompt; /* at least 1 */
  int32_t max_tokens;
  int32_t priority;         /* lower runs first */
  int32_t tenant;           /* [0, SCHEDULE_TENANTS): those of one priority share by tokens */
  struct hash128 salt;      /* blocks are shared among sequences of equal salt only */
  struct sampling sampling; /* index and history are the schedule's */
  void *owner;

  /* the schedule's */
  enum sequence_state state;
  uint64_t arrival, arrived_us;     /* order and time of schedule_add */
  int32_t n_token;                  /* tokens known: prompt and generated */
  int32_t length;                   /* tokens in the KV cache, once the submitted steps are done */
  int32_t reached;                  /* the longest that the cache has ever held of it: what is below is recomputed */
  int32_t n_cached;                 /* prompt tokens that its first admission found in the cache */
  int32_t n_step, n_out;            /* steps and outputs of it that are not done */
  int32_t seat;                     /* while running */
  bool paused;                      /* its owner has no room for more tokens */
  bool leaving;                     /* removed while part of a step */
  bool retreating;                  /* preempted while part of a step */
  bool returning;                   /* has been preempted before: waits for more room than a new one */
  bool chained;                     /* all its full blocks so far are findable */
  uint32_t n_block;                 /* in its table */
  uint32_t n_findable;              /* the first of them, which others may share */
  struct hash128 hash;              /* of the last findable one */
  uint64_t paused_step;             /* the step that was being formed when it was paused */
  uint64_t passed_step;             /* the last step whose admission passed it over */
  struct sequence *previous, *next; /* waiting list */
};

/* What a step produced: one token for each row that had an output. */
struct schedule_event {
  struct sequence *sequence;
  int32_t token; /* −1: a sequence that was removed while part of a step is out */
  float logprob;
  const struct token_logprob *top; /* sequence->sampling.n_top of them; the backend's, until its next collect */
};

struct schedule_events {
  int n_event;
  const struct schedule_event *event; /* valid until the next schedule_done */
};

struct schedule_stats {
  int waiting, running;
  double kv_used; /* fraction of the blocks that sequences hold */
  /* since the start */
  uint64_t steps, generated_tokens;
  uint64_t prompt_tokens;     /* prompt tokens computed, each once */
  uint64_t recomputed_tokens; /* computed again after a preemption */
  uint64_t queried_tokens;    /* prompt tokens of admitted sequences */
  uint64_t cached_tokens;     /* those of them found in the cache */
  uint64_t preemptions;
};

struct schedule;

/* All memory is allocated here. NULL when there is none. */
struct schedule *schedule_new(const struct schedule_options *options);
void schedule_free(struct schedule *schedule);

/* Can a sequence of so many tokens ever run? The sentence says what is too small. */
bool schedule_fits(const struct schedule *schedule, int n_prompt, int max_tokens, struct error *error);

/* schedule_fits must hold. */
void schedule_add(struct schedule *schedule, struct sequence *sequence, uint64_t now_us);

/* Takes a sequence out in any state. True: it is out now. False: it is part of a step that is not done; it comes out
 * by itself with an event of token −1. */
bool schedule_remove(struct schedule *schedule, struct sequence *sequence);

void schedule_pause(struct schedule *schedule, struct sequence *sequence, bool paused);

/* The next step's batch, NULL when there is nothing to do now (or run_ahead + 1 steps are out). Valid until its done.
 * Steps are computed in the order in which they are given out. */
const struct batch *schedule_next(struct schedule *schedule, uint64_t now_us);

/* After a NULL from schedule_next: microseconds until there may be work by the passing of time alone; −1: never. */
int64_t schedule_due(const struct schedule *schedule, uint64_t now_us);

/* The oldest step's results. The tokens of events are already appended to their sequences. */
void schedule_done(struct schedule *schedule, const struct result *result, uint64_t now_us,
                   struct schedule_events *events);

/* The steps that are out have failed: their results will not come, and no sequence is part of a step any more. What
 * their sequences hold in the cache is unknown: remove them. */
void schedule_abandon(struct schedule *schedule);

void schedule_stats(const struct schedule *schedule, struct schedule_stats *stats);

#endif
