/* What plans of encoders are made of, by the names that files give the tensors: norms, and matrices with their biases.
 */
#ifndef SPATE_MODEL_ENCODER_PARTS_H
#define SPATE_MODEL_ENCODER_PARTS_H

#include "model/decoder_names.h"
#include "plan/plan_builder.h"

/* Where in a network something is added. Borrowed. */
struct encoder_scope {
  struct plan_builder *builder;
  const char *prefix, *layers; /* a tensor is called PREFIX, LAYERS.N. within a layer, its part, a suffix */
  const char *kind;            /* in front of the weights' own names: "vision_" */
  int layer;                   /* −1 outside the layers */
};

void encoder_tensor(const struct encoder_scope *scope, const char *part, const char *suffix,
                    char out[TENSOR_NAME_BYTES]);

/* A layer norm's weight and bias as one vector; the second by the tensors' whole name, without suffix. */
int encoder_norm(const struct encoder_scope *scope, const char *part, int cols);
int encoder_norm_named(struct plan_builder *builder, const char *name, int cols);

struct encoder_matrix {
  const char *name;         /* of the weight */
  const char *const *parts; /* [n_part], of `rows` rows each */
  int n_part, rows, cols;
  bool bias, interleaved;
};

/* The matrix, and its bias, to an op. */
void encoder_matrix_add(const struct encoder_scope *scope, const struct encoder_matrix *matrix, struct op *op);

struct op encoder_linear(const struct encoder_scope *scope, int in, int out);

#endif
