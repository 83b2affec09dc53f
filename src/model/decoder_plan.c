/* A decoder's plan: EMBED (and tables of types and positions), the layers (decoder_layer.c), SELECT → LINEAR (norm,
 * head) → SAMPLE; an encoder of texts has its own end (text_tail.c). The residual stream is one value that the ops add
 * to in place. */
#include "model/decoder_maker.h"

#include <math.h>
#include <stdio.h>

/* layer: −1 outside the layers. */
static void tensor_name(const struct decoder *d, enum checkpoint_kind kind, int layer, enum tensor_role role,
                        const char *suffix, char out[TENSOR_NAME_BYTES]) {
  const char *prefix = role == ROLE_HEAD ? d->head_prefix : d->prefix;
  bool stacked = d->stacked && kind == CHECKPOINT_HF && d->stacked->hf[role];
  decoder_tensor_name(kind, stacked ? d->stacked : d->names, prefix, layer, role, suffix, out);
}

void maker_tensor_name(const struct decoder_maker *m, enum tensor_role role, const char *suffix,
                       char out[TENSOR_NAME_BYTES]) {
  tensor_name(m->d, m->kind, m->layer, role, suffix, out);
}

int maker_rms_add(const struct decoder_maker *m, enum tensor_role role, int cols) {
  char tensor[TENSOR_NAME_BYTES];
  maker_tensor_name(m, role, "weight", tensor);
  return plan_add_vector(m->builder, tensor, cols, m->d->norm_add);
}

int maker_norm_add(const struct decoder_maker *m, enum tensor_role role, int cols) {
  char factors[TENSOR_NAME_BYTES], shifts[TENSOR_NAME_BYTES];
  if (!m->d->layer_norm) return maker_rms_add(m, role, cols);
  maker_tensor_name(m, role, "weight", factors);
  maker_tensor_name(m, role, "bias", shifts);
  const struct tensor_slice slices[] = {{.tensor = factors, .rows = cols},
                                        {.tensor = m->d->norm_bias ? shifts : "", .rows = cols}};
  return plan_add_slices(m->builder, factors, WEIGHT_VECTOR, slices, 2, 1, false);
}

static void slices_name(const struct decoder_maker *m, const struct matrix_spec *spec, const char *suffix,
                        char tensors[PLAN_PARTS][TENSOR_NAME_BYTES], struct tensor_slice *slices) {
  for (int i = 0; i < spec->n_part; i++) {
    const struct matrix_part *part = &spec->part[i];
    maker_tensor_name(m, part->role, suffix, tensors[i]);
    slices[i] = (struct tensor_slice){tensors[i], part->first, part->rows, part->run, part->period};
  }
}

/* Experts' matrices, as the file has them. */
static int experts_add(const struct decoder_maker *m, const struct matrix_spec *spec, const char *name,
                       const struct tensor_slice *slices, enum weight_use use) {
  const struct tensor *tensor = checkpoint_find(m->checkpoint, slices[0].tensor);
  enum expert_layout layout = m->d->experts.layout;
  bool turned = layout == EXPERTS_ALTERNATE || (layout == EXPERTS_PLAIN && spec->part[0].role == ROLE_EXPERT_DOWN);
  bool transposed = use == WEIGHT_MATRIX && turned && m->kind == CHECKPOINT_HF && !(tensor && tensor->packed);
  return plan_add_experts(m->builder, name, slices,
                          &(struct expert_spec){.use = use,
                                                .n_expert = spec->n_expert,
                                                .n_part = spec->n_part,
                                                .cols = use == WEIGHT_MATRIX ? spec->cols : 1,
                                                .interleaved = spec->interleaved,
                                                .order = transposed ? ORDER_TRANSPOSED : ORDER_AS_IS});
}

