/* A layer of a decoder: LINEAR (norm, q, k, v; one for each run of the three that the file has in one type, and for
 * those with a norm over all heads) → ATTEND → LINEAR (out, added to the residual) → LINEAR (norm, gate and up, gated;
 * two where their types differ; or no gate) → LINEAR (down, added). Where the two halves are parallel, nothing is added
 * before both have read the residual: the feed-forward begins right after ATTEND. */
#include "format/tensor.h"
#include "model/decoder_maker.h"

struct op maker_linear_make(const struct decoder_maker *m, int in, int out, const struct matrix_spec *spec) {
  struct op op = op_make(OP_LINEAR, m->layer);
  op.in[0] = in;
  op.out = out;
  maker_matrix_add(m, spec, &op);
  return op;
}

static void linear_post_norm(struct op *op, const struct decoder_maker *m, enum norm_kind kind, int norm) {
  op->args.linear.post_norm = (uint8_t)kind;
  op->args.linear.post_eps = (float)m->d->eps;
  op->weight[3] = norm;
}

void maker_linear_residual(struct op *op, const struct decoder_maker *m, enum tensor_role post) {
  op->in[1] = m->x;
  if (m->d->residual_scale > 0) op->args.linear.scale = m->d->residual_scale;
  if (m->d->block == BLOCK_SANDWICH || m->d->block == BLOCK_POST)
    linear_post_norm(op, m, NORM_RMS, maker_rms_add(m, post, m->d->hidden));
  if (m->d->block != BLOCK_SUM) return;
  linear_post_norm(op, m, m->d->layer_norm ? NORM_LAYER : NORM_RMS, maker_norm_add(m, post, m->d->hidden));
  op->args.linear.post_sum = 1;
}

/* --- attention ---------------------------------------------------------------------------------------------------- */

static void attend_norms(const struct decoder_maker *m, struct op *op) {
  const struct decoder *d = m->d;
  if (d->qk_norm != QK_NORM_HEAD && d->qk_norm != QK_NORM_EACH) return;
  bool each = d->qk_norm == QK_NORM_EACH;
  op->args.attend.head_norms = each;
  op->weight[0] = maker_rms_add(m, ROLE_Q_NORM, (each ? d->n_head : 1) * d->head_dim);
  op->weight[1] = maker_rms_add(m, ROLE_K_NORM, (each ? d->n_kv_head : 1) * d->head_dim);
}

static void attend_sinks(const struct decoder_maker *m, struct op *op) {
  char tensor[TENSOR_NAME_BYTES];
  if (!m->d->sinks) return;
  maker_tensor_name(m, ROLE_SINKS, "weight", tensor);
  op->weight[2] = plan_add_vector(m->builder, tensor, m->d->n_head, 0);
}

void maker_attend_rope(const struct decoder_maker *m, struct attend_args *args, enum layer_kind kind) {
  const struct decoder *d = m->d;
  if (d->layer_still[m->layer] || d->rope_style == ROPE_NONE) return;
  args->rope_style = (int)d->rope_style;
  args->rope_dim = d->rope_dim;
  args->rope_freq = m->rope[kind];
  args->rope_scale = (float)d->rope[kind].attention;
  memcpy(args->rope_axis, d->rope_axis, sizeof args->rope_axis);
}

static void attend_add(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  enum layer_kind kind = d->layer_kind[m->layer];
  bool encodes = maker_encodes(m);
  struct op op = op_make(OP_ATTEND, m->layer);
  op.in[0] = m->qkv, op.out = m->heads;
  op.args.attend = (struct attend_args){
      .n_head = d->n_head,
      .n_kv_head = d->n_kv_head,
      .dim_k = d->head_dim,
      .dim_v = d->head_dim,
      .group = encodes ? -1 : m->group[kind],
      .layer = encodes ? 0 : m->in_group[kind]++,
      .rope_scale = 1,
      .eps = (float)d->eps,
      .scale = d->attend_scale,
      .softcap = d->attend_softcap,
      .clip = d->clip,
      .alibi = m->lean,
      .alibi_slope = m->alibi,
      .causal = encodes && !d->both_ways,
  };
  if (encodes && kind == LAYER_LOCAL) op.args.attend.near = d->both_ways ? d->window : d->window - 1;
  if (d->grow > 0) op.args.attend.grow = d->grow, op.args.attend.grow_from = d->grow_from;
  attend_norms(m, &op);
  attend_sinks(m, &op);
  maker_attend_rope(m, &op.args.attend, kind);
  plan_add_op(m->builder, &op);
}

bool maker_matrices_alike(const struct decoder_maker *m, enum tensor_role a, enum tensor_role b) {
  char name_a[TENSOR_NAME_BYTES], name_b[TENSOR_NAME_BYTES];
  maker_tensor_name(m, a, "weight", name_a);
  maker_tensor_name(m, b, "weight", name_b);
  return tensor_alike(checkpoint_find(m->checkpoint, name_a), checkpoint_find(m->checkpoint, name_b));
}

