/* Which module of a Hugging Face model a part of a plan's weight is: adapters name modules, plans the tensors of the
 * checkpoint that they were made from. */
#ifndef SPATE_ENGINE_ADAPTER_MODULE_H
#define SPATE_ENGINE_ADAPTER_MODULE_H

#include "plan/plan.h"

enum { ADAPTER_MODULE_BYTES = 192 };

struct adapter_module {
  char name[ADAPTER_MODULE_BYTES]; /* "model.layers.0.self_attn.q_proj" */
  int head_rows; /* of q and k where the checkpoint has the two halves of a head's rows side by side in turn, as GGUF
                    files of llama do, and adapters have them one after the other; 0: both have the same order */
};

/* False when the part has no module that an adapter could be for. */
bool adapter_module_of(const struct plan *plan, const struct op *op, int part, struct adapter_module *module);

/* The row of the module that is the row of the part (of its tensor). */
int adapter_module_row(const struct adapter_module *module, int row);

#endif
