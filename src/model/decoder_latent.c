/* Latent attention (DeepSeek-AI, "DeepSeek-V2", 2024), with the projections of keys and values taken into those of
 * queries and results: a head's key is W · latent, so q · key is (Wᵀ · q) · latent, and what is attended to, for all
 * heads, is the latent itself. LINEAR (q's latent, normed) → LINEAR (q's still part), LINEAR (its rotated part) →
 * LINEAR (each head's Wᵀ · still part) beside LINEAR (the shared rotated key) and LINEAR (the latent, normed) → ATTEND
 * → LINEAR (each head's values out of its mixture of latents). */
#include "model/decoder_maker.h"

#include <stdio.h>

void maker_latent_values(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  const struct latent_sizes *l = &d->latent;
  m->qkv = plan_add_value(m->builder, (d->n_head + 1) * (l->rope + l->rank), ROWS_TOKENS);
  m->still = plan_add_value(m->builder, d->n_head * l->still, ROWS_TOKENS);
  m->mixed = plan_add_value(m->builder, d->n_head * l->rank, ROWS_TOKENS);
  if (l->q_rank > 0) m->q_latent = plan_add_value(m->builder, l->q_rank, ROWS_TOKENS);
}

/* The norm of a latent, or of some columns of what a linear makes. */
static void latent_norm(const struct decoder_maker *m, enum tensor_role role, int cols, struct op *op) {
  op->args.linear.post_norm = NORM_RMS;
  op->args.linear.post_eps = (float)m->d->latent.eps;
  op->weight[3] = maker_rms_add(m, role, cols);
}

/* One of q, of the latent or of the rotated key: some rows of a tensor, to `column` on. */
static struct op part_make(const struct decoder_maker *m, const char *name, int in, int out,
                           const struct matrix_part *part, int cols, int column) {
  bool first = in == m->x;
  struct op op = maker_linear_make(m, in, out,
                                   &(struct matrix_spec){.name = name,
                                                         .n_part = 1,
                                                         .part = {*part},
                                                         .cols = cols,
                                                         .bias = first && part->role != ROLE_Q && m->d->qkv_bias});
  op.args.linear.column = column;
  return op;
}

/* What q is projected from, with the norm before it. */
struct query_source {
  enum tensor_role role;
  int in, cols, norm; /* norm −1: it is normed */
};

static struct query_source query_source_add(const struct decoder_maker *m, int norm) {
  const struct decoder *d = m->d;
  if (d->latent.q_rank == 0) return (struct query_source){ROLE_Q, m->x, d->hidden, norm};
  struct op op =
      part_make(m, "q_a", m->x, m->q_latent, &(struct matrix_part){ROLE_Q_A, .rows = d->latent.q_rank}, d->hidden, 0);
  maker_linear_norm(&op, m, norm);
  latent_norm(m, ROLE_Q_A_NORM, d->latent.q_rank, &op);
  plan_add_op(m->builder, &op);
  return (struct query_source){ROLE_Q_B, m->q_latent, d->latent.q_rank, -1};
}

/* Rows [first, first + n) of each head of q. */
static void query_add(const struct decoder_maker *m, const struct query_source *source, const char *name, int out,
                      int first, int n) {
  const struct latent_sizes *l = &m->d->latent;
  const struct matrix_part part = {source->role, first, m->d->n_head * n, n, l->still + l->rope};
  struct op op = part_make(m, name, source->in, out, &part, source->cols, 0);
  if (source->norm >= 0) maker_linear_norm(&op, m, source->norm);
  plan_add_op(m->builder, &op);
}

/* Does the file have each head's matrices in tensors of their own, those of keys transposed? */
static bool heads_apart(const struct decoder_maker *m) {
  char tensor[TENSOR_NAME_BYTES];
  if (m->kind != CHECKPOINT_GGUF) return false;
  maker_tensor_name(m, ROLE_K_B, "weight", tensor);
  return decoder_has(m->checkpoint, tensor);
}

