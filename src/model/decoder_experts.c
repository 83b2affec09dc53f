/* Mixtures of experts: what their configs have, and the ops of such a layer's feed-forward: LINEAR (norm, router) →
 * ROUTE → LINEAR (norm, gate and up of each chosen expert, gated; two where their types differ) → LINEAR (down of each,
 * weighted, added to the residual). */
#include "format/tensor.h"
#include "model/decoder_maker.h"

/* Of files that are as transformers 5 has the network in memory: gates and ups of all experts in one tensor. */
static const struct decoder_names stacked_names = {
    .hf = {[ROLE_ROUTER] = "mlp.gate", [ROLE_EXPERT_DOWN] = "=mlp.experts.down_proj"}};

static void stacked_find(struct decoder *d, const struct checkpoint *c) {
  char name[TENSOR_NAME_BYTES];
  if (checkpoint_kind(c) == CHECKPOINT_GGUF || d->experts.layout != EXPERTS_APART) return;
  for (int i = 0; i < d->n_layer; i++) {
    decoder_tensor_name(CHECKPOINT_HF, NULL, d->prefix, i, ROLE_EXPERT_GATE_UP, "weight", name);
    if (!decoder_has(c, name)) continue;
    d->experts.layout = EXPERTS_JOINED;
    d->stacked = &stacked_names;
    return;
  }
}

bool decoder_read_experts(struct decoder *d, const struct checkpoint *c, const char *count_key, struct error *error) {
  struct route_args *route = &d->experts.route;
  bool normalize = route->normalize;
  const struct config_key count = {count_key, "expert_count"};
  if (!config_int(c, count, CONFIG_NEEDED, 1, LIMIT_MODEL_EXPERTS, &route->n_expert, error)) return false;
  int most = route->n_expert < LIMIT_ROUTE_EXPERTS ? route->n_expert : LIMIT_ROUTE_EXPERTS;
  if (d->experts.feed_forward == 0) d->experts.feed_forward = d->feed_forward;
  if (!config_int(c, (struct config_key){"num_experts_per_tok", "expert_used_count"}, CONFIG_NEEDED, 1, most, &route->k,
                  error) ||
      !config_int(c, (struct config_key){"moe_intermediate_size", "expert_feed_forward_length"}, CONFIG_OPTIONAL, 1,
                  LIMIT_MODEL_WIDTH, &d->experts.feed_forward, error) ||
      !config_bool(c, (struct config_key){"norm_topk_prob", NULL}, &normalize, error))
    return false;
  route->normalize = normalize;
  if (route->scale == 0) route->scale = 1;
  stacked_find(d, c);
  return decoder_experts_fit(d, error);
}

bool decoder_experts_fit(const struct decoder *d, struct error *error) {
  int chosen = d->experts.route.k, width = d->experts.feed_forward;
  if ((int64_t)chosen * width <= LIMIT_MODEL_WIDTH) return true;
  return error_set(error, ERROR_LIMIT, "%d experts of width %d for each token are wider than the %d that Spate allows.",
                   chosen, width, LIMIT_MODEL_WIDTH);
}

bool decoder_read_sparse(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct config_key dense = {"mlp_only_layers", NULL};
  int step = 1, count = -1;
  if (!config_list(c, dense, &count, error) || !config_int(c, (struct config_key){"decoder_sparse_step", NULL},
                                                           CONFIG_OPTIONAL, 1, LIMIT_MODEL_LAYERS, &step, error))
    return false;
  for (int i = 0; i < d->n_layer; i++) d->layer_dense[i] = (i + 1) % step != 0;
  for (int i = 0, layer; i < count; i++) {
    if (!config_list_int(c, dense, i, 0, LIMIT_MODEL_LAYERS, &layer, error)) return false;
    if (layer < d->n_layer) d->layer_dense[layer] = true;
  }
  return true;
}

/* --- the ops ------------------------------------------------------------------------------------------------------ */

bool maker_has_experts(const struct decoder_maker *m) {
  return m->d->experts.route.n_expert > 0 && !m->d->layer_dense[m->layer];
}

/* Whether gate and up of the experts can be one weight: as the first's are stored. */
static bool halves_alike(const struct decoder_maker *m) {
  const struct tensor *half[2];
  static const enum tensor_role roles[2] = {ROLE_EXPERT_GATE, ROLE_EXPERT_UP};
  if (m->d->experts.layout != EXPERTS_APART && m->kind == CHECKPOINT_HF) return true;
  for (int i = 0; i < 2; i++) {
    char name[TENSOR_NAME_BYTES], own[EXPERT_NAME_BYTES];
    maker_tensor_name(m, roles[i], "weight", name);
    half[i] = checkpoint_find(m->checkpoint, expert_tensor_apart(name) ? expert_tensor_name(name, 0, own) : name);
  }
  return tensor_alike(half[0], half[1]);
}

bool maker_experts_check(struct decoder_maker *m, struct error *error) {
  int layer = 0;
  bool alike = true;
  if (m->d->experts.route.n_expert == 0 || (m->d->limit == 0 && m->d->up_add == 0)) return true;
  for (m->layer = 0; m->layer < m->d->n_layer && alike; m->layer++)
    if (maker_has_experts(m)) layer = m->layer, alike = halves_alike(m);
  m->layer = -1;
  if (alike) return true;
  return error_set(
      error, ERROR_UNSUPPORTED,
      "The gates of experts in layer %d are stored in another type than what they gate; both are one matrix "
      "here, and need one type.",
      layer);
}

