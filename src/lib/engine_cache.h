/* From a model to its engine file: an engine file is itself; a checkpoint's is built into the cache on first use, under
 * a name that changes with the checkpoint's files and the build options. */
#ifndef SPATE_LIB_ENGINE_CACHE_H
#define SPATE_LIB_ENGINE_CACHE_H

#include "base/error.h"
#include "spate.h"

#include <limits.h>

/* Writes the engine file's path. Builds when it is not there yet, or cannot be opened (damaged, other version). */
bool engine_cache_resolve(const spate_open_options *options, char path[PATH_MAX], struct error *error);

/* The same build from public options. */
bool engine_build(const spate_build_options *options, struct error *error);

#endif
