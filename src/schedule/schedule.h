/* The schedule: a pure state machine that decides which tokens of which sequences make the next step. No thread, clock,
 * socket or device: sequences, time and results come in; batches and tokens go out. One caller at a time. The policy is
 * described in docs/scheduling.md: who is admitted in admission.c, what goes into a step in step_form.c, who gives up
 * blocks in preemption.c, what is reused in prefix.c, how the sequences of one prompt share it in group.c, whose
 * adapters are on the device in adapter_slots.c. */
#ifndef SPATE_SCHEDULE_SCHEDULE_H
#define SPATE_SCHEDULE_SCHEDULE_H

#include "base/keyed_hash.h"
#include "plan/backend.h"
#include "schedule/image_places.h"

enum { SCHEDULE_TENANTS = 64 };

enum schedule_policy {
  SCHEDULE_CONTINUOUS, /* whoever waits joins at the next step */
  SCHEDULE_DYNAMIC,    /* a batch forms within a delay, or as soon as it is full, and runs to its end */
  SCHEDULE_STATIC,     /* a batch forms when it is full (or after a second) and runs to its end */
};

struct schedule_options {
  const struct limits *limits; /* copied */
  int n_group;                 /* 0: nothing is kept between steps, so that each prompt is computed whole, in one */
  int n_vector;                /* numbers of an output, which is a vector and no token; 0: outputs are tokens */
  int run_ahead;               /* steps that may be out before the first is done */
  int step_tile;               /* of the backend */
  int32_t text_tokens;         /* that a step of texts which keep nothing need not exceed; 0: no bound of its own */
  enum schedule_policy policy;
  uint32_t batch_delay_us; /* of SCHEDULE_DYNAMIC */
  double target_gap_us;    /* between two tokens of a stream, kept in 99 of 100 (gap_target.h); 0: none */
  bool no_reuse;           /* no block is found again by its tokens */
  bool mutual, axes;       /* plan_vision's of the decoder: what images are to it beside their rows */
  struct hash_key key;     /* of the blocks' hashes: secret, so that nobody can make two prefixes collide */
};

/* COMING: its group's first sequence runs, and this one will continue what that has computed. */
enum sequence_state { SEQUENCE_WAITING, SEQUENCE_RUNNING, SEQUENCE_OUT, SEQUENCE_COMING };

/* Sequences of one prompt. The first computes it; the others share its blocks and copy one when they first write into
 * it (group.c). In a beam search the owner chooses each token and what each sequence continues. */
struct sequence_group {
  /* set by the owner before schedule_add; the sequences are equal but for sampling.seed and owner */
  struct sequence *first; /* the others follow by `sibling` */
  int32_t n;              /* at least 1 */
  bool beams;

  /* the schedule's */
  bool forked;     /* the others are no longer COMING */
  int32_t n_in;    /* beams: sequences with a seat */
  uint32_t n_pool; /* beams: blocks taken at admission, all that the group may ever need, and not used yet */
  uint32_t pool;   /* the first of them */
};

/* An adapter of a sequence. The same id is the same content; never 0. */
struct sequence_adapter {
  uint64_t id;
  float scale;
};

/* Tokens of a prompt that do not tell what they stand for: those of an image. Equal hashes are equal content. */
struct sequence_span {
  int32_t first, count;
  struct hash128 hash;
};

