/* What checkpoints call the tensors of a decoder. */
#ifndef SPATE_MODEL_DECODER_NAMES_H
#define SPATE_MODEL_DECODER_NAMES_H

#include "model/checkpoint.h"

enum { TENSOR_NAME_BYTES = 160 };

enum tensor_role {
  ROLE_EMBED,
  ROLE_POSITIONS,
  ROLE_TYPES, /* of tokens */
  ROLE_EMBED_NORM,
  ROLE_HEAD,
  ROLE_FINAL_NORM,
  ROLE_ATTEND_NORM,
  ROLE_Q,
  ROLE_K,
  ROLE_V,
  ROLE_QKV,
  ROLE_Q_NORM,
  ROLE_K_NORM,
  ROLE_SINKS,
  ROLE_OUT,
  ROLE_MLP_NORM,
  ROLE_GATE,
  ROLE_UP,
  ROLE_GATE_UP,
  ROLE_DOWN,
  ROLE_ROUTER, /* of a layer of experts, whose names have EXPERT_MARK or are of all of them */
  ROLE_EXPERT_GATE,
  ROLE_EXPERT_UP,
  ROLE_EXPERT_GATE_UP,
  ROLE_EXPERT_DOWN,
  ROLE_CHOICE_BIAS,
  ROLE_EXPERT_BIAS, /* of all experts together */
  ROLE_SHARED_GATE, /* of the feed-forward beside them */
  ROLE_SHARED_UP,
  ROLE_SHARED_DOWN,
  ROLE_SANDWICH_ATTEND_POST, /* sandwich norms: after attention (or of the sum), before and after the feed-forward */
  ROLE_SANDWICH_MLP_NORM,
  ROLE_SANDWICH_MLP_POST,
  ROLE_Q_A, /* latent attention */
  ROLE_Q_A_NORM,
  ROLE_Q_B,
  ROLE_KV_A,
  ROLE_KV_A_NORM,
  ROLE_KV_B,
  ROLE_K_B, /* of GGUF: what KV_B has of keys, transposed, and of values */
  ROLE_V_B,
  TENSOR_ROLES,
};

/* Names by role, without "model." and "layers.3." or "blk.3.", and without ".weight"; NULL: as Llama has it. One that
 * begins with '=' is a tensor's that stands by itself: "=x" has the weight x and the bias x_bias. */
struct decoder_names {
  const char *layers; /* "layers" */
  const char *hf[TENSOR_ROLES], *gguf[TENSOR_ROLES];
};

/* The name of a tensor in a checkpoint of this kind. names: NULL: Llama's; prefix: what a directory's names start with
 * ("model."); layer: −1 outside the layers; suffix: "weight" or "bias". */
void decoder_tensor_name(enum checkpoint_kind kind, const struct decoder_names *names, const char *prefix, int layer,
                         enum tensor_role role, const char *suffix, char out[TENSOR_NAME_BYTES]);

#endif
