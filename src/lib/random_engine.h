/* A known network with random weights as an engine, without a file: for benches. The plan is made by the code that a
 * real model's goes through. */
#ifndef SPATE_LIB_RANDOM_ENGINE_H
#define SPATE_LIB_RANDOM_ENGINE_H

#include "base/buffer.h"
#include "engine/loaded_engine.h"

struct random_engine {
  struct engine_facts facts;
  struct buffer plan;
  struct loaded_engine *loaded;
  void **packed; /* [n_weight] made by the host; NULL: made on the device, or copied there */
};

/* config: zeros are defaults. Release it in either case. */
bool random_engine_open(struct random_engine *engine, const char *model, const struct engine_config *config,
                        const struct engine_options *options, struct error *error);
void random_engine_release(struct random_engine *engine);

#endif
