/* Linears of which each matrix has a part of the input and of the result, where tokens are few and nothing else is to
 * be done: heads' own in latent attention. All others are experts' (cuda_experts.c). */
#include "backend/cuda/cuda_program.h"
#include "backend/cuda/each_kernels.h"

bool cuda_each_takes(const struct program *p, const struct op *op) {
  if (!cuda_experts_units(p->device->path, p->plan, op) || op->args.linear.expert_mode != EXPERTS_EACH) return false;
  const struct linear_args *a = &op->args.linear;
  bool plain = a->norm == NORM_NONE && a->post_norm == NORM_NONE && a->act == ACT_NONE && !a->gated && a->scale == 1 &&
               !(a->softcap > 0) && op->in[1] < 0 && op->weight[1] < 0;
  bool whole = plan_weights(p->plan)[op->weight[0]].cols % PIECE_COLS == 0;
  return plain && whole && p->on_device.n_token <= EACH_FEW && !p->limits.batch_invariant;
}

void cuda_each_run(struct program *p, const struct op *op) {
  const struct weight *w = plan_weights(p->plan) + op->weight[0];
  const struct cuda_linear a = cuda_linear_of(p, op);
  const struct cuda_each e = {.weights = a.matrix.data,
                              .head_bytes = cuda_expert_bytes(w),
                              .in = a.in,
                              .out = a.out,
                              .n_head = w->n_expert,
                              .rows = w->rows,
                              .cols = w->cols,
                              .n_token = p->on_device.n_token,
                              .in_cols = a.in_cols,
                              .out_cols = a.out_cols,
                              .multiprocessors = p->device->multiprocessors,
                              .early = p->device->path->chained};
  cuda_each_few(&e, p->device->stream);
  p->ready = NULL;
}
