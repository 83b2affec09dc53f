/* Spate: adapters (LoRA) of an open engine. Included by spate.h. docs/lora.md tells which are taken.
 *
 * spate_open_options.lora_dir is a folder whose sub-folders (of the package peft) and .gguf files are adapters, called
 * as they are called there. A request names some; they are read when they are first asked for, while others run. */
#ifndef SPATE_LORA_H
#define SPATE_LORA_H

#include "spate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of a request. Several of one name are added up; with a scale of 0 it is as if it were not there. */
typedef struct spate_lora {
  const char *name;
  float scale; /* of what it adds, beside its own alpha / r: any finite number */
} spate_lora;

/* Reads the adapter `path` (its name in lora_dir, or lora_dir, a / and that), also when it was read before, and lets
 * requests name it `name`. Returns when it is there, which may take until another one is no longer used. The caller's
 * path never leaves the folder. */
SPATE_API bool spate_lora_load(spate_engine *engine, const char *name, const char *path, spate_error *error);

/* Requests that name it from now on are refused, until it is loaded by that name again. */
SPATE_API bool spate_lora_unload(spate_engine *engine, const char *name, spate_error *error);

/* Calls visit with each name that spate_lora_load has given, and the adapter's in lora_dir, or that spate_lora_unload
 * has taken away: NULL. visit calls nothing of the engine's. */
SPATE_API void spate_lora_given(const spate_engine *engine,
                                void (*visit)(void *user, const char *name, const char *path), void *user);

/* As another engine of this lora_dir has been told to: requests may name `path` so, or (NULL) nobody may use the name.
 * Reads nothing. False also where there is no lora_dir. */
SPATE_API bool spate_lora_give(spate_engine *engine, const char *name, const char *path, spate_error *error);

/* May a request name it? */
SPATE_API bool spate_lora_known(const spate_engine *engine, const char *name);

/* Calls visit with the names that requests may give, at most `most` of them. */
SPATE_API void spate_lora_list(const spate_engine *engine, size_t most, void (*visit)(void *user, const char *name),
                               void *user);

#ifdef __cplusplus
}
#endif

#endif
