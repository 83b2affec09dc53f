/* What encoders of texts share: embeddings of tokens, types and positions, layers of bidirectional attention and a
 * plain feed-forward, each normed together with what it is added to, a text's vector picked or averaged from its
 * tokens, and a head of labels where the network has one. BERT's relatives differ in names and fields. */
#ifndef SPATE_MODEL_TEXT_ENCODER_H
#define SPATE_MODEL_TEXT_ENCODER_H

#include "model/model_config.h"
#include "model/sentence_config.h"
#include "plan/plan_builder.h"

enum { ENCODER_LABELS = 1 << 12 }; /* of a classifier, at most */

/* A linear of the head: its tensors are NAME.weight and NAME.bias. */
struct encoder_head {
  const char *name;
  enum act_kind act;
};

struct text_encoder {
  const char *prefix; /* of tensors' names in the checkpoint, up to "embeddings." */
  int hidden, feed_forward, n_layer, n_head, vocab;
  int max_position; /* tokens of a text */
  int types;        /* of tokens; 0: there are none */
  int skip;         /* rows of the table of positions before the first place's */
  double eps;
  enum act_kind act;
  enum select_pool pool;
  const struct encoder_head *head; /* [n_head_linear]; the last has n_label rows, those before it are hidden wide */
  int n_head_linear, n_label;
};

/* Reads the sizes and the activation; fields set before are the family's defaults. */
bool text_encoder_read(struct text_encoder *encoder, const struct checkpoint *checkpoint, struct error *error);

void text_encoder_build(const struct text_encoder *encoder, struct plan_builder *builder);

#endif
