/* Gemma 3's decoder, alone or as a part of a checkpoint that also sees images. */
#ifndef SPATE_MODEL_GEMMA3_TEXT_H
#define SPATE_MODEL_GEMMA3_TEXT_H

#include "model/checkpoint.h"
#include "plan/plan_builder.h"

bool gemma3_text_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error);

#endif
