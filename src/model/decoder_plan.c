/* A decoder's plan. A layer is LINEAR (norm, q, k, v; one for each run of the three that the file has in one type) →
 * ATTEND → LINEAR (out, added to the residual) → LINEAR (norm, gate and up, gated; two where their types differ) →
 * LINEAR (down, added); the tail is SELECT → LINEAR (norm, head) → SAMPLE. The residual stream is one value that the
 * ops add to in place. */
#include "model/decoder.h"

#include "format/tensor.h"
#include "model/decoder_names.h"

#include <stdio.h>

/* What the steps below share while a plan is made. */
struct decoder_maker {
  const struct decoder *d;
  const struct checkpoint *checkpoint;
  struct plan_builder *builder;
  enum checkpoint_kind kind;
  int layer;             /* −1 outside the layers */
  int x, qkv, heads, ff; /* values: the residual stream; q, k, v; attention's and the gate's result */
  int group[LAYER_KINDS], in_group[LAYER_KINDS]; /* KV group of each kind; layers of it so far */
  uint32_t rope[LAYER_KINDS];                    /* first inverse frequency */
};

static void tensor_name(const struct decoder_maker *m, enum tensor_role role, const char *suffix,
                        char out[TENSOR_NAME_BYTES]) {
  decoder_tensor_name(m->kind, role == ROLE_HEAD ? m->d->head_prefix : m->d->prefix, m->layer, role, suffix, out);
}

/* A norm's weights, or −1 where the network has no such norm. */
static int norm_add(const struct decoder_maker *m, bool present, enum tensor_role role, int cols) {
  char tensor[TENSOR_NAME_BYTES];
  if (!present) return -1;
  tensor_name(m, role, "weight", tensor);
  return plan_add_vector(m->builder, tensor, cols, m->d->norm_add);
}

/* The matrix of a linear, joined from tensors, and the bias that goes with it. */
struct matrix_spec {
  const char *name;
  int n_part, rows[PLAN_PARTS], cols;
  enum tensor_role part[PLAN_PARTS];
  bool interleaved, bias;
};

static void matrix_add(const struct decoder_maker *m, const struct matrix_spec *spec, struct op *op) {
  char name[TENSOR_NAME_BYTES], tensors[PLAN_PARTS][TENSOR_NAME_BYTES];
  const char *list[PLAN_PARTS];
  snprintf(name, sizeof name, m->layer < 0 ? "%s" : "%s.%d", spec->name, m->layer);
  for (int i = 0; i < spec->n_part; i++) {
    tensor_name(m, spec->part[i], "weight", tensors[i]);
    list[i] = tensors[i];
  }
  op->weight[0] = plan_add_matrix(m->builder, name, list, spec->rows, spec->n_part, spec->cols, spec->interleaved);
  if (!spec->bias) return;
  for (int i = 0; i < spec->n_part; i++) tensor_name(m, spec->part[i], "bias", tensors[i]);
  snprintf(name, sizeof name, "%s.%d.bias", spec->name, m->layer);
  op->weight[1] = plan_add_bias(m->builder, name, list, spec->rows, spec->n_part, spec->interleaved);
}

static struct op linear_make(const struct decoder_maker *m, int in, int out, const struct matrix_spec *spec) {
  struct op op = op_make(OP_LINEAR, m->layer);
  op.in[0] = in;
  op.out = out;
  matrix_add(m, spec, &op);
  return op;
}

static void linear_norm(struct op *op, const struct decoder_maker *m, int norm) {
  op->args.linear.norm = NORM_RMS;
  op->args.linear.eps = (float)m->d->eps;
  op->weight[2] = norm;
}

/* Adds the result to the residual stream, after a norm of its own in a sandwich. */
static void linear_residual(struct op *op, const struct decoder_maker *m, enum tensor_role post) {
  op->in[1] = m->x;
  op->weight[3] = norm_add(m, m->d->sandwich, post, m->d->hidden);
  if (!m->d->sandwich) return;
  op->args.linear.post_norm = NORM_RMS;
  op->args.linear.post_eps = (float)m->d->eps;
}

/* --- the parts of a layer ---------------------------------------------------------------------------------------- */

static void attend_add(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  enum layer_kind kind = d->layer_kind[m->layer];
  struct op op = op_make(OP_ATTEND, m->layer);
  op.in[0] = m->qkv;
  op.out = m->heads;
  op.weight[0] = norm_add(m, d->qk_norm, ROLE_Q_NORM, d->head_dim);
  op.weight[1] = norm_add(m, d->qk_norm, ROLE_K_NORM, d->head_dim);
  op.args.attend = (struct attend_args){
      .n_head = d->n_head,
      .n_kv_head = d->n_kv_head,
      .dim_k = d->head_dim,
      .dim_v = d->head_dim,
      .group = m->group[kind],
      .layer = m->in_group[kind]++,
      .rope_style = (int)d->rope_style,
      .rope_dim = d->rope_dim,
      .rope_freq = m->rope[kind],
      .rope_scale = (float)d->rope[kind].attention,
      .rope_axis = {d->rope_axis[0], d->rope_axis[1], d->rope_axis[2]},
      .eps = (float)d->eps,
      .scale = d->attend_scale,
  };
  plan_add_op(m->builder, &op);
}

