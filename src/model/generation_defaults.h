/* Reads what a checkpoint says of generation: generation_config.json, or the metadata of a GGUF file. */
#ifndef SPATE_MODEL_GENERATION_DEFAULTS_H
#define SPATE_MODEL_GENERATION_DEFAULTS_H

#include "model/checkpoint.h"

/* What holds where the model says nothing. */
extern const struct checkpoint_generation generation_plain;

/* False with a sentence that names the file and the key when a value is out of range. */
bool generation_from_json(struct checkpoint_generation *g, const json_t *object, struct error *error);
bool generation_from_gguf(struct checkpoint_generation *g, const struct gguf *gguf, struct error *error);

/* Adds an eos_token_id: an id, a list of ids, null or nothing. `where` begins the sentence. */
bool generation_ends_read(struct checkpoint_generation *g, const json_t *ids, const char *where, struct error *error);

#endif
