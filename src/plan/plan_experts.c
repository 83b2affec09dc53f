/* Checking what a plan says of experts: routes, and linears that multiply with several matrices. */
#include "plan/plan_experts.h"

#include "base/limits.h"

#include <math.h>

bool route_value_valid(const struct plan *p, const struct value *v) {
  if (v->n_expert == 0) return true;
  int most = v->n_expert < LIMIT_ROUTE_EXPERTS ? v->n_expert : LIMIT_ROUTE_EXPERTS;
  return p->role != PLAN_VISION && v->n_expert <= LIMIT_MODEL_EXPERTS && v->rows == ROWS_TOKENS && v->cols % 2 == 0 &&
         v->cols / 2 <= most;
}

/* The choice can always find k experts in the groups that it is among. */
static bool groups_valid(const struct route_args *a) {
  if (a->n_group == 0) return a->top_group == 0 && a->group_pair == 0;
  if (a->n_group < 1 || a->n_group > a->n_expert || a->n_expert % a->n_group != 0) return false;
  int each = a->n_expert / a->n_group;
  return a->top_group >= 1 && a->top_group <= a->n_group && a->group_pair <= 1 && each > a->group_pair &&
         (int64_t)a->top_group * each >= a->k;
}

const char *route_misfit(const struct plan *p, const struct op *op) {
  const struct route_args *a = &op->args.route;
  const struct value *in = plan_value(p, op->in[0]), *out = plan_value(p, op->out);
  if (!in || !out || in == out || in->rows != ROWS_TOKENS || out->n_expert == 0)
    return "lacks logits, or an output that is a choice";
  if (a->n_expert != out->n_expert || in->cols != a->n_expert || a->k < 1 || out->cols != 2 * (int64_t)a->k)
    return "does not fit its input or output";
  if (a->score >= ROUTE_SCORES || a->normalize > 1 || !isfinite(a->scale)) return "has an unknown score or scale";
  bool alone = a->n_group == 0 && op->weight[0] == -1;
  if (a->score == ROUTE_NEAR && (!alone || !(a->near >= 0 && a->near <= 1)))
    return "weighs by what is near with a bias, with groups, or not within 0 to 1";
  if (!groups_valid(a)) return "has groups that do not fit its experts";
  if (op->weight[0] == -1) return NULL;
  if (op->weight[0] < 0 || op->weight[0] >= p->n_weight) return "has a bias of the wrong length";
  const struct weight *bias = plan_weights(p) + op->weight[0];
  bool fits = bias->use == WEIGHT_VECTOR && bias->cols == a->n_expert && bias->n_expert == 0;
  return fits ? NULL : "has a bias of the wrong length";
}

enum { ROUTE_DISTANCE = 64 }; /* ops between a choice and those that it is for, at most */

/* Whether the step has made the choice when the op runs. */
static bool route_before(const struct plan *p, const struct op *op) {
  const struct op *first = plan_ops(p);
  for (const struct op *before = op; before > first && op - before < ROUTE_DISTANCE;)
    if ((--before)->kind == OP_ROUTE && before->out == op->in[2]) return true;
  return false;
}

/* Matrices whose results each token has, and columns of the input for each. */
static int results_of(const struct plan *p, const struct op *op, const struct weight *w) {
  if (op->args.linear.expert_mode == EXPERTS_EACH) return op->in[2] == -1 ? w->n_expert : 0;
  const struct value *route = plan_value(p, op->in[2]);
  return route && route->n_expert == w->n_expert && route_before(p, op) ? route->cols / 2 : 0;
}

const char *experts_misfit(const struct plan *p, const struct op *op, const struct weight *w) {
  const struct linear_args *a = &op->args.linear;
  const struct value *in = plan_value(p, op->in[0]), *out = plan_value(p, op->out);
  int64_t width = a->gated ? w->part[0].rows : w->rows, n = w->n_expert > 0 ? results_of(p, op, w) : 0;
  bool known = a->expert_mode > EXPERTS_NONE && a->expert_mode < EXPERT_MODES;
  if (!in || !out || !known || p->role == PLAN_VISION || in->rows != ROWS_TOKENS || n == 0)
    return "has experts without a choice among them";
  bool spread = a->expert_mode == EXPERTS_SPREAD, gather = a->expert_mode == EXPERTS_GATHER;
  bool part =
      !spread && !gather && op->in[1] == -1 && !a->gated && a->column >= 0 && a->column <= out->cols - n * width;
  if (in->cols != (spread ? 1 : n) * w->cols || ((out->cols != (gather ? 1 : n) * width || a->column != 0) && !part))
    return "does not fit its experts' shape";
  if (a->post_norm != NORM_NONE || (!spread && a->norm != NORM_NONE) || a->lora_site != -1)
    return "has experts with a norm or an adapter that they cannot have";
  if (gather && (a->gated || a->multiply || a->act != ACT_NONE || a->softcap != 0))
    return "adds experts up that are gated, activated or multiplied";
  return NULL;
}
