/* How much an encoder of images may run beside streams: of the time that their steps take, a share, saved up until a
 * run can be paid. Without streams it runs at once. Pure: times come in, counts go out. */
#ifndef SPATE_SCHEDULE_ENCODER_PACE_H
#define SPATE_SCHEDULE_ENCODER_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct encoder_pace {
  double target_us; /* between two tokens of a stream; 0: none */
  double credit_us; /* saved up */
  double token_us;  /* that a token of the encoder takes, of the last runs; 0: not known */
};

/* A step of the decoder with streams has taken so long. */
void encoder_pace_step(struct encoder_pace *pace, double step_us);

/* How many of `most` tokens may run now, of images of `each`: 0, or at least one image. */
int32_t encoder_pace_tokens(const struct encoder_pace *pace, bool streams, int32_t each, int32_t most);

/* A run of so many tokens has taken so long; it is paid for where there are streams. */
void encoder_pace_ran(struct encoder_pace *pace, bool streams, int32_t tokens, double run_us);

#endif
