/* A layer's mixture of experts for few tokens as one launch (mixture_few.cu): the router, its choice, the gated linear
 * of the chosen experts, and the one that adds their results up. */
#ifndef SPATE_BACKEND_CUDA_MIXTURE_KERNELS_H
#define SPATE_BACKEND_CUDA_MIXTURE_KERNELS_H

#include "backend/cuda/expert_kernels.h"
#include "backend/cuda/mixture_layout.h"

#ifdef __cplusplus
extern "C" {
#endif

/* up and down: linear of the first expert, with that layer's norm and what is added; up is gated, its results are a
 * whole number of pieces. down may leave the next linear its input, as linears of few tokens do: its result_cols are
 * its rows then, and a multiple of 64, as lanes of a half warp that have no column would be missing where the others
 * add up squares. */
struct cuda_mixture {
  struct cuda_linear
      before; /* what adds to in last, in whole strips, of fragments that are there; matrix.data NULL: none */
  struct cuda_linear router; /* matrix.data NULL: route.logits are there */
  struct cuda_route route;   /* no groups, no bias */
  struct cuda_linear up, down;
  struct cuda_linear after; /* what takes the results of down, which leaves it its input; matrix.data NULL: none */
  struct cuda_gate gate;
  uint64_t up_bytes, down_bytes; /* from an expert to the next */
  const struct cuda_row *row;    /* of the batch: rows without tokens choose nobody */
  const int32_t *token_row;
  int32_t n_token;
};

void cuda_mixture_few(const struct cuda_mixture *mixture, const struct cuda_between *between, int multiprocessors,
                      cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
