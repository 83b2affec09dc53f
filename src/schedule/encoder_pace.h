/* How much an encoder of images may run beside streams: what the schedule grants for each of their steps
 * (schedule_aside_us). Where runs are cut into slices, a slice is as long as the grant; what one took beyond that is
 * taken off the next. A run that cannot be cut is paid for afterwards. Pure: times come in, counts go out. */
#ifndef SPATE_SCHEDULE_ENCODER_PACE_H
#define SPATE_SCHEDULE_ENCODER_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
  ENCODER_ALONE_US = 20000, /* of a slice that nobody waits for: how late a newcomer is heard */
  ENCODER_BESIDE = 1024,    /* tokens of a run that is cut, beside streams: who comes next does not wait for long */
};

struct encoder_pace {
  double credit_us; /* beside streams; negative: slices were longer than granted */
  double token_us;  /* that a token of the encoder takes, of the last runs; 0: not known */
};

/* A step has gone by, beside which so much is granted; negative: nothing runs. What is not used is not saved up: it is
 * no leave to stall everybody later. */
void encoder_pace_grant(struct encoder_pace *pace, double us);

/* How long the next slice may be. 0: it is not due. */
double encoder_pace_slice(const struct encoder_pace *pace, double granted_us);

/* How many of `most` tokens may be in a run, of images of `each`: one image at least. cut: it runs in slices. */
int32_t encoder_pace_tokens(const struct encoder_pace *pace, double granted_us, bool cut, int32_t each, int32_t most);

/* The encoder has run for so long. */
void encoder_pace_ran(struct encoder_pace *pace, double granted_us, double us);
/* A run of so many tokens has taken so long in all. */
void encoder_pace_learn(struct encoder_pace *pace, int32_t tokens, double us);

#endif
