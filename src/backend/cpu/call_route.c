/* Routes on the team: each token's choice is one worker's; then the results that experts owe, in the order of the
 * experts, so that each one's are rows of one product. */
#include "backend/cpu/cpu_program.h"

#include <math.h>
#include <string.h>

/* A worker's room for one token: what is chosen by, scores, the groups' scores, and what is taken. */
struct choice {
  float *by, *score, *group;
  uint8_t *taken, *group_taken;
};

size_t call_route_scratch(const struct route_args *args) { return 5 * (size_t)args->n_expert; }

static struct choice choice_room(float *scratch, int n) {
  uint8_t *bytes = (uint8_t *)(scratch + 3 * n);
  return (struct choice){scratch, scratch + n, scratch + 2 * n, bytes, bytes + n};
}

static void softmax(const float *x, int n, float *out) {
  float most = -INFINITY, sum = 0;
  for (int i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
  for (int i = 0; i < n; i++) sum += out[i] = expf(x[i] - most);
  for (int i = 0; i < n; i++) out[i] /= sum;
}

/* The best of [first, first + n) that is not taken: the first of equals, and what is no number only where nothing else
 * is. */
static int best_find(const float *by, const uint8_t *taken, int first, int n) {
  int best = -1;
  for (int i = first; i < first + n; i++)
    if (!taken[i] && (best < 0 || by[i] > by[best] || (isnan(by[best]) && !isnan(by[i])))) best = i;
  return best;
}

/* Takes the experts of all groups but the best. */
static void groups_leave(const struct route_args *a, const struct choice *c) {
  int each = a->n_expert / a->n_group;
  for (int g = 0; g < a->n_group; g++) {
    int best = best_find(c->by, c->taken, g * each, each);
    c->group[g] = c->by[best];
    if (!a->group_pair) continue;
    c->taken[best] = 1;
    c->group[g] += c->by[best_find(c->by, c->taken, g * each, each)];
  }
  memset(c->group_taken, 0, (size_t)a->n_group);
  memset(c->taken, 1, (size_t)a->n_expert);
  for (int i = 0; i < a->top_group; i++) {
    int best = best_find(c->group, c->group_taken, 0, a->n_group);
    c->group_taken[best] = 1;
    memset(c->taken + best * each, 0, (size_t)each);
  }
}

static void scores_make(const struct route_args *a, const float *logits, const float *bias, const struct choice *c) {
  bool by_score = bias || a->group_pair;
  if (a->score == ROUTE_SOFTMAX) softmax(logits, a->n_expert, c->score);
  for (int i = 0; i < a->n_expert; i++) {
    if (a->score == ROUTE_SIGMOID) c->score[i] = 1 / (1 + expf(-logits[i]));
    if (a->score == ROUTE_CHOSEN) c->score[i] = logits[i];
    c->by[i] = by_score ? c->score[i] + (bias ? bias[i] : 0) : logits[i];
  }
  memset(c->taken, 0, (size_t)a->n_expert);
}

/* The share of `best` among those that are left and near it. */
static float near_share(const struct route_args *a, const float *logits, const uint8_t *taken, int best) {
  float sum = 0, most = logits[best];
  for (int i = 0; i < a->n_expert; i++) {
    float x = logits[i];
    if (!taken[i] && !(most - x > a->near * fmaxf(fabsf(x), most))) sum += expf(x - most);
  }
  return 1 / sum;
}

static void token_route(const struct route_args *a, const float *logits, const float *bias, const struct choice *c,
                        float *out) {
  float *weight = out + a->k, sum = ROUTE_LEAST;
  scores_make(a, logits, bias, c);
  if (a->n_group > 0) groups_leave(a, c);
  for (int j = 0; j < a->k; j++) {
    int best = best_find(c->by, c->taken, 0, a->n_expert);
    out[j] = (float)best;
    weight[j] = a->score == ROUTE_NEAR ? near_share(a, logits, c->taken, best) : c->score[best];
    c->taken[best] = 1;
  }
  if (a->score == ROUTE_CHOSEN) softmax(weight, a->k, weight);
  for (int j = 0; j < a->k; j++) sum += weight[j];
  for (int j = 0; j < a->k; j++) weight[j] = (a->normalize ? weight[j] / sum : weight[j]) * a->scale;
}

/* Results in the order of their experts: counted, placed. */
static void results_sort(const struct program *program, const struct op *op) {
  struct expert_order *order = &program->order[op->out];
  int n_expert = op->args.route.n_expert, k = op->args.route.k, n_token = program->batch->n_token;
  int32_t *next = order->count; /* of an expert: how many, then where its next is */
  memset(next, 0, (size_t)n_expert * sizeof *next);
  for (int t = 0; t < n_token; t++)
    for (int j = 0; j < k; j++) next[(int)value_row(program, op->out, t)[j]]++;
  order->n_active = 0;
  for (int e = 0, first = 0, count; e < n_expert; e++, first += count) {
    count = next[e];
    next[e] = first;
    if (count == 0) continue;
    order->active[order->n_active] = e;
    order->first[order->n_active++] = first;
  }
  order->first[order->n_active] = n_token * k;
  for (int t = 0, i = 0; t < n_token; t++)
    for (int j = 0; j < k; j++, i++) {
      order->place[i] = next[(int)value_row(program, op->out, t)[j]]++;
      order->result[order->place[i]] = i;
    }
}

void call_route(const struct program *program, const struct call *call, struct range rows, int worker) {
  const struct op *op = call->op;
  struct choice choice = choice_room((float *)worker_scratch(program, worker), op->args.route.n_expert);
  struct range tokens = team_share(program->device->team, rows.count, worker);
  const float *bias = program_vector(program, op->weight[0]);
  for (int t = tokens.first; t < tokens.first + tokens.count; t++)
    token_route(&op->args.route, value_row(program, op->in[0], t), bias, &choice, value_row(program, op->out, t));
  team_barrier(program->device->team);
  if (worker != 0) return;
  results_sort(program, op);
  adapters_choose(program, op);
}
