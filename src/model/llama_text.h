/* The Llama family's decoder as a part of another network's checkpoint. */
#ifndef SPATE_MODEL_LLAMA_TEXT_H
#define SPATE_MODEL_LLAMA_TEXT_H

#include "model/decoder.h"

struct llama_text {
  const char *prefix, *head_prefix; /* of its tensors' names, and of the head's ("": none) */
  const char *member;               /* llama, mistral, qwen2 or qwen3; NULL: as the config's model_type says */
  double rope_base;                 /* of a config without one; 0: 10000 */
  struct decoder defaults;          /* what the config need not say; 0: it must */
};

/* Builds the decoder that the config's "text_config" describes, by its model_type or as text->member says. */
bool llama_text_build(const struct llama_text *text, const struct checkpoint *checkpoint, struct plan_builder *builder,
                      struct error *error);

#endif
