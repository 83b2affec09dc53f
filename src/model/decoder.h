/* What the families share: a decoder of attention and gated feed-forward layers, described by its settings and turned
 * into a plan. A family reads its config into a struct decoder; variants are fields. */
#ifndef SPATE_MODEL_DECODER_H
#define SPATE_MODEL_DECODER_H

#include "base/limits.h"
#include "model/model_config.h"
#include "model/rope_scaling.h"
#include "plan/plan_builder.h"

enum { HEAD_DIM_MAX = 1 << 10 };

/* Layers that attend to everything, and layers that see a window: each kind has its KV group and rotation. */
enum layer_kind { LAYER_GLOBAL, LAYER_LOCAL, LAYER_KINDS };

struct decoder {
  const char *prefix;      /* of tensor names in a Hugging Face checkpoint: "model." */
  const char *head_prefix; /* of the head's there; NULL: none */
  int n_layer, n_head, n_kv_head, head_dim;
  int hidden, feed_forward, vocab, max_position;
  double eps;
  enum act_kind act;
  bool qkv_bias, out_bias, mlp_bias;
  bool qk_norm;      /* RMS norms of q and k over a head */
  bool sandwich;     /* norms after attention and feed-forward too */
  bool tied;         /* the head is the embedding table */
  float norm_add;    /* added to the weights of norms: 1 where they are stored as an offset from one */
  float embed_scale; /* 0: 1 */
  float attend_scale, final_softcap;
  enum rope_style rope_style;
  int rope_dim;         /* leading dimensions of a head that rotate */
  int32_t rope_axis[3]; /* frequencies of each axis; all 0: one axis */
  struct rope rope[LAYER_KINDS];
  int window; /* of LAYER_LOCAL, in tokens, itself included */
  uint8_t layer_kind[LIMIT_MODEL_LAYERS];
};

/* Reads what every family's config has. Fields set before are the family's defaults (0: the config must say), and the
 * other fields keep what they hold: all zero is the plainest network. Sets attend_scale to 1/√head_dim. */
bool decoder_read(struct decoder *decoder, const struct checkpoint *checkpoint, struct error *error);

/* Makes a layer local if the config's list of layer types says so; *listed tells whether there is such a list. */
bool decoder_read_layer_types(struct decoder *decoder, const struct checkpoint *checkpoint, bool *listed,
                              struct error *error);

/* Checks that the named activation is the expected one (of several spellings, NULL at the end). */
bool decoder_expect_act(const struct checkpoint *checkpoint, struct config_key key, const char *const *names,
                        struct error *error);

bool decoder_build(const struct decoder *d, const struct checkpoint *checkpoint, struct plan_builder *builder,
                   struct error *error);

#endif
