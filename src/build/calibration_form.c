/* Forms that are not followed so far. */
#include "build/calibration_form.h"

/* Matrices of heads: they read parts of rows that others fill together. */
static bool has_heads(const struct plan *plan) {
  for (int i = 0; i < plan->n_op; i++)
    if (plan_ops(plan)[i].kind == OP_LINEAR && plan_ops(plan)[i].args.linear.expert_mode == EXPERTS_EACH) return true;
  return false;
}

/* The first linear of experts outside of mixtures, which would be taken for one matrix; −1: there is none. */
static int stray_expert(const struct plan *plan) {
  struct walk_site site;
  bool any = walk_site_find(plan, 0, &site);
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = &plan_ops(plan)[i];
    while (any && i >= site.first + site.n_op) any = walk_site_find(plan, site.first + site.n_op, &site);
    if (op->kind != OP_LINEAR || !linear_is_routed(&op->args.linear)) continue;
    if (!any || i < site.first || !walk_site_mixes(&site)) return i;
  }
  return -1;
}

bool calibration_follows(const struct plan *plan, struct error *error) {
  if (has_heads(plan))
    return error_set(error, ERROR_UNSUPPORTED,
                     "The model has latent attention, whose heads' matrices are rounded without calibration so far; "
                     "choose quant_algo RTN.");
  int stray = stray_expert(plan);
  return stray < 0 || error_set(error, ERROR_UNSUPPORTED,
                                "Layer %d has a mixture of experts of a form that calibration does not know; choose "
                                "quant_algo RTN.",
                                plan_ops(plan)[stray].layer);
}
