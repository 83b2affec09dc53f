/* Looking for the op that makes a site's input. */
#include "build/scale_fold.h"

static void target_add(struct scale_fold *fold, int weight, int part) {
  if (weight < 0) return;
  fold->target[fold->n_target].weight = weight;
  fold->target[fold->n_target++].part = part;
}

/* Does any op but the site's linears, and the one that `makes` what they read, read the norm's weights? */
static bool norm_shared(const struct plan *plan, const struct walk_site *site, int norm, int makes) {
  for (int i = 0; i < plan->n_op; i++) {
    for (int k = 0; k < OP_WEIGHTS && i != makes && !walk_site_has(site, i); k++)
      if (plan_ops(plan)[i].weight[k] == norm) return true;
  }
  return false;
}

/* Rows of a linear's result follow its factors: nothing but sums and products comes after the matrix. */
static bool linear_follows(const struct linear_args *args) {
  return args->softcap == 0 && args->post_norm == NORM_NONE && args->limit == 0 && args->up_add == 0 &&
         (args->gated || args->act == ACT_NONE);
}

/* The part of the linears before an attention that makes v, whole; a clamp of v comes after the matrix too. */
static void attend_fold(struct scale_fold *fold, const struct plan *plan, int index) {
  const struct op *ops = plan_ops(plan);
  const struct attend_args *args = &ops[index].args.attend;
  int wanted = (args->n_head + args->n_kv_head) * args->dim_k, rows = args->n_kv_head * args->dim_v;
  if (args->clip != 0) return;
  for (int i = index - 1; i >= 0 && ops[i].kind == OP_LINEAR && ops[i].out == ops[index].in[0]; i--) {
    const struct weight *w = plan_weights(plan) + ops[i].weight[0];
    int column = ops[i].args.linear.column;
    for (int part = 0; part < w->n_part; column += w->part[part++].rows) {
      if (column != wanted || w->part[part].rows != rows || w->interleaved || ops[i].in[1] >= 0 ||
          !linear_follows(&ops[i].args.linear))
        continue;
      target_add(fold, ops[i].weight[0], part);
      target_add(fold, ops[i].weight[1], part);
      fold->n_channel = rows;
      fold->shared = args->n_head / args->n_kv_head;
      fold->dim = args->dim_v;
    }
  }
}

void scale_fold_linear(struct scale_fold *fold, const struct plan *plan, const struct op *op) {
  const struct linear_args *args = &op->args.linear;
  if (!linear_follows(args) || !(args->gated || args->multiply)) return;
  int part = args->gated ? 1 : 0;
  const struct weight *w = plan_weights(plan) + op->weight[0];
  if (!args->gated && w->n_part != 1) return;
  target_add(fold, op->weight[0], part);
  target_add(fold, op->weight[1], part);
  fold->n_channel = w->part[part].rows;
}

/* Does any op but the site's linears read the value that an op makes, before another makes it anew? */
static bool value_shared(const struct plan *plan, const struct walk_site *site, int op) {
  const struct op *ops = plan_ops(plan);
  for (int i = op + 1; i < plan->n_op; i++) {
    for (int k = 0; k < OP_INPUTS; k++)
      if (ops[i].in[k] == ops[op].out && !walk_site_has(site, i)) return true;
    if (ops[i].out == ops[op].out) return false;
  }
  return false;
}

/* The norm of what a linear makes, where that is all that the site reads: a latent's. */
static void post_norm_fold(struct scale_fold *fold, const struct plan *plan, const struct walk_site *site, int index) {
  const struct op *op = &plan_ops(plan)[index];
  const struct linear_args *args = &op->args.linear;
  if (args->post_norm != NORM_RMS || op->weight[3] < 0 || op->in[1] >= 0 || args->column != 0 || args->softcap != 0 ||
      norm_shared(plan, site, op->weight[3], index) || value_shared(plan, site, index))
    return;
  target_add(fold, op->weight[3], 0);
  fold->n_channel = plan_weights(plan)[op->weight[3]].cols;
}

void scale_fold_find(struct scale_fold *fold, const struct plan *plan, const struct walk_site *site) {
  const struct op *first = walk_site_op(plan, site, 0);
  *fold = (struct scale_fold){.shared = 1, .dim = 1, .powers = walk_site_mixes(site)};
  if (first->args.linear.norm != NORM_NONE) {
    if (first->args.linear.norm != NORM_RMS || first->weight[2] < 0 || norm_shared(plan, site, first->weight[2], -1))
      return;
    target_add(fold, first->weight[2], 0);
    fold->n_channel = plan_weights(plan)[first->weight[2]].cols;
    return;
  }
  int i = site->first - 1;
  while (i >= 0 && plan_ops(plan)[i].out != first->in[0]) i--;
  if (i >= 0 && plan_ops(plan)[i].kind == OP_ATTEND) attend_fold(fold, plan, i);
  if (i < 0 || plan_ops(plan)[i].kind != OP_LINEAR) return;
  scale_fold_linear(fold, plan, plan_ops(plan) + i);
  if (fold->n_target == 0) post_norm_fold(fold, plan, site, i);
}