void maker_matrix_add(const struct decoder_maker *m, const struct matrix_spec *spec, struct op *op) {
  char name[TENSOR_NAME_BYTES], tensors[PLAN_PARTS][TENSOR_NAME_BYTES];
  struct tensor_slice slices[PLAN_PARTS];
  bool transposed = m->d->transposed && m->layer >= 0 && m->kind == CHECKPOINT_HF;
  snprintf(name, sizeof name, m->layer < 0 ? "%s" : "%s.%d", spec->name, m->layer);
  slices_name(m, spec, "weight", tensors, slices);
  op->weight[0] =
      spec->n_expert > 0 ? experts_add(m, spec, name, slices, WEIGHT_MATRIX)
      : transposed
          ? plan_add_ordered(m->builder, name, tensors[0], slices[0].rows, spec->cols, ORDER_TRANSPOSED)
          : plan_add_slices(m->builder, name, WEIGHT_MATRIX, slices, spec->n_part, spec->cols, spec->interleaved);
  if (!spec->bias) return;
  slices_name(m, spec, "bias", tensors, slices);
  snprintf(name, sizeof name, "%s.%d.bias", spec->name, m->layer);
  op->weight[1] = spec->n_expert > 0
                      ? experts_add(m, spec, name, slices, WEIGHT_VECTOR)
                      : plan_add_slices(m->builder, name, WEIGHT_VECTOR, slices, spec->n_part, 1, spec->interleaved);
}

/* An EMBED of a table of one row, which each token has; without a vector, of the tokens' table times nothing. */
void maker_sum_norm(const struct decoder_maker *m, enum tensor_role norm, bool bias) {
  const struct decoder *d = m->d;
  char tensor[TENSOR_NAME_BYTES], name[32];
  struct op op = op_make(OP_EMBED, m->layer);
  op.in[0] = op.out = m->x;
  op.args.embed = (struct embed_args){.norm = d->layer_norm ? NORM_LAYER : NORM_RMS, .eps = (float)d->eps};
  op.weight[0] = m->embed;
  op.weight[2] = maker_norm_add(m, norm, d->hidden);
  if (bias) {
    maker_tensor_name(m, ROLE_EXPERT_BIAS, "bias", tensor);
    snprintf(name, sizeof name, "experts_bias.%d", m->layer);
    const struct tensor_slice row = {.tensor = tensor, .rows = 1};
    op.weight[0] = plan_add_slices(m->builder, name, WEIGHT_MATRIX, &row, 1, d->hidden, false);
    op.args.embed.source = EMBED_POSITIONS;
    op.args.embed.axis = 1;
    op.args.embed.scale = 1;
  }
  plan_add_op(m->builder, &op);
}

void maker_linear_norm(struct op *op, const struct decoder_maker *m, int norm) {
  op->args.linear.norm = m->d->layer_norm ? NORM_LAYER : NORM_RMS;
  op->args.linear.eps = (float)m->d->eps;
  op->weight[2] = norm;
}

/* --- the network ------------------------------------------------------------------------------------------------- */

/* A table: what it says of each token is added to what those before have said; the last one's op norms the sum. */
static int table_add(const struct decoder_maker *m, const char *name, enum tensor_role role, int rows,
                     struct embed_args args, bool last) {
  const struct decoder *d = m->d;
  struct op op = op_make(OP_EMBED, -1);
  op.out = m->x;
  if (role != ROLE_EMBED) op.in[0] = m->x;
  op.args.embed = args;
  maker_matrix_add(
      m, &(struct matrix_spec){.name = name, .n_part = 1, .part = {{role, .rows = rows}}, .cols = d->hidden}, &op);
  if (last && d->embed_norm) {
    op.args.embed.norm = d->layer_norm ? NORM_LAYER : NORM_RMS;
    op.args.embed.eps = (float)d->eps;
    op.weight[2] = maker_norm_add(m, ROLE_EMBED_NORM, d->hidden);
  }
  plan_add_op(m->builder, &op);
  return op.weight[0];
}

/* Returns the weight of the tokens' table, which the head may be too. */
static int embed_add(const struct decoder_maker *m) {
  const struct decoder *d = m->d;
  const struct embed_args tokens = {.scale = d->embed_scale > 0 ? d->embed_scale : 1},
                          types = {.scale = 1, .source = EMBED_POSITIONS, .axis = 1},
                          places = {.scale = 1, .source = EMBED_POSITIONS, .skip = (uint8_t)d->skip};
  int embed = table_add(m, "embed", ROLE_EMBED, d->vocab, tokens, d->types == 0 && !d->positions);
  if (d->types > 0) table_add(m, "types", ROLE_TYPES, d->types, types, !d->positions);
  if (d->positions) table_add(m, "positions", ROLE_POSITIONS, d->skip + d->max_position, places, true);
  return embed;
}

