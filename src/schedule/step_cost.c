/* The filter over a step's cost. */
#include "schedule/step_cost.h"

#include <math.h>
#include <stdbool.h>

enum { STREAMS = 1, PROMPT, STREAM_CONTEXT, PROMPT_CONTEXT, N = STEP_COST_TERMS };

/* Units in which all terms are times of a like size. */
static const double unit[N] = {1, 16, 128, 16384, 131072};

static const double noise = 0.01;  /* variance of a step's time, relative to it */
static const double walk = 0.005;  /* what a term may change in a step, relative to itself */
static const double stir = 0.0005; /* and to the step, so that one that was 0 may become more */
static const double surprise = 1;  /* a step is believed to be off by so much of its prediction, at most */

void step_cost_init(struct step_cost *cost) { *cost = (struct step_cost){0}; }

static void features(const struct step_shape *shape, double out[N]) {
  const double value[N] = {1, shape->streams, shape->prompt_tokens, shape->stream_context, shape->prompt_context};
  for (int i = 0; i < N; i++) out[i] = value[i] / unit[i];
}

static double dot(const double a[N], const double b[N]) {
  double sum = 0;
  for (int i = 0; i < N; i++) sum += a[i] * b[i];
  return sum;
}

double step_cost_us(const struct step_cost *cost, const struct step_shape *shape) {
  double x[N];
  features(shape, x);
  return dot(cost->term, x);
}

/* A term may have changed since the last step. Of one that appears for the first time no more is known than that it may
 * be the whole step. Nothing is taken off a variance: what remains would be no covariance. */
static void terms_doubt(struct step_cost *cost, const double x[N], double us) {
  for (int i = 0; i < N; i++) {
    if (x[i] <= 0) continue;
    double *variance = &cost->covariance[i][i], whole = us / x[i];
    if (*variance == 0)
      *variance = whole * whole;
    else if (*variance < whole * whole)
      *variance += walk * walk * cost->term[i] * cost->term[i] + stir * stir * whole * whole;
  }
}

/* A term that would become negative is 0 and tells nothing of the others any more. What it gave is taken off `off`. */
static bool term_ends(struct step_cost *cost, double x[N], const double change[N], double *off) {
  for (int i = 0; i < N; i++) {
    if (cost->term[i] + change[i] >= 0) continue;
    *off += cost->term[i] * x[i];
    cost->term[i] = x[i] = 0;
    for (int k = 0; k < N; k++)
      if (k != i) cost->covariance[i][k] = cost->covariance[k][i] = 0;
    return true;
  }
  return false;
}

/* The filter's update: x · terms was off by so much. */
static void terms_update(struct step_cost *cost, double x[N], double off) {
  double spread[N], change[N], total;
  do {
    for (int i = 0; i < N; i++) spread[i] = dot(cost->covariance[i], x);
    total = dot(x, spread) + noise;
    for (int i = 0; i < N; i++) change[i] = spread[i] / total * off;
  } while (term_ends(cost, x, change, &off));
  for (int i = 0; i < N; i++) {
    cost->term[i] += change[i];
    for (int k = 0; k < N; k++) cost->covariance[i][k] -= spread[i] * spread[k] / total;
  }
}

void step_cost_learn(struct step_cost *cost, const struct step_shape *shape, double us) {
  double x[N];
  features(shape, x);
  double predicted = dot(cost->term, x), by = predicted > us / 4 ? predicted : us;
  if (!(us > 0)) return;
  terms_doubt(cost, x, us);
  for (int i = 0; i < N; i++) x[i] /= by;
  terms_update(cost, x, fmax(-surprise, fmin(surprise, us / by - dot(cost->term, x))));
  cost->n_step += cost->n_step < N;
}

/* The root of pairs / 2 · n² + each · n = us, in the form that stands pairs = 0. */
double step_cost_prompt_tokens(const struct step_cost *cost, double cached, double us) {
  double pairs = cost->term[PROMPT_CONTEXT] / unit[PROMPT_CONTEXT];
  double each = cost->term[PROMPT] / unit[PROMPT] + pairs * cached;
  if (us <= 0) return 0;
  double divisor = each + sqrt(each * each + 2 * pairs * us);
  return divisor > 0 ? 2 * us / divisor : INFINITY;
}
