/* What the schedule costs: microseconds a step (schedule_next and schedule_done) with every seat streaming, and what
 * admitting a prompt with a long cached prefix adds. */
#include "base/clock.h"
#include "schedule/schedule.h"

#include <stdio.h>
#include <stdlib.h>

enum { SEATS = 256, TOKENS = 512, LENGTH = 4096, BLOCK = 16, PROMPT = 2000, STEPS = 2000 };

static struct sequence sequences[SEATS];
static int32_t result_tokens[SEATS];
static float result_logprobs[SEATS];

static void step(struct schedule *s) {
  struct schedule_events events;
  const struct batch *batch = schedule_next(s, clock_us());
  if (!batch) exit(1);
  struct result result = {.n_out = batch->n_out, .token = result_tokens, .logprob = result_logprobs};
  schedule_done(s, &result, clock_us(), &events);
}

int main(void) {
  struct limits limits = {.seats = SEATS,
                          .tokens = TOKENS,
                          .outputs = SEATS,
                          .length = LENGTH,
                          .block_size = BLOCK,
                          .n_block = {SEATS * LENGTH / BLOCK}};
  struct schedule_options options = {.limits = &limits, .n_group = 1, .key = {1, 2}};
  struct schedule *s = schedule_new(&options);
  for (int i = 0; i < SEATS; i++) {
    int32_t *tokens = calloc(LENGTH, sizeof *tokens);
    if (!s || !tokens) return 1;
    for (int t = 0; t < PROMPT; t++) tokens[t] = t;
    sequences[i] = (struct sequence){.tokens = tokens, .n_prompt = PROMPT, .max_tokens = LENGTH - PROMPT};
    schedule_add(s, &sequences[i], 0);
  }
  uint64_t start = clock_us();
  int n_step = 0;
  for (; sequences[SEATS - 1].n_token == PROMPT; n_step++) step(s);
  uint64_t admitted = clock_us();
  printf("%d prompts of %d tokens, shared: %d steps, %.1f us a prompt\n", SEATS, PROMPT, n_step,
         (double)(admitted - start) / SEATS);
  for (int i = 0; i < STEPS; i++) step(s);
  printf("%d streams: %.2f us a step\n", SEATS, (double)(clock_us() - admitted) / STEPS);
  return 0;
}