/* A linear of a matrix a head. */
static void heads_add(const struct decoder_maker *m, const char *name, const struct matrix_part *part,
                      const struct expert_spec *spec, int in, int out, int column) {
  char weight[TENSOR_NAME_BYTES], tensor[TENSOR_NAME_BYTES];
  struct op op = op_make(OP_LINEAR, m->layer);
  snprintf(weight, sizeof weight, "%s.%d", name, m->layer);
  maker_tensor_name(m, part->role, "weight", tensor);
  op.in[0] = in;
  op.out = out;
  op.weight[0] = plan_add_experts(
      m->builder, weight, &(struct tensor_slice){.tensor = tensor, .first = part->first, .rows = part->rows}, spec);
  op.args.linear.expert_mode = EXPERTS_EACH;
  op.args.linear.column = column;
  plan_add_op(m->builder, &op);
}

/* The still part of q in the latent's terms. */
static void absorb_add(const struct decoder_maker *m) {
  const struct latent_sizes *l = &m->d->latent;
  bool apart = heads_apart(m);
  const struct expert_spec spec = {
      .n_expert = m->d->n_head, .n_part = 1, .cols = l->still, .order = apart ? ORDER_AS_IS : ORDER_TRANSPOSED};
  heads_add(m, "k_b", &(struct matrix_part){apart ? ROLE_K_B : ROLE_KV_B, .rows = l->rank}, &spec, m->still, m->qkv,
            m->d->n_head * l->rope);
}

static void values_add(const struct decoder_maker *m) {
  const struct latent_sizes *l = &m->d->latent;
  bool apart = heads_apart(m);
  const struct expert_spec spec = {.n_expert = m->d->n_head, .n_part = 1, .cols = l->rank};
  const struct matrix_part part = {apart ? ROLE_V_B : ROLE_KV_B, apart ? 0 : l->still, m->d->head_dim, 0, 0};
  heads_add(m, "v_b", &part, &spec, m->mixed, m->heads, 0);
}

/* The one key: what rotates, then the latent. */
static void key_add(const struct decoder_maker *m, int norm) {
  const struct decoder *d = m->d;
  const struct latent_sizes *l = &d->latent;
  int column = d->n_head * (l->rope + l->rank);
  struct op rotated =
      part_make(m, "k_rope", m->x, m->qkv, &(struct matrix_part){ROLE_KV_A, l->rank, l->rope, 0, 0}, d->hidden, column);
  maker_linear_norm(&rotated, m, norm);
  plan_add_op(m->builder, &rotated);
  struct op latent = part_make(m, "kv_a", m->x, m->qkv, &(struct matrix_part){ROLE_KV_A, 0, l->rank, 0, 0}, d->hidden,
                               column + l->rope);
  maker_linear_norm(&latent, m, norm);
  latent_norm(m, ROLE_KV_A_NORM, l->rank, &latent);
  plan_add_op(m->builder, &latent);
}

static void attend_add(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  struct op op = op_make(OP_ATTEND, m->layer);
  op.in[0] = m->qkv;
  op.out = m->mixed;
  op.args.attend = (struct attend_args){.n_head = d->n_head,
                                        .n_kv_head = 1,
                                        .dim_k = d->latent.rope + d->latent.rank,
                                        .dim_v = d->latent.rank,
                                        .group = m->group[LAYER_GLOBAL],
                                        .layer = m->in_group[LAYER_GLOBAL]++,
                                        .rope_scale = 1,
                                        .scale = d->attend_scale,
                                        .value_in_key = 1};
  maker_attend_rope(m, &op.args.attend, LAYER_GLOBAL);
  plan_add_op(m->builder, &op);
}

void maker_latent_add(struct decoder_maker *m) {
  const struct latent_sizes *l = &m->d->latent;
  int norm = maker_norm_add(m, ROLE_ATTEND_NORM, m->d->hidden);
  struct query_source source = query_source_add(m, norm);
  query_add(m, &source, "q_still", m->still, 0, l->still);
  query_add(m, &source, "q_rope", m->qkv, l->still, l->rope);
  absorb_add(m);
  key_add(m, norm);
  attend_add(m);
  values_add(m);
}
