/* A walk over the plan's linears. */
#include "plan/expert_layers.h"

static bool chosen(const struct op *op) {
  return op->kind == OP_LINEAR &&
         (op->args.linear.expert_mode == EXPERTS_SPREAD || op->args.linear.expert_mode == EXPERTS_GATHER);
}

/* Ops of a layer follow one another. */
static bool layer_begins(const struct op *op, const struct op *before) { return !before || before->layer != op->layer; }

int plan_expert_layers(const struct plan *plan) {
  const struct op *before = NULL;
  int count = 0;
  for (const struct op *op = plan_ops(plan); op < plan_ops(plan) + plan->n_op; op++) {
    if (!chosen(op)) continue;
    count += layer_begins(op, before);
    before = op;
  }
  return count;
}

int plan_expert_layer(const struct plan *plan, int weight) {
  const struct op *before = NULL;
  int index = -1, found = -1;
  if (plan_weights(plan)[weight].n_expert == 0 || plan_weights(plan)[weight].use != WEIGHT_MATRIX) return -1;
  for (const struct op *op = plan_ops(plan); op < plan_ops(plan) + plan->n_op; op++) {
    bool reads = op->weight[0] == weight;
    if (chosen(op)) {
      index += layer_begins(op, before);
      before = op;
      if (reads && found < 0) found = index;
    } else if (reads) {
      return -1;
    }
  }
  return found;
}

bool plan_weight_on_host(const struct plan *plan, int weight, int cpu_experts) {
  int layer = cpu_experts > 0 ? plan_expert_layer(plan, weight) : -1;
  return layer >= 0 && layer < cpu_experts;
}

double plan_expert_share(const struct plan *plan, int weight) {
  for (const struct op *op = plan_ops(plan); op < plan_ops(plan) + plan->n_op; op++) {
    if (!chosen(op) || op->weight[0] != weight) continue;
    const struct value *choice = plan_values(plan) + op->in[2];
    return choice->cols / 2.0 / choice->n_expert;
  }
  return 0;
}
