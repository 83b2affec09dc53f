/* Experts in the host's memory (limits.cpu_experts). */
#ifndef SPATE_BACKEND_CUDA_HOSTED_H
#define SPATE_BACKEND_CUDA_HOSTED_H

#include "backend/cuda/expert_kernels.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct program;

struct cuda_hosted {
  uint8_t *stage;          /* on the device: where such a weight is while an op runs */
  uint8_t *memory, **data; /* pinned; [n_weight] where they are in there, NULL: the weight is on the device */
  size_t bytes;            /* of that memory, in huge pages */
  bool pinned;             /* it is known to the driver */
};

/* Memory for all of them, and giving back what was taken; `data` is there. */
bool cuda_hosted_take(struct program *program, struct error *error);
void cuda_hosted_release(struct program *program);
/* A weight's experts to the stage: those of a list, or (NULL) all. */
void cuda_hosted_fetch(struct program *program, int weight, const struct cuda_expert_lists *lists);
/* backend.host_rate */
bool cuda_host_rate(struct program *program, double *gbs, struct error *error);

#endif
