/* A beam search over the likeliest next tokens of its beams: which go on, which are finished, when it is over. Numbers
 * in, moves out: it knows no schedule and no text. The rules are those of transformers' `generate`
 * (generation/utils.py, _beam_search), which it is tested against:
 *
 * A step looks at the (1 + n_end) · n_beam likeliest continuations of all beams, at least 2 · n_beam. Those of them
 * that end and are among the first n_beam are finished, with a score of log-probability ÷ length ^ length_penalty; the
 * best n_beam of all finished ones stay. The n_beam likeliest that do not end go on. It is over when nothing can go on,
 * or by early_stop. */
#ifndef SPATE_RUNTIME_BEAM_SEARCH_H
#define SPATE_RUNTIME_BEAM_SEARCH_H

#include "plan/batch.h"

enum early_stop {
  EARLY_STOP_LIKELY,  /* false: when no beam, at its present length, would beat the worst that is finished */
  EARLY_STOP_AT_ONCE, /* true: as soon as n_beam are finished */
  EARLY_STOP_CERTAIN, /* "never": when no beam can beat it at any length */
};

struct beam_params {
  int32_t n_beam;
  int32_t n_end; /* tokens that end a text */
  int32_t max_tokens;
  int32_t n_top; /* likeliest tokens whose log-probabilities are kept with each token; −1: not even its own */
  double length_penalty;
  enum early_stop early_stop;
};

struct beam_move {
  int32_t from, to; /* beam `to` goes on from what beam `from` has */
  int32_t token;
};

struct beam_search;

/* NULL when out of memory. Everything is allocated here. */
struct beam_search *beam_search_new(const struct beam_params *params);
void beam_search_free(struct beam_search *search);
size_t beam_search_bytes(const struct beam_params *params);

/* Likeliest tokens of each beam that a search needs: exact, as no more than n_end of them end. */
int32_t beam_search_candidates(int32_t n_beam, int32_t n_end);

/* The likeliest next tokens of a beam: beam_search_candidates of them, −1: there are no more. True when all beams that
 * live have told theirs. */
bool beam_search_hear(struct beam_search *search, int32_t beam, const struct token_logprob *top, int32_t n_top);

/* Then: the moves, at most n_beam, by which it goes on; 0: it is over. ends(context, beam, token): does the token end
 * the beam's text? A beam that others go on from goes on itself, so forks before extensions find everything in place.
 */
int32_t beam_search_choose(struct beam_search *search, bool (*ends)(void *context, int32_t beam, int32_t token),
                           void *context, struct beam_move *moves);

/* When it is over: the finished texts, the best first, their tokens, and of each token its log-probability with those
 * of the likeliest ([1 + n_top]; NULL: none are kept). */
int32_t beam_search_finished(const struct beam_search *search);
int32_t beam_search_length(const struct beam_search *search, int32_t index);
int32_t beam_search_token(const struct beam_search *search, int32_t index, int32_t at,
                          const struct token_logprob **row);

#endif
