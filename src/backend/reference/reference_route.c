/* Routes of the reference, in double: scores, groups, the choice, weights. */
#include "backend/reference/reference_program.h"

#include <math.h>

/* Of one token: what is chosen by, NaN where an expert is out of question, and what becomes the weight. */
struct scores {
  double by[LIMIT_MODEL_EXPERTS], score[LIMIT_MODEL_EXPERTS];
};

static void softmax(const double *x, int n, double *out) {
  double most = -INFINITY, sum = 0;
  for (int i = 0; i < n; i++) most = fmax(most, x[i]);
  for (int i = 0; i < n; i++) sum += exp(x[i] - most);
  for (int i = 0; i < n; i++) out[i] = exp(x[i] - most) / sum;
}

/* Whether a comes before b, whose index is higher. */
static bool first_of(double a, double b) { return a >= b || isnan(b); }

/* The best of [first, first + n) that is not taken. */
static int best_find(const double *by, const bool *taken, int first, int n) {
  int best = -1;
  for (int i = first; i < first + n; i++)
    if (!taken[i] && (best < 0 || !first_of(by[best], by[i]))) best = i;
  return best;
}

static double group_score(const struct route_args *a, const double *by, int first, int each) {
  bool taken[LIMIT_MODEL_EXPERTS] = {0};
  int best = best_find(by, taken, first, each);
  taken[best] = true;
  return a->group_pair ? by[best] + by[best_find(by, taken, first, each)] : by[best];
}

/* Takes the experts of all groups but the best. */
static void groups_leave(const struct route_args *a, const double *by, bool *taken) {
  double score[LIMIT_MODEL_EXPERTS];
  bool chosen[LIMIT_MODEL_EXPERTS] = {0};
  int each = a->n_expert / a->n_group;
  for (int g = 0; g < a->n_group; g++) score[g] = group_score(a, by, g * each, each);
  for (int i = 0; i < a->top_group; i++) chosen[best_find(score, chosen, 0, a->n_group)] = true;
  for (int i = 0; i < a->n_expert; i++) taken[i] = !chosen[i / each];
}

/* The share of `best` among those that are left and near it. */
static double near_share(const struct route_args *a, const double *logits, const bool *taken, int best) {
  double sum = 0, most = logits[best];
  for (int i = 0; i < a->n_expert; i++) {
    double x = logits[i];
    if (!taken[i] && !(most - x > (double)a->near * fmax(fabs(x), most))) sum += exp(x - most);
  }
  return 1 / sum;
}

static void token_route(const struct route_args *a, const double *logits, const float *bias, double *out) {
  static _Thread_local struct scores s;
  bool taken[LIMIT_MODEL_EXPERTS] = {0}, by_score = bias || a->group_pair;
  if (a->score == ROUTE_SOFTMAX) softmax(logits, a->n_expert, s.score);
  for (int i = 0; i < a->n_expert; i++) {
    if (a->score == ROUTE_SIGMOID) s.score[i] = 1 / (1 + exp(-logits[i]));
    if (a->score == ROUTE_CHOSEN) s.score[i] = logits[i];
    s.by[i] = by_score ? s.score[i] + (bias ? bias[i] : 0) : logits[i];
  }
  if (a->n_group > 0) groups_leave(a, s.by, taken);
  double *weight = out + a->k, sum = (double)ROUTE_LEAST;
  for (int j = 0; j < a->k; j++) {
    int best = best_find(s.by, taken, 0, a->n_expert);
    out[j] = best;
    weight[j] = a->score == ROUTE_NEAR ? near_share(a, logits, taken, best) : s.score[best];
    taken[best] = true;
  }
  if (a->score == ROUTE_CHOSEN) softmax(weight, a->k, weight);
  for (int j = 0; j < a->k; j++) sum += weight[j];
  for (int j = 0; j < a->k; j++) weight[j] = (a->normalize ? weight[j] / sum : weight[j]) * (double)a->scale;
}

void reference_route(struct program *program, const struct op *op) {
  const float *bias = vector_get(program, op->weight[0]);
  for (int r = 0; r < program->batch->n_token; r++)
    token_route(&op->args.route, value_row(program, op->in[0], r), bias, value_row(program, op->out, r));
}
