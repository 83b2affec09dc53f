/* One step's batch in arrays of fixed size, with the sequence behind each row. Internal to the schedule. */
#ifndef SPATE_SCHEDULE_STEP_H
#define SPATE_SCHEDULE_STEP_H

#include "schedule/schedule.h"
#include "schedule/step_cost.h"

struct step {
  struct batch batch;
  uint64_t formed_us;
  bool rested;                /* no step went before it at once */
  double aside_us;            /* that the device did something else before it */
  int n_stream;               /* the first rows, of one token each */
  struct row *row;            /* [limits.seats] */
  struct sequence **sequence; /* [limits.seats] behind row i */
  int32_t *token;             /* [limits.tokens] */
  int32_t *embed;             /* [limits.tokens]; the batch names it once a token of the step has a row */
  int32_t *see;               /* [limits.tokens] of a decoder with `mutual`, named likewise; otherwise NULL */
  bool axes;                  /* a token's place has three */
  int32_t (*position)[3];     /* [limits.tokens] of one with `axes`; or where nothing is kept: the batch names it once a
                                 token has a type */
  int32_t *out;               /* [limits.outputs] */
  struct sampling *sampling;  /* [limits.outputs] */
  struct sequence **out_sequence; /* [limits.outputs] behind output i */
  struct kv_copy *copy;           /* [limits.seats × n_group] */
};

bool step_init(struct step *step, const struct schedule_options *options);
void step_release(struct step *step);
void step_clear(struct step *step);

/* Before the step: a block in every group. */
void step_copy(struct step *step, int n_group, uint32_t from, uint32_t to);

/* Adds the next count tokens of a sequence, whose blocks are in the table; its last one is an output, and prompt tokens
 * whose followers are to be scored are. */
void step_add(struct step *step, struct sequence *q, int count, int n_group, const uint32_t *table);

/* What its rows have to compute. */
struct step_shape step_shape_of(const struct step *step);

#endif