/* Whether two matrices can be one weight. One that is missing, the build tells later. */
static bool matrices_alike(const struct decoder_maker *m, enum tensor_role a, enum tensor_role b) {
  char name_a[TENSOR_NAME_BYTES], name_b[TENSOR_NAME_BYTES];
  tensor_name(m, a, "weight", name_a);
  tensor_name(m, b, "weight", name_b);
  return tensor_alike(checkpoint_find(m->checkpoint, name_a), checkpoint_find(m->checkpoint, name_b));
}

/* q, k and v, side by side in one value. Those of one type are one matrix: each keeps the width that its file gives. */
static void project_add(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  static const enum tensor_role role[] = {ROLE_Q, ROLE_K, ROLE_V};
  static const char letters[] = "qkv";
  int norm = -1;
  const int rows[] = {d->n_head * d->head_dim, d->n_kv_head * d->head_dim, d->n_kv_head * d->head_dim};
  for (int first = 0, column = 0, n; first < 3; first += n) {
    char name[] = "qkv";
    struct matrix_spec spec = {.name = name, .cols = d->hidden, .bias = d->qkv_bias};
    for (n = 0; first + n < 3 && (n == 0 || matrices_alike(m, role[first + n], role[first])); n++) {
      spec.part[n] = role[first + n];
      spec.rows[n] = rows[first + n];
    }
    spec.n_part = n;
    memcpy(name, letters + first, (size_t)n);
    name[n] = '\0';
    struct op op = linear_make(m, m->x, m->qkv, &spec);
    if (first == 0) norm = norm_add(m, true, ROLE_ATTEND_NORM, d->hidden);
    linear_norm(&op, m, norm);
    op.args.linear.column = column;
    plan_add_op(m->builder, &op);
    for (int i = 0; i < n; i++) column += spec.rows[i];
  }
}

static void attention_add(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  project_add(m);
  attend_add(m);
  struct op out = linear_make(m, m->heads, m->x,
                              &(struct matrix_spec){.name = "out",
                                                    .n_part = 1,
                                                    .rows = {d->hidden},
                                                    .part = {ROLE_OUT},
                                                    .cols = d->n_head * d->head_dim,
                                                    .bias = d->out_bias});
  linear_residual(&out, m, ROLE_SANDWICH_ATTEND_POST);
  plan_add_op(m->builder, &out);
}

static enum tensor_role mlp_norm_role(const struct decoder *d) {
  return d->sandwich ? ROLE_SANDWICH_MLP_NORM : ROLE_MLP_NORM;
}

/* ff = act(gate) × up through one matrix, whose kernels take the two interleaved. */
static void gate_up_add(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  struct op gate = linear_make(m, m->x, m->ff,
                               &(struct matrix_spec){.name = "gate_up",
                                                     .n_part = 2,
                                                     .rows = {d->feed_forward, d->feed_forward},
                                                     .part = {ROLE_GATE, ROLE_UP},
                                                     .cols = d->hidden,
                                                     .interleaved = true,
                                                     .bias = d->mlp_bias});
  linear_norm(&gate, m, norm_add(m, true, mlp_norm_role(d), d->hidden));
  gate.args.linear.gated = 1;
  gate.args.linear.act = (uint8_t)d->act;
  plan_add_op(m->builder, &gate);
}

/* The same through two matrices, each of its own width: ff = act(gate), then ff ×= up. */
static void gate_then_up_add(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  static const struct {
    const char *name;
    enum tensor_role role;
  } half[] = {{"gate", ROLE_GATE}, {"up", ROLE_UP}};
  int norm = -1;
  for (int i = 0; i < 2; i++) {
    struct op op = linear_make(m, m->x, m->ff,
                               &(struct matrix_spec){.name = half[i].name,
                                                     .n_part = 1,
                                                     .rows = {d->feed_forward},
                                                     .part = {half[i].role},
                                                     .cols = d->hidden,
                                                     .bias = d->mlp_bias});
    if (i == 0) norm = norm_add(m, true, mlp_norm_role(d), d->hidden);
    linear_norm(&op, m, norm);
    op.args.linear.act = i == 0 ? (uint8_t)d->act : ACT_NONE;
    op.args.linear.multiply = i == 1;
    if (i == 1) op.in[1] = m->ff;
    plan_add_op(m->builder, &op);
  }
}

static void feed_forward_add(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  if (matrices_alike(m, ROLE_GATE, ROLE_UP))
    gate_up_add(m);
  else
    gate_then_up_add(m);
  struct op down = linear_make(m, m->ff, m->x,
                               &(struct matrix_spec){.name = "down",
                                                     .n_part = 1,
                                                     .rows = {d->hidden},
                                                     .part = {ROLE_DOWN},
                                                     .cols = d->feed_forward,
                                                     .bias = d->mlp_bias});
  linear_residual(&down, m, ROLE_SANDWICH_MLP_POST);
  plan_add_op(m->builder, &down);
}

