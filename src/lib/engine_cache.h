/* From a model to its engine file: an engine file is itself; a checkpoint's is built into the cache on first use, under
 * a name that changes with the checkpoint's files and the build options. */
#ifndef SPATE_LIB_ENGINE_CACHE_H
#define SPATE_LIB_ENGINE_CACHE_H

#include "engine/engine_config.h"
#include "spate.h"

#include <limits.h>

struct engine_place {
  char path[PATH_MAX];
  bool cached; /* built by us from the model, so that it can be built again; false for the caller's own engine file */
  struct step_limits steps; /* that the opening asks for */
};

/* Finds the engine file. One of the cache is built when it is not there yet, and again, with a warning in the log, when
 * what is there is damaged. */
bool engine_cache_resolve(const spate_open_options *options, struct engine_place *place, struct error *error);

/* The same build from public options. steps: what it is going to be opened with. */
bool engine_build(const spate_build_options *options, const struct step_limits *steps, struct error *error);

#endif
