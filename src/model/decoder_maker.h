/* What the parts of a decoder's plan share while it is made: the network (decoder_plan.c), its layers
 * (decoder_layer.c). */
#ifndef SPATE_MODEL_DECODER_MAKER_H
#define SPATE_MODEL_DECODER_MAKER_H

#include "model/decoder.h"

struct decoder_maker {
  const struct decoder *d;
  const struct checkpoint *checkpoint;
  struct plan_builder *builder;
  enum checkpoint_kind kind;
  int layer;             /* −1 outside the layers */
  int x, qkv, heads, ff; /* values: the residual stream; q, k, v; attention's and the gate's result */
  int group[LAYER_KINDS], in_group[LAYER_KINDS]; /* KV group of each kind; layers of it so far */
  uint32_t rope[LAYER_KINDS];                    /* first inverse frequency */
  uint32_t alibi;                                /* first slope */
};

/* Some rows of a role's tensor; as in struct weight_part. */
struct matrix_part {
  enum tensor_role role;
  int first, rows, run, period;
};

/* The matrix of a linear, joined from rows of tensors, and the bias that goes with it. */
struct matrix_spec {
  const char *name;
  int n_part, cols;
  struct matrix_part part[PLAN_PARTS];
  bool interleaved, bias;
};

/* Is it an encoder of texts? */
static inline bool maker_encodes(const struct decoder_maker *m) { return m->builder->head.role == PLAN_ENCODER; }

void maker_tensor_name(const struct decoder_maker *m, enum tensor_role role, const char *suffix,
                       char out[TENSOR_NAME_BYTES]);

/* The weight of an RMS norm; of the kind of norm that the network has. */
int maker_rms_add(const struct decoder_maker *m, enum tensor_role role, int cols);
int maker_norm_add(const struct decoder_maker *m, enum tensor_role role, int cols);

void maker_matrix_add(const struct decoder_maker *m, const struct matrix_spec *spec, struct op *op);

/* The norm before a linear. */
void maker_linear_norm(struct op *op, const struct decoder_maker *m, int norm);

/* The ops of layer m->layer. */
void maker_layer_add(struct decoder_maker *m);

#endif
