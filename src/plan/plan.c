/* Facts about a plan: ops by kind, in which order weights are read. */
#include "plan/plan.h"

#include "base/limits.h"

#include <math.h>
#include <stdlib.h>

const char *const plan_marks[] = {"<image>", "<unk>", "<|reserved_special_token_0|>", NULL};

const struct op *plan_find(const struct plan *plan, enum op_kind kind) {
  for (int i = 0; i < plan->n_op; i++)
    if (plan_ops(plan)[i].kind == (int32_t)kind) return plan_ops(plan) + i;
  return NULL;
}

const struct op *plan_embed(const struct plan *plan, enum embed_source source) {
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind == OP_EMBED && op->args.embed.source == source) return op;
  }
  return NULL;
}

int plan_merged(const struct plan *plan) {
  const struct op *select = plan_find(plan, OP_SELECT);
  if (!select) return 1;
  if (select->args.select.mean) return select->args.select.mean;
  return plan_values(plan)[select->out].cols / plan_values(plan)[select->in[0]].cols;
}

bool plan_pools(const struct plan *plan) {
  const struct op *select = plan_find(plan, OP_SELECT);
  return select && select->args.select.pool != POOL_TOKEN;
}

/* A router's op and its route are one right after the other. */
bool plan_weight_routes(const struct plan *plan, int weight) {
  const struct op *ops = plan_ops(plan);
  for (int i = 1; i < plan->n_op; i++)
    if (ops[i].kind == OP_ROUTE && ops[i - 1].kind == OP_LINEAR && ops[i - 1].out == ops[i].in[0] &&
        ops[i - 1].weight[0] == weight)
      return true;
  return false;
}

bool plan_has_axes(const struct plan *plan) {
  for (int i = 0; i < plan->n_op; i++)
    if (plan_ops(plan)[i].kind == OP_ATTEND && attend_has_axes(&plan_ops(plan)[i].args.attend)) return true;
  return false;
}

bool plan_has_spans(const struct plan *plan) {
  for (int i = 0; i < plan->n_op; i++)
    if (plan_ops(plan)[i].kind == OP_ATTEND && plan_ops(plan)[i].args.attend.local) return true;
  return false;
}

bool attend_extra_valid(const struct attend_args *a) {
  bool plain = a->group >= 0 && !a->value_in_key;
  bool clip = a->clip == 0 || (a->clip > 0 && isfinite(a->clip) && plain);
  return clip && (a->grow == 0 ? a->grow_from == 0 : a->grow > 0 && isfinite(a->grow) && a->grow_from > 0 && plain);
}

bool attend_alibi_valid(const struct plan *p, const struct attend_args *a) {
  if (a->alibi == 0) return true;
  bool slopes = a->alibi == LEAN_SLOPES && p->role == PLAN_DECODER;
  bool distances = a->alibi == LEAN_DISTANCES && p->role == PLAN_ENCODER;
  uint64_t each = distances ? lean_numbers(p->max_position) : 1;
  return (slopes || distances) && (uint64_t)a->alibi_slope + (uint64_t)a->n_head * each <= p->n_float;
}

bool attend_axes_valid(const struct attend_args *args) {
  int64_t axes = 0;
  for (int i = 0; i < 3; i++) {
    if (args->rope_axis[i] < 0) return false;
    axes += args->rope_axis[i];
  }
  return axes == 0 || axes == args->rope_dim / 2;
}

static void order_append(const struct plan *plan, enum weight_use use, bool *seen, int *order, int *count) {
  for (int i = 0; i < plan->n_op; i++) {
    for (int k = 0; k < OP_WEIGHTS; k++) {
      int weight = plan_ops(plan)[i].weight[k];
      if (weight < 0 || seen[weight] || plan_weights(plan)[weight].use != use) continue;
      seen[weight] = true;
      order[(*count)++] = weight;
    }
  }
}

bool plan_read_order(const struct plan *plan, int *order) {
  bool *seen = calloc((size_t)plan->n_weight + 1, sizeof *seen);
  if (!seen) return false;
  int count = 0;
  order_append(plan, WEIGHT_MATRIX, seen, order, &count);
  order_append(plan, WEIGHT_VECTOR, seen, order, &count);
  for (int i = 0; i < plan->n_weight; i++) /* weights that no op uses still have a place */
    if (!seen[i]) order[count++] = i;
  free(seen);
  return true;
}
