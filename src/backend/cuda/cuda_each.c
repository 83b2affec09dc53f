/* Linears of which each matrix has a part of the input and of the result, where nothing else is to be done: heads' own
 * in latent attention. All others are experts' (cuda_experts.c). */
#include "backend/cuda/cuda_program.h"
#include "backend/cuda/each_kernels.h"

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
  bool few = e.n_token <= EACH_FEW && !p->limits.batch_invariant;
  (few ? cuda_each_few : cuda_each_many)(&e, p->device->stream);
  p->ready = NULL;
}
