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
  int layer;                  /* −1 outside the layers */
  int x, qkv, heads, ff;      /* values: the residual stream; q, k, v; attention's and the gate's result */
  int q_latent, still, mixed; /* of latent attention: of q, its part that does not rotate, attention's result */
  int router, choice, expert_ff, shared_ff; /* of experts: logits, those chosen, their gates' results; beside them */
  int embed;                                /* the weight of the tokens' table */
  int group[LAYER_KINDS], in_group[LAYER_KINDS]; /* KV group of each kind; layers of it so far */
  uint32_t rope[LAYER_KINDS];                    /* first inverse frequency */
  int lean;                                      /* enum attend_lean */
  uint32_t alibi;                                /* first slope, or number by distance */
};

/* Some rows of a role's tensor; as in struct weight_part. */
struct matrix_part {
  enum tensor_role role;
  int first, rows, run, period;
};

/* The matrix of a linear, joined from rows of tensors, and the bias that goes with it. */
struct matrix_spec {
  const char *name;
  int n_expert; /* 0: it is one matrix */
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

/* x = norm(x + a vector), of a layer; without `bias` norm(x). */
void maker_sum_norm(const struct decoder_maker *m, enum tensor_role norm, bool bias);

/* An op of the layer with its matrix, to be completed and added. */
struct op maker_linear_make(const struct decoder_maker *m, int in, int out, const struct matrix_spec *spec);

/* decoder_experts.c: whether their gates can be what they are to be; the values of layers with experts; whether the
 * layer is one; from the residual stream to what its experts' gates make of it, through a norm (−1: none), and what
 * comes of that, added to the residual stream. */
bool maker_experts_check(struct decoder_maker *m, struct error *error);
void maker_experts_values(struct decoder_maker *m);
bool maker_has_experts(const struct decoder_maker *m);
void maker_experts_begin(const struct decoder_maker *m, int norm);
void maker_experts_down(const struct decoder_maker *m);

/* The norm before a linear. */
void maker_linear_norm(struct op *op, const struct decoder_maker *m, int norm);

/* Adds its result to the residual stream, after a norm of its own where the network has one there. */
void maker_linear_residual(struct op *op, const struct decoder_maker *m, enum tensor_role post);

/* Whether two matrices can be one weight. One that is missing, the build tells later. */
bool maker_matrices_alike(const struct decoder_maker *m, enum tensor_role a, enum tensor_role b);

/* The rotation of an attention. */
void maker_attend_rope(const struct decoder_maker *m, struct attend_args *args, enum layer_kind kind);

/* Latent attention up to its heads' results: the values that it needs, and the ops of layer m->layer. */
void maker_latent_values(struct decoder_maker *m);
void maker_latent_add(struct decoder_maker *m);

/* The ops of layer m->layer. */
void maker_layer_add(struct decoder_maker *m);

#endif