/* A sequence belongs to whoever added it and must stay in place until it is out. */
struct sequence {
  /* set by the owner before schedule_add */
  int32_t *tokens;  /* [n_prompt + max_tokens]: the prompt; generated tokens are appended by schedule_done */
  int32_t n_prompt; /* at least 1 */
  int32_t max_tokens;
  int32_t priority;         /* lower runs first */
  int32_t tenant;           /* [0, SCHEDULE_TENANTS): those of one priority share by tokens */
  uint64_t deadline_us;     /* by which it must have begun; 0: none */
  struct hash128 salt;      /* blocks are shared among sequences of equal salt, adapters and scales only */
  struct sampling sampling; /* draw, target, index and history are the schedule's */
  int32_t n_first;          /* tokens of the first of two texts, where the network tells them apart; 0: it need not, */
  int32_t second_type;      /* the type of the tokens behind those */
  int32_t n_lead;           /* the first tokens of a text, not all, that its vector leaves out */
  bool scores_prompt;       /* an event for each prompt token but the first, with its log-probability */
  int32_t n_prompt_top;     /* and those of so many likeliest tokens */
  int32_t n_adapter;        /* of different ids, at most limits.adapters */
  struct sequence_adapter adapter[ROW_LORAS];
  int32_t n_span;
  const struct sequence_span *span; /* [n_span] ascending, of the prompt: blocks are shared where they are equal too */
  const int32_t *embed; /* [n_prompt] rows of the embedding pool, −1: the token; to be filled before schedule_ready, and
                           theirs until the sequence is out. NULL: none */
  int32_t n_blind;      /* its first tokens, whose rows are not there: they must be found in the cache. Set before
                           schedule_ready, or when they have all been computed */
  int32_t n_before;     /* generated tokens that it has behind its prompt: it was out and goes on */
  int32_t n_image;
  const struct image_span *image; /* [n_image] ascending, of a decoder with `mutual` or `axes`: where its tokens are,
                                     and which see each other; with `mutual` no span is the end of the prompt, nor has
                                     more tokens than schedule_image_most */
  int32_t behind;                 /* 0 or more: it takes its turn as if so many others had come before it */
  bool unready;                   /* its adapters or rows are not there yet: it waits for schedule_ready */
  struct sequence_group *group;   /* NULL: it is alone; schedule_add takes the first of a group with all the others */
  struct sequence *sibling;       /* the next of its group */
  void *owner;

  /* the schedule's */
  enum sequence_state state;
  uint64_t arrival, arrived_us;     /* order of schedule_add, and `behind` more; time of it */
  int32_t n_token;                  /* tokens known: prompt and generated */
  int32_t length;                   /* tokens in the KV cache, once the submitted steps are done */
  int32_t reached;                  /* the longest that the cache has ever held of it: what is below is recomputed */
  int32_t n_cached;                 /* prompt tokens that its first admission found in the cache */
  uint64_t started_us;              /* when that was; 0: not yet */
  int32_t n_preempted;              /* how often it was sent back to wait */
  int32_t n_step, n_out;            /* steps and outputs of it that are not done */
  int32_t seat;                     /* while running */
  bool paused;                      /* its owner has no room for more tokens */
  bool leaving;                     /* removed while part of a step */
  bool retreating;                  /* preempted while part of a step */
  bool returning;                   /* has been preempted before: waits for more room than a new one */
  bool blind;                       /* not all of n_blind was found: it waits unready, to be removed and added anew */
  bool chained;                     /* all its full blocks so far are findable */
  bool held;                        /* a beam that has nothing to continue yet */
  bool claims;                      /* slots for adapters that are not there, and keeps those that are */
  int32_t slot[ROW_LORAS];          /* of its adapters, while running */
  struct hash128 root;              /* that its blocks' hashes begin with */
  int32_t n_scored;                 /* prompt tokens whose scores are computed or on their way */
  uint32_t n_block;                 /* in its table */
  uint32_t n_findable;              /* the first of them, which others may share */
  struct hash128 hash;              /* of the last findable one */
  uint64_t paused_step;             /* the step that was being formed when it was paused */
  uint64_t passed_step;             /* the last step whose admission passed it over */
  int32_t ahead;                    /* how many start before it, at least; of the last schedule_rank */
  bool hopeless;                    /* as of then it begins after its deadline */
  struct sequence *previous, *next; /* waiting list */
};

enum schedule_event_kind {
  EVENT_TOKEN,  /* is appended to the sequence */
  EVENT_SCORE,  /* of a prompt token; they come in order, before the first token */
  EVENT_BEAM,   /* the likeliest next tokens; schedule_extend and schedule_fork say how the group goes on */
  EVENT_VECTOR, /* what the prompt has become; no token follows */
  EVENT_SPOILT, /* its logits are not finite numbers: nothing was drawn, and it is to be removed */
  EVENT_OUT,    /* a sequence that was removed while part of a step is out */
};

/* What a step produced, for each row that had an output. */
struct schedule_event {
  enum schedule_event_kind kind;
  struct sequence *sequence;
  int32_t token; /* drawn; of the prompt; the likeliest */
  float logprob;
  const float *vector;             /* [n_vector] the backend's, until its next collect */
  const struct token_logprob *top; /* sampling.n_top or n_prompt_top of them; the backend's, until its next collect */
};

