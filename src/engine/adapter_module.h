/* Which module of a Hugging Face model a part of a plan's weight is: adapters name modules, plans the tensors of the
 * checkpoint that they were made from. */
#ifndef SPATE_ENGINE_ADAPTER_MODULE_H
#define SPATE_ENGINE_ADAPTER_MODULE_H

#include "plan/plan.h"

enum { ADAPTER_MODULE_BYTES = 192 };

struct adapter_module {
  char name[ADAPTER_MODULE_BYTES]; /* "model.layers.0.self_attn.q_proj" */
  char gguf[ADAPTER_MODULE_BYTES]; /* "blk.0.attn_q"; "": GGUF has no name for it */
  /* GGUF files of llama have the two halves of a head's rows of q and k side by side in turn, others one after the
   * other. head_rows: of such a head, where the base and the adapter differ in that; 0: they do not. */
  int head_rows;
  bool pairs; /* the base has them in turn */
};

/* pairs: the adapter has q and k in turn; architecture: what GGUF calls the base's, "": unknown. False when the part
 * has no module that an adapter could be for. */
bool adapter_module_of(const struct plan *plan, const struct op *op, int part, const char *architecture, bool pairs,
                       struct adapter_module *module);

/* The row of the adapter's matrix that is the row of the part (of its tensor). */
int adapter_module_row(const struct adapter_module *module, int row);

#endif