/* Where the rows of q, k and v are. */
static void projections_find(const struct decoder_maker *m, struct matrix_part part[3]) {
  const struct decoder *d = m->d;
  int group = d->n_head / d->n_kv_head, kv = d->n_kv_head * d->head_dim, q = d->n_head * d->head_dim;
  enum qkv_layout layout = m->kind == CHECKPOINT_GGUF && d->qkv_layout ? QKV_JOINED : d->qkv_layout;
  part[0] = (struct matrix_part){ROLE_Q, .rows = q};
  part[1] = (struct matrix_part){ROLE_K, .rows = kv};
  part[2] = (struct matrix_part){ROLE_V, .rows = kv};
  if (layout == QKV_APART) return;
  for (int i = 0; i < 3; i++) part[i].role = ROLE_QKV;
  part[1].first = q, part[2].first = q + kv;
  if (layout == QKV_JOINED) return;
  for (int i = 0; i < 3; i++) {
    part[i].first = i == 0 ? 0 : (group + i - 1) * d->head_dim;
    part[i].run = (i == 0 ? group : 1) * d->head_dim;
    part[i].period = (group + 2) * d->head_dim;
  }
}

/* How many of the parts from `first` on are one matrix: of one type, without norms of their own. */
static int projections_alike(const struct decoder_maker *m, const struct matrix_part part[3], int first) {
  int n = 1;
  bool alone = m->d->qk_norm == QK_NORM_WHOLE && first < 2;
  while (!alone && first + n < 3 && maker_matrices_alike(m, part[first + n].role, part[first].role)) n++;
  return n;
}

/* A transposed matrix is one part. */
static void projections_join(const struct decoder_maker *m, struct matrix_spec *spec) {
  if (!m->d->transposed || m->kind == CHECKPOINT_GGUF) return;
  for (int i = 1; i < spec->n_part; i++) spec->part[0].rows += spec->part[i].rows;
  spec->n_part = 1;
}

/* q, k and v, side by side in one value. Those of one type are one matrix: each keeps the width that its file gives. */
static void project_add(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  static const char letters[] = "qkv";
  struct matrix_part part[3];
  bool bare = d->block == BLOCK_POST || d->block == BLOCK_SUM || (d->first_bare && m->layer == 0);
  int norm = bare ? -1 : maker_norm_add(m, ROLE_ATTEND_NORM, d->hidden);
  projections_find(m, part);
  for (int first = 0, column = 0, n; first < 3; first += n) {
    char name[] = "qkv";
    struct matrix_spec spec = {.name = name, .cols = d->hidden, .bias = d->qkv_bias};
    spec.n_part = n = projections_alike(m, part, first);
    memcpy(spec.part, part + first, (size_t)n * sizeof *part);
    memcpy(name, letters + first, (size_t)n);
    name[n] = '\0';
    projections_join(m, &spec);
    struct op op = maker_linear_make(m, m->x, m->qkv, &spec);
    if (norm >= 0) maker_linear_norm(&op, m, norm);
    if (d->qk_norm == QK_NORM_WHOLE && first < 2)
      linear_post_norm(&op, m, d->layer_norm ? NORM_LAYER : NORM_RMS,
                       maker_norm_add(m, first == 0 ? ROLE_Q_NORM : ROLE_K_NORM, part[first].rows));
    op.args.linear.column = column;
    plan_add_op(m->builder, &op);
    for (int i = first; i < first + n; i++) column += part[i].rows;
  }
}

static void out_add(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  struct op out = maker_linear_make(m, m->heads, m->x,
                                    &(struct matrix_spec){.name = "out",
                                                          .n_part = 1,
                                                          .part = {{ROLE_OUT, .rows = d->hidden}},
                                                          .cols = d->n_head * d->head_dim,
                                                          .bias = d->out_bias});
  maker_linear_residual(&out, m, ROLE_SANDWICH_ATTEND_POST);
  plan_add_op(m->builder, &out);
}

/* --- feed-forward ------------------------------------------------------------------------------------------------- */

static int mlp_norm_add(const struct decoder_maker *m) {
  switch (m->d->block) {
  case BLOCK_POST:
  case BLOCK_SUM: return -1;
  case BLOCK_SANDWICH: return maker_norm_add(m, ROLE_SANDWICH_MLP_NORM, m->d->hidden);
  case BLOCK_SHARED: return maker_norm_add(m, ROLE_ATTEND_NORM, m->d->hidden);
  default: return maker_norm_add(m, ROLE_MLP_NORM, m->d->hidden);
  }
}

/* A feed-forward that every token has. */
struct feed_forward {
  enum tensor_role gate, up, down;
  const char *names[4]; /* of its weights: gate_up, gate, up, down */
  int width, value;     /* of what is between its linears */
};

