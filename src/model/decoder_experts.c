/* A feed-forward of experts: LINEAR (norm, router's logits) → ROUTE → LINEAR (norm, gate and up of the chosen, gated) →
 * LINEAR (down of the chosen, weighted, added). */
#include "model/decoder_maker.h"

bool maker_experts_check(struct decoder_maker *m, struct error *error) {
  bool alike = true;
  if (m->d->route.n_expert == 0) return true;
  for (m->layer = 0; m->layer < m->d->n_layer && alike; m->layer += alike)
    alike = maker_matrices_alike(m, ROLE_EXPERT_GATE, ROLE_EXPERT_UP);
  int layer = m->layer;
  m->layer = -1;
  if (alike) return true;
  return error_set(
      error, ERROR_UNSUPPORTED,
      "The gates of experts in layer %d are stored in another type than what they gate; both are one matrix "
      "here, and need one type.",
      layer);
}

void maker_experts_values(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  m->logits = plan_add_value(m->builder, d->route.n_expert, ROWS_TOKENS);
  m->choice = plan_add_choice(m->builder, d->route.n_expert, d->route.k);
  m->experts_ff = plan_add_value(m->builder, d->route.k * d->expert_forward, ROWS_TOKENS);
}

static void route_add(const struct decoder_maker *m, int norm) {
  const struct decoder *d = m->d;
  struct op logits = maker_linear_make(m, m->x, m->logits,
                                       &(struct matrix_spec){.name = "router",
                                                             .n_part = 1,
                                                             .part = {{ROLE_ROUTER, .rows = d->route.n_expert}},
                                                             .cols = d->hidden,
                                                             .bias = d->router_bias});
  struct op route = op_make(OP_ROUTE, m->layer);
  if (norm >= 0) maker_linear_norm(&logits, m, norm);
  plan_add_op(m->builder, &logits);
  route.in[0] = m->logits;
  route.out = m->choice;
  route.args.route = d->route;
  plan_add_op(m->builder, &route);
}

/* Where the rows of gate and up are. */
static void gate_up_find(const struct decoder_maker *m, struct matrix_part part[2]) {
  int rows = m->d->expert_forward;
  part[0] = (struct matrix_part){ROLE_EXPERT_GATE, .rows = rows};
  part[1] = (struct matrix_part){ROLE_EXPERT_UP, .rows = rows};
  if (m->d->expert_layout != EXPERTS_ALTERNATE || m->kind == CHECKPOINT_GGUF) return;
  part[0] = (struct matrix_part){ROLE_EXPERT_GATE_UP, .rows = rows, .run = 1, .period = 2};
  part[1] = (struct matrix_part){ROLE_EXPERT_GATE_UP, .first = 1, .rows = rows, .run = 1, .period = 2};
}

void maker_experts_begin(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  struct matrix_spec spec = {.name = "expert_gate_up",
                             .n_expert = d->route.n_expert,
                             .n_part = 2,
                             .cols = d->hidden,
                             .interleaved = true,
                             .bias = d->expert_bias};
  int norm = maker_mlp_norm(m);
  route_add(m, norm);
  gate_up_find(m, spec.part);
  struct op gate = maker_linear_make(m, m->x, m->experts_ff, &spec);
  if (norm >= 0) maker_linear_norm(&gate, m, norm);
  gate.in[2] = m->choice;
  gate.args.linear.expert_mode = EXPERTS_SPREAD;
  gate.args.linear.gated = 1;
  gate.args.linear.act = (uint8_t)d->act;
  gate.args.linear.limit = d->limit;
  gate.args.linear.up_add = d->up_add;
  plan_add_op(m->builder, &gate);
}

void maker_experts_end(struct decoder_maker *m) {
  const struct decoder *d = m->d;
  struct op down = maker_linear_make(m, m->experts_ff, m->x,
                                     &(struct matrix_spec){.name = "expert_down",
                                                           .n_expert = d->route.n_expert,
                                                           .n_part = 1,
                                                           .part = {{ROLE_EXPERT_DOWN, .rows = d->hidden}},
                                                           .cols = d->expert_forward,
                                                           .bias = d->expert_bias});
  down.in[2] = m->choice;
  down.args.linear.expert_mode = EXPERTS_GATHER;
  maker_linear_residual(&down, m, ROLE_SANDWICH_MLP_POST);
  plan_add_op(m->builder, &down);
}
