/* A family: networks that share one mapping from config to plan and weights. To add one: a file src/model/NAME.c that
 * defines a struct family, a line in the table of family.c, fixtures by tools/make_model_fixtures.py. */
#ifndef SPATE_MODEL_FAMILY_H
#define SPATE_MODEL_FAMILY_H

#include "base/buffer.h"
#include "base/error.h"
#include "model/checkpoint.h"

struct plan_builder;

struct family {
  const char *name;
  const char *const *hf;   /* names in "architectures" of config.json, NULL at the end */
  const char *const *gguf; /* values of general.architecture, NULL at the end */
  /* Adds values, groups, weights and ops, and fills the builder's head. */
  bool (*build)(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error);
  /* Checkpoint tensors that are rightly left unused; NULL: none but the common ones. */
  bool (*ignores)(const struct checkpoint *checkpoint, struct slice tensor);
};

/* By the checkpoint's architecture. The sentence for an unknown one lists what loads. */
const struct family *family_find(const struct checkpoint *checkpoint, struct error *error);

/* The decoder's plan (schemes still F32) in `block`, checked against the checkpoint: every tensor that a weight names
 * exists with the right shape, and no tensor of the checkpoint is left over. */
bool family_plan(const struct family *family, const struct checkpoint *checkpoint, struct buffer *block,
                 struct error *error);

#endif
