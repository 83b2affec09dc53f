/* Adapters of experts, in steps in which some row has one: kernels between a product over experts and what is made of
 * it (plan/adapter.h has the arithmetic). A pair is a token and one of its choices, as in expert_kernels.h; its
 * adapters are its token's uses, and where one changes the chosen expert's matrix its factors are found by the device.
 */
#ifndef SPATE_BACKEND_CUDA_EXPERT_ADAPTER_H
#define SPATE_BACKEND_CUDA_EXPERT_ADAPTER_H

#include "backend/cuda/adapter_kernels.h"
#include "backend/cuda/expert_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { EXPERT_ADAPTED = 512 /* tokens whose products there is room for at least, EXPERT_SLICE at most */ };

/* An expert's factors in a slot, rows filled up with zeros: a [part][rank][columns, up to 64], b [row][rank]. */
struct cuda_expert_site {
  const uint8_t *a, *b;
  int32_t rank; /* filled up; 0: the adapter leaves the expert alone */
};

struct cuda_expert_adapters {
  struct cuda_adapter_factors factors; /* shapes alone */
  const struct cuda_expert_site *site; /* of the first slot: [n_expert] of the op */
  const struct cuda_adapter_use *use;  /* [n_token][USES]; NULL: nothing is changed */
  float *h;                            /* [pair][USES][part × rank]: what the shrink leaves */
  struct cuda_norm norm;               /* of the input */
  int32_t n_site;                      /* from a slot to the next */
};

/* h of all pairs that have factors, from linear.in. early: the device has dependent launches. */
void cuda_experts_shrink(const struct cuda_experts *experts, const struct cuda_expert_adapters *adapters, bool early,
                         cuda_stream stream);
/* Products, with their biases, in linear.product: [pair][rows], to results: pair by pair, or a gather's. */
void cuda_experts_adapt(const struct cuda_experts *experts, const struct cuda_expert_adapters *adapters, bool early,
                        cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
