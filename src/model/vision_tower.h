/* What vision transformers share: patches through a convolution that is a matrix, learned positions, layers of
 * bidirectional attention and a plain feed-forward, each behind a layer norm. CLIP's and SigLIP's differ in fields. */
#ifndef SPATE_MODEL_VISION_TOWER_H
#define SPATE_MODEL_VISION_TOWER_H

#include "model/model_config.h"
#include "plan/plan_builder.h"

/* What a checkpoint calls the tensors, without ".weight"; of a layer behind "LAYERS.number.". */
struct vision_names {
  const char *patch, *position, *class_token, *pre_norm, *post_norm;
  const char *layers;
  const char *attend_norm, *qkv[3], *out, *mlp_norm, *up, *down;
};

extern const struct vision_names vision_names_hf, vision_names_gguf;

struct vision_tower {
  const struct vision_names *names; /* NULL: vision_names_hf */
  const char *prefix;               /* of its tensors' names in the checkpoint, up to "embeddings." */
  int hidden, feed_forward, n_layer, n_head;
  int channels, image, patch; /* image: pixels of a side */
  double eps;
  enum act_kind act;
  bool class_token; /* a learned token before the patches */
  bool patch_bias, pre_norm, post_norm;
  enum image_sizes sizes;
  bool keep; /* the learned token becomes a row too */
  bool mean; /* a row is the mean of merge × merge patches, which are not joined */
  int used;  /* of the layers, those that the result is made from; 0: all */
  int merge; /* patches a side of the square that becomes one row of the result */
  int mark;  /* the decoder's token that stands for a row */
};

/* Reads the sizes and the activation from the config's "vision_config"; fields set before are the family's defaults. */
bool vision_tower_read(struct vision_tower *tower, const struct checkpoint *checkpoint, struct error *error);

/* Whether the sizes fit each other. */
bool vision_tower_check(const struct vision_tower *tower, struct error *error);

/* Everything up to the joined patches, which become the value that is returned: merge² × hidden columns over outputs,
 * hidden of a mean. The projection to the decoder's width is the family's. */
int vision_tower_build(const struct vision_tower *tower, struct plan_builder *builder);

/* A linear of the checkpoint's NAME.weight (and NAME.bias) from value `in` to a new value of `rows` columns over
 * outputs, which is returned. name: what the weight is called in the plan. */
int vision_project(struct plan_builder *builder, const char *name, const char *tensor, int in, int cols, int rows,
                   bool bias, enum act_kind act);

/* Is the tensor one of the tower's that its result does not depend on: of later layers, or of a norm behind them? */
bool vision_tower_unused(const struct vision_tower *tower, const char *tensor);

/* The prefix of `prefixes` (NULL at the end) below which the checkpoint has the tensor; the first where none does. */
const char *tensor_prefix_find(const struct checkpoint *checkpoint, const char *const *prefixes, const char *tensor);

#endif
