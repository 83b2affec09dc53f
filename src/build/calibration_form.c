/* Forms that are not followed so far. */
#include "build/calibration_form.h"

/* Is the linear one of heads' matrices, which the site runs? */
static bool site_runs(const struct walk_site *site, int op) {
  for (int i = site->count; i < site->n_linear; i++)
    if (site->op[i] == op) return true;
  return false;
}

/* The first linear of experts outside of mixtures, or of heads outside of latent attention, which would be taken for
 * one matrix; −1: there is none. */
static int stray_linear(const struct plan *plan) {
  struct walk_site site;
  bool any = walk_site_find(plan, 0, &site);
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = &plan_ops(plan)[i];
    while (any && i >= site.first + site.n_op) any = walk_site_find(plan, site.first + site.n_op, &site);
    if (op->kind != OP_LINEAR || op->args.linear.expert_mode == EXPERTS_NONE) continue;
    bool inside = any && i >= site.first;
    if (linear_is_routed(&op->args.linear) ? !inside || !walk_site_mixes(&site)
                                           : !inside || site.kind != SITE_LATENT || !site_runs(&site, i))
      return i;
  }
  return -1;
}

bool calibration_follows(const struct plan *plan, struct error *error) {
  if (plan->role == PLAN_ENCODER)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The model makes vectors or labels of texts; its matrices are rounded without calibration so far: "
                     "choose quant_algo RTN.");
  int stray = stray_linear(plan);
  if (stray < 0) return true;
  const struct op *op = &plan_ops(plan)[stray];
  return error_set(error, ERROR_UNSUPPORTED,
                   "Layer %d has %s of a form that calibration does not know; choose quant_algo RTN.", op->layer,
                   linear_is_routed(&op->args.linear) ? "a mixture of experts" : "latent attention");
}
