/* Adapters of parameters that are all experts' (peft's target_parameters): which parameter of transformers' network a
 * tensor of experts is a part of, whatever the checkpoint has it in, and what of the factors is one expert's. Internal
 * to adapter_source.c. */
#ifndef SPATE_ENGINE_ADAPTER_PARAMETER_H
#define SPATE_ENGINE_ADAPTER_PARAMETER_H

#include "engine/adapter_module.h"
#include "format/tensor.h"

/* Both of a layer are parameters of one module; peft wraps that for each that is trained, down_proj outermost. */
struct expert_parameter {
  char module[ADAPTER_MODULE_BYTES];
  bool gates;  /* gate_up_proj, not down_proj */
  bool halved; /* the tensor is gate or up alone */
  bool up;     /* and its rows come after gate's */
};

/* False: the tensor is no part of such a parameter. */
bool expert_parameter_of(const char *tensor, struct expert_parameter *out);
/* "MODULE.gate_up_proj" or "MODULE.down_proj". */
void expert_parameter_name(const struct expert_parameter *parameter, char out[2 * ADAPTER_MODULE_BYTES]);

/* Factors of one expert and tensor, out of a [rank · experts][columns], expert by expert, and b [rows][rank · experts],
 * rank by rank: b's rows [first, first + rows). */
struct expert_slice {
  const struct tensor *a, *b;
  int n_expert, expert, rank, first, rows;
};

struct expert_factors {
  struct expert_factors *next;
  struct expert_slice of;
  struct tensor a, b;
  uint8_t numbers[]; /* of b */
};

/* Put before the others of *list, whose owner frees each; the list's first where it is this slice already: parts of a
 * matrix that are in one tensor have it together. NULL when out of memory. */
struct expert_factors *expert_factors_take(struct expert_factors **list, const struct expert_slice *slice,
                                           struct error *error);

#endif
