/* How many prompt tokens a step may carry while streams are running, so that they keep their pace.
 *
 * For each request that waits for its first token, prompt tokens may take three quarters of the time that the streams'
 * own tokens take: beside one, a stream's next token comes in less than twice its idle time however long the prompt is;
 * many may take as much as a whole step, or the last of them would wait for ever and the streams run in small batches.
 * Both times are measured: steps of streams alone give the one, what prompt tokens add to them the other, which grows
 * with a prompt's length. A stream that would get more than 66 tokens a second may be slowed to 38: nobody reads so
 * fast, and prompts would hardly advance beside one quick stream. But no further, however many wait, as soon as more
 * are streaming than wait, or prompts have FULL_CHUNK tokens even so: then steps are full enough, and the rest is
 * served as the streams go on. (A device that takes a crowd's prompts in one long step has them all end together, too,
 * and the next crowd wait.) As long as nothing has been measured, a request may have a quarter of the step's tokens.
 */
#ifndef SPATE_SCHEDULE_PACE_H
#define SPATE_SCHEDULE_PACE_H

#include <stdint.h>

#define ASIDE_SHARE 0.4 /* of a step, for what is none: gaps grow by less than half */

/* Moving averages in microseconds; 0: not measured. */
struct pace {
  double stream_us; /* a step of streams alone, */
  double streams;   /* of so many */
  double prompt_us; /* a prompt token */
};

/* A step of so many tokens of streams and prompts has taken so long. */
void pace_observe(struct pace *pace, int streams, int prompt_tokens, uint64_t us);

/* How long the device may do something else before a step of so many streams (0: none measured). */
double pace_aside_us(const struct pace *pace, int streams);

/* Prompt tokens of so many requests (1 or more) beside so many streams, of at most max_tokens in all. Tile: as in
 * struct backend; what a step has beyond a multiple of it costs as much as the next, so the next it is. What the device
 * has done beside steps since the last one is taken off their time. */
int pace_prompt_tokens(const struct pace *pace, int streams, int requests, double aside_us, int max_tokens, int tile);

#endif