void maker_experts_values(struct decoder_maker *m) {
  const struct decoder_experts *e = &m->d->experts;
  if (e->route.n_expert == 0) return;
  m->router = plan_add_value(m->builder, e->route.n_expert, ROWS_TOKENS);
  m->choice = plan_add_choice(m->builder, e->route.n_expert, e->route.k);
  m->expert_ff = plan_add_value(m->builder, e->route.k * e->feed_forward, ROWS_TOKENS);
  if (e->shared > 0) m->shared_ff = plan_add_value(m->builder, e->shared, ROWS_TOKENS);
}

static void route_add(const struct decoder_maker *m, int norm) {
  const struct decoder_experts *e = &m->d->experts;
  struct op route = op_make(OP_ROUTE, m->layer);
  struct op router = maker_linear_make(m, m->x, m->router,
                                       &(struct matrix_spec){.name = "router",
                                                             .n_part = 1,
                                                             .part = {{ROLE_ROUTER, .rows = e->route.n_expert}},
                                                             .cols = m->d->hidden,
                                                             .bias = e->router_bias});
  if (norm >= 0) maker_linear_norm(&router, m, norm);
  plan_add_op(m->builder, &router);
  route.in[0] = m->router;
  route.out = m->choice;
  route.args.route = e->route;
  if (e->choice_bias) {
    char bias[TENSOR_NAME_BYTES];
    maker_tensor_name(m, ROLE_CHOICE_BIAS, "weight", bias);
    route.weight[0] = plan_add_vector(m->builder, bias, e->route.n_expert, 0);
  }
  plan_add_op(m->builder, &route);
}

/* A linear of a layer's experts, joined from rows of each one's tensors. */
static struct op experts_make(const struct decoder_maker *m, int in, int out, enum expert_mode mode,
                              struct matrix_spec spec) {
  spec.n_expert = m->d->experts.route.n_expert;
  spec.bias = m->d->experts.bias;
  struct op op = maker_linear_make(m, in, out, &spec);
  op.in[2] = m->choice;
  op.args.linear.expert_mode = (uint8_t)mode;
  return op;
}

/* Where the rows of gate and up are. */
static void gate_up_find(const struct decoder_maker *m, struct matrix_part part[2]) {
  int rows = m->d->experts.feed_forward;
  enum expert_layout layout = m->kind == CHECKPOINT_HF ? m->d->experts.layout : EXPERTS_APART;
  bool apart = layout == EXPERTS_APART;
  part[0] = (struct matrix_part){apart ? ROLE_EXPERT_GATE : ROLE_EXPERT_GATE_UP, .rows = rows};
  part[1] = (struct matrix_part){apart ? ROLE_EXPERT_UP : ROLE_EXPERT_GATE_UP, .rows = rows};
  if (layout == EXPERTS_JOINED) part[1].first = rows;
  if (layout != EXPERTS_ALTERNATE) return;
  part[1].first = 1;
  for (int i = 0; i < 2; i++) part[i].run = 1, part[i].period = 2;
}

static void gate_up_add(const struct decoder_maker *m, int norm) {
  struct matrix_spec spec = {.name = "experts_gate_up", .n_part = 2, .cols = m->d->hidden, .interleaved = true};
  gate_up_find(m, spec.part);
  struct op op = experts_make(m, m->x, m->expert_ff, EXPERTS_SPREAD, spec);
  if (norm >= 0) maker_linear_norm(&op, m, norm);
  op.args.linear.gated = 1;
  op.args.linear.act = (uint8_t)m->d->act;
  op.args.linear.limit = m->d->limit;
  op.args.linear.up_add = m->d->up_add;
  plan_add_op(m->builder, &op);
}

/* expert_ff = act(gate), or, a step of the following, expert_ff ×= up; of experts without gates act(up). */
static void half_add(const struct decoder_maker *m, int norm, bool up) {
  bool plain = m->d->experts.layout == EXPERTS_PLAIN;
  struct op op = experts_make(
      m, m->x, m->expert_ff, EXPERTS_SPREAD,
      (struct matrix_spec){.name = up ? "experts_up" : "experts_gate",
                           .n_part = 1,
                           .part = {{up ? ROLE_EXPERT_UP : ROLE_EXPERT_GATE, .rows = m->d->experts.feed_forward}},
                           .cols = m->d->hidden});
  if (norm >= 0) maker_linear_norm(&op, m, norm);
  op.args.linear.act = (uint8_t)(up && !plain ? ACT_NONE : m->d->act);
  op.args.linear.multiply = up && !plain;
  if (op.args.linear.multiply) op.in[1] = m->expert_ff;
  plan_add_op(m->builder, &op);
}

void maker_experts_begin(const struct decoder_maker *m, int norm) {
  route_add(m, norm);
  if (m->d->experts.layout == EXPERTS_PLAIN) {
    half_add(m, norm, true);
  } else if (halves_alike(m)) {
    gate_up_add(m, norm);
  } else {
    half_add(m, norm, false);
    half_add(m, norm, true);
  }
}

void maker_experts_down(const struct decoder_maker *m) {
  struct op down = experts_make(m, m->expert_ff, m->x, EXPERTS_GATHER,
                                (struct matrix_spec){.name = "experts_down",
                                                     .n_part = 1,
                                                     .part = {{ROLE_EXPERT_DOWN, .rows = m->d->hidden}},
                                                     .cols = m->d->experts.feed_forward});
  if (m->d->block == BLOCK_SUM)
    down.in[1] = m->x; /* what is routed has no norm behind it */
  else
    maker_linear_residual(&down, m, ROLE_SANDWICH_MLP_POST);
  plan_add_op(m->builder, &down);
  if (m->d->block == BLOCK_SUM) maker_sum_norm(m, ROLE_SANDWICH_MLP_POST, m->d->experts.sum_bias);
}
