/* The Llama family's decoder as a part of another network's checkpoint. */
#ifndef SPATE_MODEL_LLAMA_TEXT_H
#define SPATE_MODEL_LLAMA_TEXT_H

#include "model/decoder.h"

struct llama_text {
  const char *prefix, *head_prefix; /* of its tensors' names, and of the head's ("": none) */
  struct decoder defaults;          /* what the config need not say; 0: it must */
};

/* Builds the decoder that the config's "text_config" describes, by its model_type: llama, mistral, qwen2 or qwen3. */
bool llama_text_build(const struct llama_text *text, const struct checkpoint *checkpoint, struct plan_builder *builder,
                      struct error *error);

#endif