/* --- the network ------------------------------------------------------------------------------------------------- */

static int embed_add(const struct decoder_maker *m) {
  const struct decoder *d = m->d;
  struct op op = op_make(OP_EMBED, -1);
  op.out = m->x;
  if (d->embed_scale > 0) op.args.embed.scale = d->embed_scale;
  matrix_add(
      m,
      &(struct matrix_spec){.name = "embed", .n_part = 1, .rows = {d->vocab}, .part = {ROLE_EMBED}, .cols = d->hidden},
      &op);
  plan_add_op(m->builder, &op);
  return op.weight[0];
}

static void tail_add(const struct decoder_maker *m, int embed) {
  const struct decoder *d = m->d;
  struct op select = op_make(OP_SELECT, -1), head = op_make(OP_LINEAR, -1), sample = op_make(OP_SAMPLE, -1);
  select.in[0] = m->x;
  select.out = head.in[0] = plan_add_value(m->builder, d->hidden, ROWS_OUTPUTS);
  plan_add_op(m->builder, &select);
  head.out = sample.in[0] = plan_add_value(m->builder, d->vocab, ROWS_OUTPUTS);
  head.args.linear.softcap = d->final_softcap;
  if (d->tied)
    head.weight[0] = embed;
  else
    matrix_add(
        m,
        &(struct matrix_spec){.name = "head", .n_part = 1, .rows = {d->vocab}, .part = {ROLE_HEAD}, .cols = d->hidden},
        &head);
  linear_norm(&head, m, norm_add(m, true, ROLE_FINAL_NORM, d->hidden));
  plan_add_op(m->builder, &head);
  plan_add_op(m->builder, &sample);
}

/* Some GGUF files carry the context stretch as one divisor for each inverse frequency. */
static bool rope_divide(float *frequency, int count, const struct checkpoint *checkpoint, struct error *error) {
  const struct tensor *factors = checkpoint_find(checkpoint, "rope_freqs.weight");
  if (checkpoint_kind(checkpoint) != CHECKPOINT_GGUF || !factors) return true;
  if (factors->type != TENSOR_F32 || factors->n_dim != 1 || factors->dim[0] != count)
    return error_set(error, ERROR_FORMAT, "Tensor rope_freqs.weight is not a vector of %d F32 numbers.", count);
  for (int i = 0; i < count; i++) {
    float factor;
    memcpy(&factor, factors->data.data + (size_t)i * sizeof factor, sizeof factor);
    if (!(factor >= 1e-3f && factor <= 1e6f))
      return error_set(error, ERROR_FORMAT, "Tensor rope_freqs.weight has %g at %d, expected 0.001 to 1000000.",
                       (double)factor, i);
    frequency[i] /= factor;
  }
  return true;
}

/* A KV group and a rotation for each kind of layer that the network has. */
static bool kinds_add(struct decoder_maker *m, const struct checkpoint *checkpoint, struct error *error) {
  const struct decoder *d = m->d;
  for (enum layer_kind kind = LAYER_GLOBAL; kind < LAYER_KINDS; kind++) {
    float frequency[HEAD_DIM_MAX / 2];
    struct kv_group group = {.n_head = d->n_kv_head, .dim_k = d->head_dim, .dim_v = d->head_dim};
    for (int i = 0; i < d->n_layer; i++) group.n_layer += d->layer_kind[i] == kind;
    if (group.n_layer == 0) continue;
    group.window = kind == LAYER_LOCAL ? d->window : 0;
    m->group[kind] = plan_add_group(m->builder, group);
    rope_frequencies(&d->rope[kind], d->rope_dim, frequency);
    if (!rope_divide(frequency, d->rope_dim / 2, checkpoint, error)) return false;
    m->rope[kind] = plan_add_floats(m->builder, frequency, (uint32_t)d->rope_dim / 2);
  }
  return true;
}

bool decoder_build(const struct decoder *d, const struct checkpoint *checkpoint, struct plan_builder *builder,
                   struct error *error) {
  struct decoder_maker m = {
      .d = d, .checkpoint = checkpoint, .builder = builder, .kind = checkpoint_kind(checkpoint), .layer = -1};
  builder->head.vocab = d->vocab;
  builder->head.hidden = d->hidden;
  builder->head.max_position = d->max_position;
  m.x = plan_add_value(builder, d->hidden, ROWS_TOKENS);
  m.qkv = plan_add_value(builder, (d->n_head + 2 * d->n_kv_head) * d->head_dim, ROWS_TOKENS);
  m.heads = plan_add_value(builder, d->n_head * d->head_dim, ROWS_TOKENS);
  m.ff = plan_add_value(builder, d->feed_forward, ROWS_TOKENS);
  if (!kinds_add(&m, checkpoint, error)) return false;
  int embed = embed_add(&m);
  for (m.layer = 0; m.layer < d->n_layer; m.layer++) {
    attention_add(&m);
    feed_forward_add(&m);
  }
  m.layer = -1;
  tail_add(&m, embed);
  return true;
}