static void tail_add(const struct decoder_maker *m) {
  const struct decoder *d = m->d;
  struct op select = op_make(OP_SELECT, -1), head = op_make(OP_LINEAR, -1), sample = op_make(OP_SAMPLE, -1);
  select.in[0] = m->x;
  select.out = head.in[0] = plan_add_value(m->builder, d->hidden, ROWS_OUTPUTS);
  plan_add_op(m->builder, &select);
  head.out = sample.in[0] = plan_add_value(m->builder, d->vocab, ROWS_OUTPUTS);
  head.args.linear.softcap = d->final_softcap;
  if (d->logit_scale > 0) head.args.linear.scale = d->logit_scale;
  if (decoder_head_is_table(d, m->checkpoint))
    head.weight[0] = m->embed;
  else
    maker_matrix_add(m,
                     &(struct matrix_spec){.name = "head",
                                           .n_part = 1,
                                           .part = {{ROLE_HEAD, .rows = d->vocab}},
                                           .cols = d->hidden,
                                           .bias = d->head_bias},
                     &head);
  maker_linear_norm(&head, m, maker_norm_add(m, ROLE_FINAL_NORM, d->hidden));
  plan_add_op(m->builder, &head);
  plan_add_op(m->builder, &sample);
}

/* An encoder's end. The rows are normed before they become one, unless each layer has done it. */
static void pool_add(const struct decoder_maker *m) {
  const struct decoder *d = m->d;
  struct op select = op_make(OP_SELECT, -1);
  select.in[0] = m->x;
  if (d->block != BLOCK_SUM) {
    select.args.select.norm = d->layer_norm ? NORM_LAYER : NORM_RMS;
    select.args.select.eps = (float)d->eps;
    select.weight[2] = maker_norm_add(m, ROLE_FINAL_NORM, d->hidden);
  }
  text_tail_build(&d->tail, select, d->hidden, (float)d->eps, d->norm_bias, m->builder);
}

/* Of the longest text. */
static int length_of(const struct decoder_maker *m) {
  return m->builder->length < m->d->max_position ? m->builder->length : m->d->max_position;
}

/* Some GGUF files carry the context stretch as one divisor for each inverse frequency, perhaps for short and for long
 * contexts. */
static const struct tensor *rope_divisors(const struct decoder_maker *m, const struct rope *rope, const char **name) {
  if (m->kind != CHECKPOINT_GGUF) return NULL;
  *name = rope->scaling != ROPE_LONG         ? "rope_freqs.weight"
          : rope_is_long(rope, length_of(m)) ? "rope_factors_long.weight"
                                             : "rope_factors_short.weight";
  return checkpoint_find(m->checkpoint, *name);
}

static bool rope_divide(const struct decoder_maker *m, const struct rope *rope, float *frequency, int count,
                        struct error *error) {
  const char *name;
  const struct tensor *factors = rope_divisors(m, rope, &name);
  if (!factors) return true;
  if (factors->type != TENSOR_F32 || factors->n_dim != 1 || factors->dim[0] != count)
    return error_set(error, ERROR_FORMAT, "Tensor %s is not a vector of %d F32 numbers.", name, count);
  for (int i = 0; i < count; i++) {
    float factor;
    memcpy(&factor, factors->data.data + (size_t)i * sizeof factor, sizeof factor);
    if (!(factor >= 1e-3f && factor <= 1e6f))
      return error_set(error, ERROR_FORMAT, "Tensor %s has %g at %d, expected 0.001 to 1000000.", name, (double)factor,
                       i);
    frequency[i] /= factor;
  }
  return true;
}