struct schedule_events {
  int n_event;
  const struct schedule_event *event; /* valid until the next schedule_done */
};

struct schedule_stats {
  int waiting, running;
  double kv_used; /* fraction of the blocks that sequences hold */
  int adapters;   /* in slots, or coming there */
  /* with a target between tokens, now: */
  double gap_p99_us;
  int gap_prompt_tokens; /* that the last step with streams was allowed */
  int gap_sequences;     /* that may run */
  /* since the start */
  uint64_t steps, generated_tokens;
  uint64_t prompt_tokens;     /* prompt tokens computed, each once */
  uint64_t recomputed_tokens; /* computed again after a preemption */
  uint64_t queried_tokens;    /* prompt tokens of admitted sequences */
  uint64_t cached_tokens;     /* those of them found in the cache */
  uint64_t preemptions;
  uint64_t gaps_missed; /* steps with streams that took longer than the target */
};

struct schedule;

/* All memory is allocated here. NULL when there is none. */
struct schedule *schedule_new(const struct schedule_options *options);
void schedule_free(struct schedule *schedule);

/* Can a sequence of so many tokens, or a search of so many beams (0: no search), ever run? The sentence says what is
 * too small. */
bool schedule_fits(const struct schedule *schedule, int n_prompt, int max_tokens, int n_beam, struct error *error);

/* How many tokens of a span of a decoder with `mutual`, which are of one step, always find room in one; in a sequence
 * whose prompt is scored there are fewer outputs than that. */
int schedule_image_most(const struct schedule *schedule, bool scores_prompt);

/* schedule_fits must hold. Each sequence of a group is removed by itself, and all are when the first is. */
void schedule_add(struct schedule *schedule, struct sequence *sequence, uint64_t now_us);

/* Takes a sequence out in any state. True: it is out now. False: it is part of a step that is not done; it comes out
 * by itself with EVENT_OUT. */
bool schedule_remove(struct schedule *schedule, struct sequence *sequence);

void schedule_pause(struct schedule *schedule, struct sequence *sequence, bool paused);

/* After an EVENT_BEAM: the sequence goes on with this token. */
void schedule_extend(struct schedule *schedule, struct sequence *sequence, int32_t token);

/* Makes one beam a copy of another of its group, tokens and all; neither is part of a step. */
void schedule_fork(struct schedule *schedule, struct sequence *to, const struct sequence *from);

/* A sequence that was added unready, with its siblings, has its adapters and its rows now. */
void schedule_ready(struct schedule *schedule, struct sequence *sequence);

/* How many tokens of one that is unready for want of rows alone would be found in the cache now. They may be gone when
 * it starts. */
int32_t schedule_found(const struct schedule *schedule, const struct sequence *sequence);

/* Nobody runs or waits, and what is in the slots is no longer known. */
void schedule_slots_forget(struct schedule *s);

/* An adapter that is to be put into a slot, which no step names now; its owner says when it is there, or that it cannot
 * be: then those that name it are to be removed. The sequence names it, and waits. */
struct slot_want {
  int slot;
  uint64_t id;
  struct sequence *sequence;
};

/* After each schedule_next: false when there is no more. */
bool schedule_slot_wanted(struct schedule *schedule, struct slot_want *want);
void schedule_slot_filled(struct schedule *schedule, int slot, bool filled);

/* Counts for each waiting sequence how many are ahead of it, and whether it can still begin before its deadline. Does
 * nothing when no waiting one has a deadline. */
void schedule_rank(struct schedule *schedule, uint64_t now_us);

/* What so many starts take at the pace of the last ones; 0: not known. */
int64_t schedule_wait_us(const struct schedule *schedule, int ahead);

/* How long the device may do something else (encode images) before the next step, so that streams keep their pace;
 * negative: as long as it likes, since nothing runs. */
double schedule_aside_us(const struct schedule *schedule);
/* It has done so for so long: prompts of the next step get less, and streams' gaps are told with it. */
void schedule_aside(struct schedule *schedule, double us);

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

/* Blocks that no sequence holds hold nothing from now on: no prefix is found in them. */
void schedule_forget(struct schedule *schedule);

void schedule_stats(const struct schedule *schedule, struct schedule_stats *stats);

#endif