static struct feed_forward feed_forward_of(const struct decoder_maker *m) {
  return (struct feed_forward){ROLE_GATE,          ROLE_UP, ROLE_DOWN, {"gate_up", "gate", "up", "down"},
                               m->d->feed_forward, m->ff};
}

static struct feed_forward shared_of(const struct decoder_maker *m) {
  return (struct feed_forward){ROLE_SHARED_GATE,     ROLE_SHARED_UP,
                               ROLE_SHARED_DOWN,     {"shared_gate_up", "shared_gate", "shared_up", "shared_down"},
                               m->d->experts.shared, m->shared_ff};
}

/* act(gate) × up through one matrix, whose kernels take the two interleaved. */
static void gate_up_add(const struct decoder_maker *m, const struct feed_forward *ff, int norm) {
  const struct decoder *d = m->d;
  bool joined = d->ff_layout == FF_GATED_JOINED;
  struct op gate =
      maker_linear_make(m, m->x, ff->value,
                        &(struct matrix_spec){.name = ff->names[0],
                                              .n_part = 2,
                                              .part = {{joined ? ROLE_GATE_UP : ff->gate, .rows = ff->width},
                                                       {joined ? ROLE_GATE_UP : ff->up, .first = joined ? ff->width : 0,
                                                        .rows = ff->width}},
                                              .cols = d->hidden,
                                              .interleaved = true,
                                              .bias = d->mlp_bias});
  if (norm >= 0) maker_linear_norm(&gate, m, norm);
  gate.args.linear.gated = 1;
  gate.args.linear.act = (uint8_t)d->act;
  gate.args.linear.limit = d->limit;
  gate.args.linear.up_add = d->up_add;
  plan_add_op(m->builder, &gate);
}

/* act(gate), or act(up) where there is no gate, or, a step of the following, what is there × up. */
static void half_add(const struct decoder_maker *m, const struct feed_forward *ff, int norm, bool gate, bool multiply) {
  const struct decoder *d = m->d;
  struct op op = maker_linear_make(m, m->x, ff->value,
                                   &(struct matrix_spec){.name = ff->names[gate ? 1 : 2],
                                                         .n_part = 1,
                                                         .part = {{gate ? ff->gate : ff->up, .rows = ff->width}},
                                                         .cols = d->hidden,
                                                         .bias = d->mlp_bias});
  if (norm >= 0) maker_linear_norm(&op, m, norm);
  op.args.linear.act = (uint8_t)(multiply ? ACT_NONE : d->act);
  op.args.linear.multiply = multiply;
  if (multiply) op.in[1] = ff->value;
  plan_add_op(m->builder, &op);
}

static void halves_add(const struct decoder_maker *m, const struct feed_forward *ff, int norm) {
  if (m->d->ff_layout == FF_PLAIN) {
    half_add(m, ff, norm, false, false);
  } else if (m->d->ff_layout == FF_GATED_JOINED || maker_matrices_alike(m, ff->gate, ff->up)) {
    gate_up_add(m, ff, norm);
  } else { /* two matrices, each of its own width */
    half_add(m, ff, norm, true, false);
    half_add(m, ff, norm, false, true);
  }
}

static void down_add(struct decoder_maker *m, const struct feed_forward *ff) {
  const struct decoder *d = m->d;
  struct op down = maker_linear_make(m, ff->value, m->x,
                                     &(struct matrix_spec){.name = ff->names[3],
                                                           .n_part = 1,
                                                           .part = {{ff->down, .rows = d->hidden}},
                                                           .cols = ff->width,
                                                           .bias = d->mlp_bias || d->down_bias});
  maker_linear_residual(&down, m, ROLE_SANDWICH_MLP_POST);
  plan_add_op(m->builder, &down);
}

/* All that reads the residual stream comes before anything is added to it. */
static void feed_forward_begin(const struct decoder_maker *m) {
  struct feed_forward dense = feed_forward_of(m), shared = shared_of(m);
  int norm = mlp_norm_add(m);
  bool experts = maker_has_experts(m);
  if (experts) maker_experts_begin(m, norm);
  if (!experts || shared.width > 0) halves_add(m, experts ? &shared : &dense, norm);
}

static void feed_forward_end(struct decoder_maker *m) {
  struct feed_forward dense = feed_forward_of(m), shared = shared_of(m);
  bool experts = maker_has_experts(m);
  if (experts) maker_experts_down(m);
  if (!experts || shared.width > 0) down_add(m, experts ? &shared : &dense);
}

void maker_layer_add(struct decoder_maker *m) {
  bool parallel = m->d->block == BLOCK_PARALLEL || m->d->block == BLOCK_SHARED;
  if (m->d->latent.rank > 0) {
    maker_latent_add(m);
  } else {
    project_add(m);
    attend_add(m);
  }
  if (parallel) feed_forward_begin(m);
  out_add(m);
  if (!parallel) feed_forward_begin(m);
  feed_forward_end(m);
}
