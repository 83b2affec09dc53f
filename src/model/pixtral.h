/* Pixtral's encoder as a part of LLaVA's checkpoints, which Mistral's first are. */
#ifndef SPATE_MODEL_PIXTRAL_H
#define SPATE_MODEL_PIXTRAL_H

#include "model/checkpoint.h"
#include "plan/plan_builder.h"

/* Whether the config's vision_config is of this encoder. */
bool pixtral_encodes(const struct checkpoint *checkpoint, bool *encodes, struct error *error);

/* The encoder and LLaVA's projector of two linears; with biases where the config does not say. */
bool pixtral_llava_build(const struct checkpoint *checkpoint, const struct plan *decoder, struct plan_builder *builder,
                         struct error *error);

#endif
