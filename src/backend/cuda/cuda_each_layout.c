/* Which linears of a matrix for each part have kernels of their own (each_units.cu). Host code without a device. */
#include "backend/cuda/cuda_program.h"

bool cuda_each_fits(const struct cuda_path *path, const struct plan *plan, const struct op *op) {
  if (!cuda_experts_units(path, plan, op) || op->args.linear.expert_mode != EXPERTS_EACH) return false;
  const struct linear_args *a = &op->args.linear;
  bool plain = a->norm == NORM_NONE && a->post_norm == NORM_NONE && a->act == ACT_NONE && !a->gated && a->scale == 1 &&
               !(a->softcap > 0) && op->in[1] < 0 && op->weight[1] < 0;
  const struct weight *w = plan_weights(plan) + op->weight[0];
  return plain && w->scheme.kind == SCHEME_BF16 && w->cols % PIECE_COLS == 0;
}
