/* How long a step will take, learned from those that were run.
 *
 * time = a + b · streams + c · prompt tokens + d · what streams look back at + e · what prompt tokens look back at
 *
 * a is what any step costs (the weights are read once), b and c a token's own arithmetic, d and e attention, which
 * grows with what is in the cache. The five are estimated by a Kalman filter whose state is a random walk (Ljung,
 * System Identification, 2nd ed., §11.6): a coefficient that the steps tell of follows them within about twenty, one
 * that they do not tell of keeps its value. Equations are divided by the time that is predicted, because a step's noise
 * is a part of its time and not so many microseconds. No coefficient is negative: more work takes no less time. */
#ifndef SPATE_SCHEDULE_STEP_COST_H
#define SPATE_SCHEDULE_STEP_COST_H

enum { STEP_COST_TERMS = 5 };

/* What a step has to compute. */
struct step_shape {
  double streams, prompt_tokens; /* tokens */
  double stream_context;         /* tokens in the cache before each stream's, summed */
  double prompt_context;         /* the same of each prompt token, those of its own chunk included */
};

struct step_cost {
  double term[STEP_COST_TERMS]; /* us, each of one unit of its feature (step_cost.c) */
  double covariance[STEP_COST_TERMS][STEP_COST_TERMS];
  int n_step; /* steps learned from, as many as there are terms at most */
};

void step_cost_init(struct step_cost *cost);

/* Predicted microseconds; 0 before the first step. */
double step_cost_us(const struct step_cost *cost, const struct step_shape *shape);

/* A step of this shape has taken so long. */
void step_cost_learn(struct step_cost *cost, const struct step_shape *shape, double us);

/* How many tokens of a prompt, of which so many are in the cache, take so long. */
double step_cost_prompt_tokens(const struct step_cost *cost, double cached, double us);

#endif
