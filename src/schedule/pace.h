/* How many prompt tokens a step may carry while streams are running, so that they keep their pace.
 *
 * A line is fitted through the recent steps, microseconds = fixed + per_token × tokens, the older the lighter. The
 * prompt tokens of a step may then take 0.8 of what its decode tokens take: a stream's next token comes in less than
 * twice its idle time however long a prompt is. A stream that would get more than 66 tokens a second may be slowed
 * down to half of that: nobody reads so fast, and prompts would hardly advance beside one quick stream. As long as
 * nothing has been measured, it is a quarter of the step's tokens. */
#ifndef SPATE_SCHEDULE_PACE_H
#define SPATE_SCHEDULE_PACE_H

#include <stdint.h>

struct pace {
  double weight, x, y, xx, xy; /* decaying sums over steps of tokens x and microseconds y */
};

void pace_observe(struct pace *pace, int tokens, uint64_t us);

/* Prompt tokens beside `decoding` decode tokens, of at most max_tokens in all. */
int pace_prompt_tokens(const struct pace *pace, int decoding, int max_tokens);

#endif
