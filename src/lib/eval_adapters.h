/* The adapters of an evaluation: read, put into slots from the first on, and named by a row that direct steps take. */
#ifndef SPATE_LIB_EVAL_ADAPTERS_H
#define SPATE_LIB_EVAL_ADAPTERS_H

#include "lib/spate_state.h"

struct eval_adapters {
  struct request_adapters held;
  struct row row; /* its n_lora and lora */
};

/* The engine's runtime is parked. After false nothing is held; after true they are given back before it is resumed. */
bool eval_adapters_take(struct eval_adapters *adapters, spate_engine *engine, const spate_lora *loras, int count,
                        struct error *error);
void eval_adapters_drop(struct eval_adapters *adapters, spate_engine *engine);

#endif
