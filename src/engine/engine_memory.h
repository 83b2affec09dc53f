/* What an engine takes of the memory that there is, before anything is allocated. */
#ifndef SPATE_ENGINE_ENGINE_MEMORY_H
#define SPATE_ENGINE_ENGINE_MEMORY_H

#include "engine/loaded_engine.h"

/* Bytes that are available: of the memory that the device has its own in, and of the host's, for experts that stay
 * there. */
struct engine_room {
  uint64_t device, host;
};

/* Fills the engine's footprint, its numbers of blocks and the bytes of its KV cache; refuses what does not fit with
 * what would. */
bool engine_memory_plan(struct loaded_engine *engine, const struct engine_options *options,
                        const struct engine_room *room, struct error *error);

/* Bytes that one token reads of experts in the host's memory. */
uint64_t engine_host_token_bytes(const struct loaded_engine *engine);

#endif
