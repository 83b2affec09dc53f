/* Keeps the time between two tokens of a stream under a target (serve --target-itl-ms): 99 of 100 gaps. A gap is the
 * time from the end of one step to the end of the next, so it is steps that are kept short, in two ways:
 *
 * - Prompt tokens beside streams fill what is left of the target, and no more. As in Sarathi-Serve (Agrawal and others,
 *   OSDI 2024), whose token budget is profiled beforehand; here it follows what steps cost (step_cost.h), the streams'
 *   number and their growing contexts. They are LEAST at least, whatever the target: no prompt waits for ever.
 * - So many sequences run that their own tokens leave a prompt an eighth of the target; others wait. Two may always
 *   run: a stream, and who comes next.
 *
 * Predictions are off by chance. What is allowed for is `sigmas` standard deviations of measured / predicted, and how
 * many that must be is learned too, by stochastic approximation of a quantile (Robbins and Monro, 1951): a step over
 * the target raises it by 99 times what one below lowers it, so that it rests where one in a hundred is over.
 *
 * Nothing is tried that is far from what has been seen: at most twice the prompt tokens and streams of any step so far.
 * A target that a lone stream does not keep cannot be kept: then it is as long as that stream's step and a quarter. */
#ifndef SPATE_SCHEDULE_GAP_TARGET_H
#define SPATE_SCHEDULE_GAP_TARGET_H

#include "schedule/step_cost.h"

#include <stdint.h>

struct gap_target {
  double target_us; /* 0: none, and nothing below is used */
  struct step_cost cost;
  double ratio, variance; /* of measured / predicted: moving averages */
  double sigmas;
  double context; /* of a stream, at the last step that had some */
  double streams_seen, prompt_tokens_seen;
  double p99_us;   /* of gaps, as they are now */
  uint64_t missed; /* steps beside streams that took longer than the target */
};

void gap_target_init(struct gap_target *target, double target_us);

/* A step has ended so long after the one before (or after it was begun, when nothing ran), of which the device did
 * something else for aside_us. */
void gap_target_observe(struct gap_target *target, const struct step_shape *shape, double us, double aside_us);

/* Prompt tokens beside these streams, of a prompt of which so many are in the cache; at most max_tokens in all. The
 * device has done something else for aside_us since their last token. */
int gap_target_prompt_tokens(const struct gap_target *target, const struct step_shape *streams, double cached,
                             double aside_us, int max_tokens, int tile);

/* How long the device may do something else before a step of these streams: half of what the target leaves, so that
 * prompts have the other; a little always. */
double gap_target_aside_us(const struct gap_target *target, const struct step_shape *streams);

/* Sequences that may run, of at most max. */
int gap_target_sequences(const struct gap_target *target, int max);

#endif