static bool rope_add(struct decoder_maker *m, enum layer_kind kind, struct error *error) {
  const struct decoder *d = m->d;
  float frequency[HEAD_DIM_MAX / 2];
  if (d->rope_style == ROPE_NONE) return true;
  if (!rope_frequencies(&d->rope[kind], d->rope_dim, length_of(m), frequency, error) ||
      !rope_divide(m, &d->rope[kind], frequency, d->rope_dim / 2, error))
    return false;
  m->rope[kind] = plan_add_floats(m->builder, frequency, (uint32_t)d->rope_dim / 2);
  return true;
}

float decoder_slope(double most, int n_head, int head) {
  int power = 1;
  while (2 * power <= n_head) power *= 2;
  double at = head < power ? head + 1 : 0.5 + (head - power);
  return (float)exp2(-most * at / power);
}

/* What scores gain by distance. */
static void lean_add(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  float slopes[HEADS_MAX];
  m->lean = d->distances ? LEAN_DISTANCES : d->alibi > 0 ? LEAN_SLOPES : LEAN_NONE;
  if (m->lean == LEAN_DISTANCES)
    m->alibi = plan_add_floats(m->builder, d->distances, (uint32_t)d->n_head * lean_numbers(d->max_position));
  if (m->lean != LEAN_SLOPES) return;
  for (int i = 0; i < d->n_head; i++) slopes[i] = d->alibi_scale * decoder_slope((double)d->alibi, d->n_head, i);
  m->alibi = plan_add_floats(m->builder, slopes, (uint32_t)d->n_head);
}

/* A KV group and a rotation for each kind of layer that the network has. */
static bool kinds_add(struct decoder_maker *m, struct error *error) {
  const struct decoder *d = m->d;
  for (enum layer_kind kind = LAYER_GLOBAL; kind < LAYER_KINDS; kind++) {
    struct kv_group group = {.n_head = d->n_kv_head, .dim_k = d->head_dim, .dim_v = d->head_dim};
    for (int i = 0; i < d->n_layer; i++) group.n_layer += d->layer_kind[i] == kind;
    if (group.n_layer == 0) continue;
    if (d->latent.rank > 0)
      group.dim_v = d->latent.rank, group.dim_k = d->latent.rank + d->latent.rope, group.value_in_key = 1;
    group.window = kind == LAYER_LOCAL ? d->window : 0;
    if (maker_encodes(m) && kind == LAYER_LOCAL && d->window < (d->both_ways ? 1 : 2))
      return error_set(error, ERROR_UNSUPPORTED, "The window of some layers is one token; Spate needs a wider one.");
    if (!maker_encodes(m)) m->group[kind] = plan_add_group(m->builder, group);
    if (!rope_add(m, kind, error)) return false;
  }
  return true;
}

/* Has any layer a feed-forward of its own? */
static bool has_dense(const struct decoder *d) {
  bool dense = d->experts.route.n_expert == 0;
  for (int i = 0; i < d->n_layer; i++) dense = dense || d->layer_dense[i];
  return dense;
}

bool decoder_build(const struct decoder *d, const struct checkpoint *checkpoint, struct plan_builder *builder,
                   struct error *error) {
  struct decoder_maker m = {
      .d = d, .checkpoint = checkpoint, .builder = builder, .kind = checkpoint_kind(checkpoint), .layer = -1};
  builder->head.vocab = d->vocab;
  builder->head.hidden = d->hidden;
  builder->head.max_position = d->max_position;
  m.x = plan_add_value(builder, d->hidden, ROWS_TOKENS);
  if (d->latent.rank > 0)
    maker_latent_values(&m);
  else
    m.qkv = plan_add_value(builder, (d->n_head + 2 * d->n_kv_head) * d->head_dim, ROWS_TOKENS);
  m.heads = plan_add_value(builder, d->n_head * d->head_dim, ROWS_TOKENS);
  if (has_dense(d)) m.ff = plan_add_value(builder, d->feed_forward, ROWS_TOKENS);
  maker_experts_values(&m);
  if (!maker_experts_check(&m, error) || !kinds_add(&m, error)) return false;
  lean_add(&m);
  m.embed = embed_add(&m);
  for (m.layer = 0; m.layer < d->n_layer; m.layer++) maker_layer_add(&m);
  m.layer = -1;
  if (maker_encodes(&m))
    pool_add(&m);
  else
    tail_add(&m);
  return true;
}
