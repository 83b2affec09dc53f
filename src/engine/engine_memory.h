/* What an engine takes of the memory that there is, before anything is allocated. */
#ifndef SPATE_ENGINE_ENGINE_MEMORY_H
#define SPATE_ENGINE_ENGINE_MEMORY_H

#include "engine/loaded_engine.h"

/* Fills the engine's footprint, its numbers of blocks and the bytes of its KV cache, for `available` bytes; refuses
 * what does not fit with what would. */
bool engine_memory_plan(struct loaded_engine *engine, const struct engine_options *options, uint64_t available,
                        struct error *error);

/* The same of experts that stay in the host's memory, of which so many bytes are available. */
bool engine_memory_host(const struct loaded_engine *engine, uint64_t available, struct error *error);

/* Bytes that one token reads of them. */
uint64_t engine_host_token_bytes(const struct loaded_engine *engine);

#endif
