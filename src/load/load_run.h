/* Puts a plan's load on a server: one thread, one loop, a connection for each request that runs. */
#ifndef SPATE_LOAD_LOAD_RUN_H
#define SPATE_LOAD_LOAD_RUN_H

#include "load/load_dialect.h"
#include "load/load_plan.h"

/* So far. */
struct load_progress {
  int done, total, running, failed;
  int64_t tokens;
  double seconds;
};

struct load_target {
  const char *url, *model, *api_key; /* the last two may be NULL */
  enum load_api api;
  bool allow_eos;
  double timeout_s; /* of one request */
  uint64_t seed;    /* of the words of prompts, */
  int run;          /* which are others in each run, so that no cache has them */

  /* A prompt of n tokens has (n − fixed_tokens) / word_tokens words. load_measure_words finds both. */
  double fixed_tokens, word_tokens;

  bool (*progress)(void *user, const struct load_progress *progress); /* false: stop */
  void *user;
};

/* What came of a run beside what is in its requests. */
struct load_result {
  double seconds;                             /* from the first request to the last end */
  double processor;                           /* seconds of this process in that time */
  char first[LOAD_END_COUNT][ERROR_TEXT_MAX]; /* the first sentence of each kind of failure */
};

/* False: nothing was sent. Requests that fail are in the plan. */
bool load_run(const struct load_target *target, struct load_plan *plan, struct load_result *result,
              struct error *error);

/* Asks for one token after prompts of two lengths, and sees how the server counts them. Where it does not say, a word
 * stays a token, and why is a sentence; otherwise it is empty. False: nothing was sent. */
bool load_measure_words(struct load_target *target, char why[ERROR_TEXT_MAX], struct error *error);

#endif
