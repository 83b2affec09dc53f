/* Mixtures of experts in steps of few tokens: runs of ops that are one launch. */
#ifndef SPATE_BACKEND_CUDA_MIXTURE_H
#define SPATE_BACKEND_CUDA_MIXTURE_H

#include "backend/cuda/cuda_program.h"

/* The ops of a mixture. */
struct cuda_mixture_parts {
  const struct op *before, *router, *route, *spread, *gather, *after; /* before, after NULL: none; router: its logits
                                                                       * are there */
};

/* cuda_mixture_layout.c: so many of the plan's first n_body ops, from this one on, can be one launch with so many
 * tokens; 0: they cannot. */
int cuda_mixture_find(const struct plan *plan, int n_body, int n_token, const struct op *op,
                      struct cuda_mixture_parts *parts);
/* So many ops from this one on are one launch in the step; 0: they are not. */
int cuda_mixture_ops(const struct program *program, const struct op *op);
/* Launches them. */
void cuda_mixture_run(struct program *program, const struct op *op);
/* cuda_linear.c: the linear after an op that takes what it makes of 16-bit tokens, in tiles or not; NULL: none. Leaves
 * it its input, and takes what the one before has left. */
const struct op *cuda_linear_next(const struct program *program, const struct op *op, const struct cuda_linear *linear,
                                  bool tiles);
void cuda_linear_hand_over(struct program *program, const struct op *op, const struct op *next,
                           struct cuda_linear *linear);

#endif
