/* What the schedule's files share. Internal to the room. */
#ifndef SPATE_SCHEDULE_SCHEDULE_STATE_H
#define SPATE_SCHEDULE_SCHEDULE_STATE_H

#include "schedule/adapter_slots.h"
#include "schedule/gap_target.h"
#include "schedule/kv_blocks.h"
#include "schedule/pace.h"
#include "schedule/schedule.h"
#include "schedule/step.h"
#include "schedule/waiting.h"

enum { REUSE_BLOCK_MAX = 256 }; /* tokens of the largest block that is reused */

struct schedule {
  struct limits limits;
  int step_tile;
  int32_t text_tokens;
  int n_group, n_vector;
  enum schedule_policy policy;
  uint64_t batch_delay_us;
  bool reuse;
  bool mutual;
  struct hash_key key;

  struct kv_blocks blocks;
  struct waiting waiting;
  struct adapter_slots slots;
  struct sequence **running; /* [limits.seats] by priority and then arrival */
  int n_running, n_retreating;
  int *free_seat; /* [limits.seats] stack */
  int n_free_seat;
  uint32_t *tables; /* [limits.seats][table_size] block numbers */
  uint32_t table_size;

  struct step *steps;        /* ring of n_step */
  int n_step, oldest, n_out; /* steps out: n_out of them, from oldest on */
  uint64_t n_formed;         /* steps formed or tried */
  uint64_t done_us;          /* when the last step was done */
  bool rested;               /* there was nothing to do since */
  int batch_left;            /* sequences that the forming batch may still admit; not for CONTINUOUS */
  struct start_pace starts;
  int n_examined; /* waiting sequences looked at for the step that is being formed */
  struct pace pace;
  double aside_us;               /* that the device has done something else since the last step was formed */
  double step_us;                /* that the last step took */
  struct step_shape streams;     /* of that one, alone */
  struct gap_target gap;         /* instead of pace, when there is a target */
  struct schedule_event *events; /* [limits.seats + limits.outputs] */
  uint64_t n_arrival;
  struct schedule_stats stats;
};

static inline uint32_t *sequence_table(const struct schedule *s, const struct sequence *q) {
  return s->tables + (size_t)q->seat * s->table_size;
}

static inline uint32_t blocks_for(const struct schedule *s, int64_t tokens) {
  return (uint32_t)((tokens + s->limits.block_size - 1) / s->limits.block_size);
}

static inline bool sequence_beams(const struct sequence *q) { return q->group && q->group->beams; }

/* Tokens that it will have when all that is out is done. */
static inline int32_t sequence_expected(const struct sequence *q) { return q->n_token + q->n_out; }

/* Has it tokens to compute now? A beam has none until its owner has chosen. */
static inline bool sequence_runnable(const struct sequence *q) {
  if (q->held || (sequence_beams(q) && q->n_out > 0)) return false;
  return !q->paused && !q->leaving && !q->retreating && q->length < sequence_expected(q) &&
         sequence_expected(q) < q->n_prompt + q->max_tokens;
}

/* One token after a finished prompt: a running stream. */
static inline bool sequence_decodes(const struct sequence *q) {
  return q->length >= q->n_prompt && sequence_expected(q) - q->length == 1;
}

/* --- running.c: seats, and the list of those that run ------------------------------------------------------------- */

/* Gives a sequence a seat (there must be a free one) and its place in the order. */
void running_enter(struct schedule *s, struct sequence *q);
/* Takes its seat and drops its blocks. */
void running_leave(struct schedule *s, struct sequence *q);
void blocks_drop(struct schedule *s, struct sequence *q);

/* --- preemption.c ------------------------------------------------------------------------------------------------- */

/* A block for a running sequence. When none is left the newest of the lowest priority goes back to wait, to be computed
 * again; NO_BLOCK when it is not there yet, or when it is this sequence that had to go. */
uint32_t block_reach(struct schedule *s, const struct sequence *q);
/* The same for all that `tokens` tokens need. */
bool blocks_reach(struct schedule *s, struct sequence *q, int64_t tokens);

/* Sends a running sequence back to wait; at once, or when the steps that it is part of are done. */
void sequence_preempt(struct schedule *s, struct sequence *q);

/* After its last step: a sequence that was preempted or removed meanwhile goes. True: it is out. */
bool sequence_settle(struct schedule *s, struct sequence *q);

/* --- prefix.c ----------------------------------------------------------------------------------------------------- */

struct prefix_match {
  uint32_t n_block; /* leading blocks found */
  uint32_t n_idle;  /* those of them that nobody holds */
  struct hash128 hash;
  bool coming; /* a running sequence is about to compute the next one */
};

/* What of a waiting sequence is in the cache; the table receives the blocks, which are not held yet. */
struct prefix_match prefix_find(const struct schedule *s, const struct sequence *q, uint32_t *table);

/* `length` tokens of a sequence are in the cache now: full blocks become findable. */
void prefix_publish(struct schedule *s, struct sequence *q, int32_t length);

/* Nobody is to find the blocks that it holds any more, nor what it computes from now on. */
void prefix_disown(struct schedule *s, struct sequence *q);

/* --- group.c ------------------------------------------------------------------------------------------------------ */

/* Seats that a sequence takes when it is admitted: a beam search's all together. */
uint32_t group_seats(const struct sequence *q);

/* Blocks that a beam search may ever use at once. */
uint32_t beams_blocks(const struct schedule *s, int64_t n_prompt, int64_t max_tokens, int64_t n_beam);

/* The first beam has been admitted: the others, and the blocks of all. One has left. */
void beams_enter(struct schedule *s, struct sequence *first);
void beams_leave(struct schedule *s, struct sequence_group *group);

/* A block from where the sequence has its blocks (NO_BLOCK: none is left), and back. */
uint32_t block_take(struct schedule *s, const struct sequence *q);
void block_drop(struct schedule *s, const struct sequence *q, uint32_t block);

/* Makes the block that the next token goes into its own: copied in this step if others hold it. False as
 * blocks_reach. */
bool block_own(struct schedule *s, struct step *step, struct sequence *q);

/* Will others continue what this sequence computes of their prompt? */
static inline bool group_forks(const struct sequence *q) {
  return q->group && !q->group->forked && q->group->first == q;
}

/* Starts those of its group, or of all, whose prompt is computed. */
void group_fork(struct schedule *s, struct sequence *first);
void groups_fork(struct schedule *s);

/* --- admission.c -------------------------------------------------------------------------------------------------- */

/* The next sequence that may start, with a seat and what the cache has of it; NULL when none may now. */
struct sequence *admission_next(struct schedule *s, uint64_t now_us);

/* Has its client not read for so long that others may have what it keeps? */
bool sequence_idles(const struct schedule *s, const struct sequence *q);

/* May one more sequence, or the search that it begins, run beside the others under a target between tokens? Without one
 * any may. */
bool target_open(const struct schedule *s, const struct sequence *q);

/* --- step_form.c -------------------------------------------------------------------------------------------------- */

/* Fills an empty step. */
void step_form(struct schedule *s, struct step *step, uint64_t now_us);

#endif
