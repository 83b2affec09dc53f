/* What an adapter's file has for an op, laid out as struct adapter_op has it: for the matrix as the engine stores it,
 * whatever was folded into it. Internal to adapter_read.c. */
#ifndef SPATE_ENGINE_ADAPTER_FILL_H
#define SPATE_ENGINE_ADAPTER_FILL_H

#include "base/arena.h"
#include "engine/adapter_source.h"
#include "plan/adapter.h"

struct adapter_maker {
  const struct engine_file *engine; /* while they are filled */
  struct arena arena;               /* of the adapter's arrays */
  uint64_t bytes;                   /* of them */
};

/* That there is none, or not so much; false. */
bool adapter_no_memory(struct error *error);

/* out has its op and rank; m: [parts of the matrix]. Refuses numbers that are not finite, or are none times α ÷ r and
 * the base's factors. */
bool adapter_linear_fill(struct adapter_maker *maker, const struct op *op, struct adapter_op *out,
                         const struct module_tensors *m, struct error *error);
bool adapter_embedding_fill(struct adapter_maker *maker, const struct op *op, struct adapter_op *out,
                            const struct module_tensors *m, struct error *error);

#endif
