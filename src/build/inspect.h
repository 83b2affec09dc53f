/* What is in a model or an engine file, as JSON: `spate inspect`. */
#ifndef SPATE_BUILD_INSPECT_H
#define SPATE_BUILD_INSPECT_H

#include "base/buffer.h"
#include "build/build_progress.h"

/* path: a GGUF file, a Hugging Face directory or an engine file. Appends one JSON object. */
bool inspect_path(const char *path, struct build_progress *progress, struct buffer *json, struct error *error);

#endif
