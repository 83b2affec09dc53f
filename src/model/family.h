/* A family: networks that share one mapping from config to plan and weights. To add one: a file src/model/NAME.c that
 * defines a struct family, a line in the table of family.c, fixtures by tools/make_model_fixtures.py. */
#ifndef SPATE_MODEL_FAMILY_H
#define SPATE_MODEL_FAMILY_H

#include "base/buffer.h"
#include "base/error.h"
#include "model/checkpoint.h"
#include "plan/plan_builder.h"

struct architecture {
  const char *name; /* as checkpoint_architecture gives it */
  const char *gguf; /* what GGUF files call its decoder; NULL: it can be any of several */
};

struct family {
  const char *title;                        /* for people: docs/models.md */
  const char *tried;                        /* sizes that have answered as they should; NULL: tiny checkpoints alone */
  const struct architecture *architectures; /* a NULL name at the end */
  /* Whether the checkpoint is an encoder of texts, and its plan a PLAN_ENCODER; NULL: a decoder's always. */
  bool (*encodes)(const struct checkpoint *checkpoint);
  /* Adds values, groups, weights and ops, and fills the builder's head. */
  bool (*build)(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error);
  /* The same for the plan of the encoder that makes images into rows of the decoder's embeddings; without an op: the
   * checkpoint has none. NULL: text only. */
  bool (*build_vision)(const struct checkpoint *checkpoint, const struct plan *decoder, struct plan_builder *builder,
                       struct error *error);
  /* Whether a tensor is rightly left unused; NULL: none is. */
  bool (*unused)(const struct checkpoint *checkpoint, const char *tensor);
};

/* One object for each family, defined in its file. */
extern const struct family llama_family, gemma_family, gemma3_family, phi3_family, granite_family, olmo2_family,
    smollm3_family, glm4_family, cohere_family, gpt2_family, gpt_neox_family, starcoder2_family, falcon_family,
    mpt_family, mixtral_family, phimoe_family, gpt_oss_family, deepseek_family, gemma3_vision_family, idefics3_family,
    llava_family, mistral3_family, qwen2_vl_family, bert_family, modernbert_family, nomic_bert_family, mpnet_family,
    distilbert_family, jina_bert_family;

/* Of families that are nothing else. */
bool family_always_encodes(const struct checkpoint *checkpoint);

/* By the checkpoint's architecture. The sentence for an unknown one lists what loads. */
const struct family *family_find(const struct checkpoint *checkpoint, struct error *error);

/* Families one after the other, for docs/models.md; NULL behind the last. */
const struct family *family_at(int index);

/* What GGUF files, models and adapters, call the checkpoint's architecture, which is of the family; "": unknown. */
const char *family_gguf_name(const struct family *family, const struct checkpoint *checkpoint);

/* The plans (schemes still F32), one of each role that the network has, in the blocks by role (an encoder of texts in
 * the decoder's place: a network is one or the other); of others the block is left empty. They are checked against the
 * checkpoint: every tensor that a weight names exists with the right shape, and no tensor of the checkpoint is left
 * over. length: of the longest text that they are for. */
bool family_plan(const struct family *family, const struct checkpoint *checkpoint, int length,
                 struct buffer block[PLAN_ROLES], struct error *error);

/* The decoder's from the config alone, of a checkpoint without tensors. */
bool family_outline(const struct family *family, const struct checkpoint *checkpoint, int length, struct buffer *block,
                    struct error *error);

#endif
