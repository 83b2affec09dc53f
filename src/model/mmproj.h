/* Encoders of images in GGUF files of their own (mmproj), as llama.cpp writes them. */
#ifndef SPATE_MODEL_MMPROJ_H
#define SPATE_MODEL_MMPROJ_H

#include "model/checkpoint.h"
#include "plan/plan_builder.h"

/* The plan of the checkpoint's second file (checkpoint_projector). */
bool mmproj_build(const struct checkpoint *checkpoint, const struct plan *decoder, struct plan_builder *builder,
                  struct error *error);

/* Of a file that says it, as LLaVA's do: how pictures are made, as a preprocessor_config.json has it; in the arena.
 * Other files leave *text as it is. */
bool mmproj_pictures(const struct gguf *file, struct arena *arena, struct slice *text, struct error *error);

#endif
