/* Reading an adapter for an engine: from a directory in the layout of the package peft (adapter_config.json and
 * adapter_model.safetensors), or from a GGUF file as llama.cpp has them, checked against the engine's plan. Nothing in
 * it is trusted. */
#ifndef SPATE_ENGINE_ADAPTER_READ_H
#define SPATE_ENGINE_ADAPTER_READ_H

#include "engine/engine_file.h"
#include "plan/adapter.h"

/* NULL with a sentence that names the module: shapes, ranks and types that do not fit the base, numbers that are not
 * finite, factors without their partner, tensors that belong to nothing. Takes a pass over the base's matrices where
 * there are magnitudes, but none before a rank above max_rank is refused (ERROR_LIMIT). Any thread; the engine may be
 * running. */
struct adapter *adapter_read(const char *path, const struct engine_file *engine, int32_t max_rank, struct error *error);
/* The same for merging, which takes what changes experts whatever the device. */
struct adapter *adapter_read_merged(const char *path, const struct engine_file *engine, struct error *error);
void adapter_free(struct adapter *adapter); /* NULL is allowed */

/* The digest of the weights that an adapter says it is for (spate_base_digest); *stated: it says so. */
bool adapter_read_base(const char *path, struct hash128 *base, bool *stated, struct error *error);

#endif
