/* Cutting a plan: values, weights, groups and frequencies are renumbered as the ops name them. */
#include "build/plan_cut.h"

#include "plan/plan_builder.h"

#include <stdlib.h>

enum { CUT_BYTES_MAX = 1 << 20 };

struct cutter {
  const struct plan *plan;
  struct plan_cut *cut;
  struct plan_builder builder;
  int rows, experts;
  int *value, *weight; /* of the whole plan: index in the cut, −1: not yet */
};

/* Does an op of the plan read or write the value as results of each of a token's experts? */
static bool value_spreads(const struct plan *plan, int value) {
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind == OP_LINEAR && op->args.linear.expert_mode == EXPERTS_SPREAD && op->out == value) return true;
  }
  return false;
}

static int value_cols(const struct cutter *c, int value) {
  int cols = plan_values(c->plan)[value].cols;
  return c->experts > 0 && value_spreads(c->plan, value) ? cols / c->experts : cols;
}

/* The op as the cut has it, its values and weights those of the whole plan. */
static struct op op_take(const struct cutter *c, int index) {
  struct op op = plan_ops(c->plan)[index];
  if (c->experts == 0) return op;
  if (op.args.linear.expert_mode == EXPERTS_GATHER) {
    op.in[1] = -1;
    op.args.linear.scale = 1;
  }
  op.in[2] = op.weight[2] = -1;
  op.args.linear.norm = NORM_NONE;
  op.args.linear.expert_mode = EXPERTS_NONE;
  return op;
}

static int value_map(struct cutter *c, int value) {
  if (value >= 0 && c->value[value] < 0) {
    const struct value *v = &plan_values(c->plan)[value];
    c->value[value] = v->n_expert > 0 ? plan_add_choice(&c->builder, v->n_expert, v->cols / 2)
                                      : plan_add_value(&c->builder, value_cols(c, value), ROWS_TOKENS);
  }
  return value < 0 ? -1 : c->value[value];
}

static int weight_map(struct cutter *c, int weight) {
  if (weight < 0) return -1;
  if (c->weight[weight] >= 0) return c->weight[weight];
  const struct weight *w = plan_weights(c->plan) + weight;
  struct tensor_slice slice[PLAN_PARTS];
  const struct expert_spec spec = {.use = w->use,
                                   .n_expert = c->experts > 0 ? 0 : w->n_expert,
                                   .n_part = w->n_part,
                                   .cols = w->use == WEIGHT_VECTOR ? 1 : w->cols,
                                   .interleaved = w->interleaved};
  for (int i = 0; i < w->n_part; i++)
    slice[i] = (struct tensor_slice){.tensor = plan_name(c->plan, w->part[i].tensor), .rows = w->part[i].rows};
  int at = plan_add_experts(&c->builder, plan_name(c->plan, w->name), slice, &spec);
  c->cut->origin[at] = weight;
  return c->weight[weight] = at;
}

/* A table for a value that the ops read before they write it. */
static bool input_add(struct cutter *c, int value) {
  if (value < 0 || c->value[value] >= 0) return true;
  struct plan_cut *cut = c->cut;
  if (cut->n_in == CUT_INPUTS) return false;
  struct op op = op_make(OP_EMBED, -1);
  op.out = value_map(c, value);
  op.weight[0] =
      plan_add_matrix(&c->builder, "table", (const char *[]){"table"}, &c->rows, 1, value_cols(c, value), false);
  cut->origin[op.weight[0]] = -1;
  cut->value[cut->n_in++] = value;
  plan_add_op(&c->builder, &op);
  return true;
}

static bool inputs_add(struct cutter *c, int first, int count) {
  bool *written = calloc((size_t)c->plan->n_value + 1, sizeof *written), fits = written != NULL;
  for (int i = first; i < first + count && fits; i++) {
    struct op op = op_take(c, i);
    for (int k = 0; k < OP_INPUTS && fits; k++)
      if (op.in[k] >= 0 && !written[op.in[k]]) fits = input_add(c, op.in[k]);
    written[op.out] = true;
  }
  free(written);
  return fits;
}

/* The attention's KV group with one layer, its frequencies and slopes. */
static void attend_map(struct cutter *c, struct attend_args *args) {
  const float *floats = plan_floats(c->plan);
  struct kv_group group = plan_groups(c->plan)[args->group];
  group.n_layer = 1;
  args->group = plan_add_group(&c->builder, group);
  args->layer = 0;
  if (args->rope_style != ROPE_NONE)
    args->rope_freq = plan_add_floats(&c->builder, floats + args->rope_freq, (uint32_t)args->rope_dim / 2);
  if (args->alibi == LEAN_SLOPES)
    args->alibi_slope = plan_add_floats(&c->builder, floats + args->alibi_slope, (uint32_t)args->n_head);
}

static void op_map(struct cutter *c, int index) {
  struct op op = op_take(c, index);
  for (int i = 0; i < OP_INPUTS; i++) op.in[i] = value_map(c, op.in[i]);
  op.out = value_map(c, op.out);
  for (int i = 0; i < OP_WEIGHTS; i++) op.weight[i] = weight_map(c, op.weight[i]);
  if (op.kind == OP_ATTEND) attend_map(c, &op.args.attend);
  plan_add_op(&c->builder, &op);
}

static bool cut_build(struct cutter *c, int first, int count, struct error *error) {
  struct plan_cut *cut = c->cut;
  for (int i = 0; i < c->plan->n_value; i++) c->value[i] = -1;
  for (int i = 0; i < c->plan->n_weight; i++) c->weight[i] = -1;
  c->builder.head.vocab = c->builder.head.max_position = c->rows;
  c->builder.head.hidden = c->plan->hidden;
  if (!inputs_add(c, first, count))
    return error_set(error, ERROR_UNSUPPORTED, "Ops %d to %d of the plan take more than %d values of others.", first,
                     first + count - 1, CUT_INPUTS);
  for (int i = first; i < first + count; i++) op_map(c, i);
  struct op select = op_make(OP_SELECT, -1);
  cut->out = plan_ops(c->plan)[first + count - 1].out;
  select.in[0] = value_map(c, cut->out);
  select.out = plan_add_value(&c->builder, value_cols(c, cut->out), ROWS_OUTPUTS);
  plan_add_op(&c->builder, &select);
  return plan_finish(&c->builder, &cut->block, error);
}

bool plan_cut_make(struct plan_cut *cut, const struct plan *plan, int first, int count, int rows, int experts,
                   struct error *error) {
  struct cutter c = {.plan = plan, .cut = cut, .rows = rows, .experts = experts};
  *cut = (struct plan_cut){0};
  buffer_init(&cut->block, CUT_BYTES_MAX);
  plan_builder_init(&c.builder, PLAN_DECODER);
  c.value = calloc((size_t)plan->n_value + 1, sizeof *c.value);
  c.weight = calloc((size_t)plan->n_weight + 1, sizeof *c.weight);
  cut->origin = calloc((size_t)count * OP_WEIGHTS + CUT_INPUTS, sizeof *cut->origin);
  bool made = c.value && c.weight && cut->origin
                  ? cut_build(&c, first, count, error)
                  : error_set(error, ERROR_MEMORY, "Out of memory for a part of the plan.");
  plan_builder_release(&c.builder);
  free(c.value);
  free(c.weight);
  return made;
}

void plan_cut_release(struct plan_cut *cut) {
  buffer_release(&cut->block);
  free(cut->origin);
  cut->origin = NULL;
}
