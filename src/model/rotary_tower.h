/* What vision transformers share that see images of any size: no table of positions, but rotations by line and column
 * of a patch. Qwen's and Pixtral's differ in fields and in what their tensors are called. */
#ifndef SPATE_MODEL_ROTARY_TOWER_H
#define SPATE_MODEL_ROTARY_TOWER_H

#include "model/model_config.h"
#include "plan/plan_builder.h"

/* What a checkpoint calls the tensors, without ".weight"; of a layer behind "LAYERS.number.". NULL: there is none. */
struct rotary_names {
  const char *patch, *first_norm; /* first_norm: of embedded patches */
  const char *second_frame;       /* whole name of the patches' matrix for a second frame, which is the first again */
  const char *layers;
  const char *attend_norm, *qkv[3], *out;  /* one of qkv: the three are one tensor */
  const char *mlp_norm, *gate, *up, *down; /* without a gate: down(act(up(x))) */
};

/* The largest image of an encoder whose config has no bound: rows of more patches are not worth their memory. */
enum { ROTARY_AREA = 1 << 14 };

struct rotary_tower {
  const struct rotary_names *names;
  const char *prefix; /* of all tensors */
  int hidden, feed_forward, n_layer, n_head;
  int channels, patch, frames, merge;
  int grid, area;                    /* patches of an image at most: a side, and in all */
  int window;                        /* patches a side of the windows that local layers see; 0: there are none */
  uint8_t local[LIMIT_MODEL_LAYERS]; /* 1: the layer sees windows */
  enum norm_kind norm;
  enum act_kind act;
  bool bias; /* of all matrices but the patches' */
  double eps, theta;
  bool pairs;                 /* partners in rotations are neighbours */
  bool interleaved;           /* frequencies of lines and columns are every other one of a head's */
  enum norm_kind joined_norm; /* of patches, before they are joined */
  const char *joined_name;    /* what it is called, prefix and all */
  double joined_eps;
  int mark; /* the decoder's token that stands for a row */
};

/* A setting of the config's vision_config, optional. The keys of one may differ: call it for each. */
bool rotary_tower_size(const struct checkpoint *checkpoint, const char *key, int max, int *value, struct error *error);

/* Whether the sizes fit each other: heads, rotations, merged patches, windows. */
bool rotary_tower_check(const struct rotary_tower *tower, struct error *error);

/* Everything up to the joined patches, which become the value that is returned: merge² × hidden columns over outputs.
 */
int rotary_tower_build(const struct rotary_tower *tower, struct plan_builder *builder);

#endif
