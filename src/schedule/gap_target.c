/* From what steps cost to how large they may be. */
#include "schedule/gap_target.h"

#include <math.h>
#include <stdbool.h>

enum { LEAST = 8, LEAST_SEQUENCES = 2, FIRST_STREAMS = 4, FIRST_TOKENS = 32 };

static const double memory = 1.0 / 32; /* weight of a new step in the averages */
static const double quantile = 0.99;
static const double sigmas_step = 0.1, sigmas_first = 2.33, sigmas_least = 1, sigmas_most = 6;
static const double ratio_least = 0.5, ratio_most = 2; /* one hiccup says little about the next step */
static const double full = 0.8;                        /* of the target: such a step was meant to reach it */
static const double prompt_share = 1.0 / 8;
static const double beside_one = 1.25;      /* of the step of a lone stream: what a target is at least */
static const double aside_least = 1.0 / 32; /* of the streams' own step */
static const double p99_step = 0.03;        /* of itself: so much it may be off */

void gap_target_init(struct gap_target *t, double target_us) {
  *t = (struct gap_target){.target_us = target_us,
                           .ratio = 1,
                           .variance = 0.01,
                           .sigmas = sigmas_first,
                           .streams_seen = FIRST_STREAMS,
                           .prompt_tokens_seen = FIRST_TOKENS};
  step_cost_init(&t->cost);
}

/* A step that is predicted to take 1 takes less than this, 99 times in 100. */
static double margin(const struct gap_target *t) { return fmax(1, t->ratio + t->sigmas * sqrt(t->variance)); }

/* The least that a step is given, whatever the target. */
static double least_us(const struct gap_target *t) {
  struct step_shape one = {.streams = 1, .stream_context = t->context};
  return beside_one * step_cost_us(&t->cost, &one);
}

/* What a step may be predicted to take. */
static double allowed_us(const struct gap_target *t) { return fmax(t->target_us / margin(t), least_us(t)); }

static void quantile_follow(double *value, bool over, double step) {
  *value += step * (over ? quantile : quantile - 1);
}

/* Of steps with streams: nobody sees how long others take. What margin they need is told by those that were to reach
 * the target, and could. */
static void gap_note(struct gap_target *t, double predicted, double us) {
  bool over = us > t->target_us;
  t->missed += over;
  if (t->p99_us <= 0) t->p99_us = us;
  quantile_follow(&t->p99_us, us > t->p99_us, p99_step * t->p99_us);
  double aim = t->target_us / margin(t);
  if (predicted <= full * aim || least_us(t) > aim) return;
  quantile_follow(&t->sigmas, over, sigmas_step);
  t->sigmas = fmin(fmax(t->sigmas, sigmas_least), sigmas_most);
}

static void ratio_note(struct gap_target *t, double ratio) {
  double off = fmin(fmax(ratio, ratio_least), ratio_most) - t->ratio;
  t->ratio += memory * off;
  t->variance += memory * (off * off - t->variance);
}

void gap_target_observe(struct gap_target *t, const struct step_shape *shape, double us, double aside_us) {
  double predicted = step_cost_us(&t->cost, shape), own_us = fmax(us - aside_us, 0);
  if (t->cost.n_step >= STEP_COST_TERMS && predicted > 0) ratio_note(t, own_us / predicted);
  if (shape->streams > 0) {
    gap_note(t, predicted + aside_us, us);
    t->context = shape->stream_context / shape->streams;
  }
  t->streams_seen = fmax(t->streams_seen, shape->streams);
  t->prompt_tokens_seen = fmax(t->prompt_tokens_seen, shape->prompt_tokens);
  step_cost_learn(&t->cost, shape, own_us);
}

int gap_target_prompt_tokens(const struct gap_target *t, const struct step_shape *streams, double cached,
                             double aside_us, int max_tokens, int tile) {
  double left_us = allowed_us(t) - step_cost_us(&t->cost, streams) - aside_us;
  double tokens = fmin(step_cost_prompt_tokens(&t->cost, cached, left_us), 2 * t->prompt_tokens_seen);
  double left = max_tokens - streams->streams;
  if (tokens < LEAST) tokens = LEAST;
  double tiled = tile > 0 ? floor((streams->streams + tokens) / tile) * tile - streams->streams : tokens;
  return (int)fmin(tiled >= LEAST ? tiled : tokens, left);
}

double gap_target_aside_us(const struct gap_target *t, const struct step_shape *streams) {
  double own_us = step_cost_us(&t->cost, streams);
  return fmax((allowed_us(t) - own_us) / 2, aside_least * own_us);
}

int gap_target_sequences(const struct gap_target *t, int max) {
  struct step_shape none = {0}, one = {.streams = 1, .stream_context = t->context};
  double idle_us = step_cost_us(&t->cost, &none), each_us = step_cost_us(&t->cost, &one) - idle_us;
  double most = fmin(2 * t->streams_seen, max), left_us = (1 - prompt_share) * allowed_us(t) - idle_us;
  if (each_us > 0) most = fmin(most, left_us / each_us);
  return most > LEAST_SEQUENCES ? (int)most : (max < LEAST_SEQUENCES ? max : LEAST_SEQUENCES);
}
