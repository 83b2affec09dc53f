/* Checking an adapter against the plan and the slots that it is for. */
#include "plan/adapter.h"

#include "base/half.h"
#include "base/limits.h"

int adapter_sites(const struct plan *plan, const struct op *op) {
  if (op->kind == OP_EMBED) return 1;
  if (op->kind != OP_LINEAR) return 0;
  return op->args.linear.expert_mode == EXPERTS_EACH ? 0 : weight_experts(&plan_weights(plan)[op->weight[0]]);
}

/* before: the op before it of the adapter's; NULL: it is the first. */
static bool op_check(const struct adapter_op *op, const struct adapter_op *before, const struct plan *plan,
                     struct error *error) {
  int last = before ? before->op : -1;
  bool further = before && op->op == last && op->expert > before->expert;
  if ((op->op <= last && !further) || op->op >= plan->n_op)
    return error_set(error, ERROR_INVALID, "The adapter names op %d after op %d of %d; they ascend.", op->op, last,
                     plan->n_op);
  const struct op *of = &plan_ops(plan)[op->op];
  int sites = adapter_sites(plan, of);
  if (sites == 0)
    return error_set(error, ERROR_INVALID, "The adapter names op %d, which has no matrix (%s).", op->op,
                     op_kind_name(of->kind));
  if (op->expert >= 0 && op->expert < sites) return true;
  return error_set(error, ERROR_INVALID, "The adapter names expert %d of op %d, which has %d.", op->expert, op->op,
                   sites);
}

bool adapter_limits_check(int slots, int rank_most, struct error *error) {
  if (slots >= 0 && slots <= LIMIT_ADAPTERS && rank_most >= 0 && rank_most <= LIMIT_ADAPTER_RANK) return true;
  return error_set(error, ERROR_INVALID, "%d adapters of rank %d were asked for; at most %d of rank %d can be had.",
                   slots, rank_most, LIMIT_ADAPTERS, LIMIT_ADAPTER_RANK);
}

bool adapter_check(const struct adapter *adapter, const struct plan *plan, int slot, int slots, int rank_most,
                   struct error *error) {
  if (slot < 0 || slot >= slots)
    return error_set(error, ERROR_INVALID, "There is no slot %d for an adapter: the engine has %d.", slot, slots);
  if (!adapter) return true;
  for (int i = 0; i < adapter->n_op; i++) {
    if (!op_check(&adapter->op[i], i > 0 ? &adapter->op[i - 1] : NULL, plan, error)) return false;
    if (adapter->op[i].rank < 0 || adapter->op[i].rank > rank_most)
      return error_set(error, ERROR_LIMIT,
                       "The adapter's rank is %d; the engine was opened for at most %d (--max-lora-rank).",
                       adapter->op[i].rank, rank_most);
  }
  return true;
}

float adapter_most(const struct plan *plan, const struct op *op, bool half_cache) {
  for (int i = 0; half_cache && i < plan->n_op; i++) {
    const struct op *attend = plan_ops(plan) + i;
    if (attend->kind == OP_ATTEND && attend->in[0] == op->out) return ADAPTER_MOST_HALF;
  }
  return ADAPTER_MOST;
}

void factor_floats(struct factor factor, size_t first, size_t count, float *out) {
  const uint16_t *narrow = (const uint16_t *)factor.numbers + first;
  if (factor.type == FACTOR_F32)
    memcpy(out, (const float *)factor.numbers + first, count * sizeof *out);
  else if (factor.type == FACTOR_BF16)
    for (size_t i = 0; i < count; i++) out[i] = bfloat_to_float(narrow[i]);
  else
    for (size_t i = 0; i < count; i++) out[i] = half_to_float(narrow[i]);
}
