/* A layer is LINEAR (norm, q, k, v) → ATTEND within the image or a window of it → LINEAR (out, added) → LINEAR (norm,
 * gate and up, act) → LINEAR (down, added); before them the patches' LINEAR, behind them SELECT, which norms and joins
 * neighbours. */
#include "model/rotary_tower.h"

#include "model/encoder_parts.h"
#include "base/limits.h"
#include "model/decoder_names.h"

#include <math.h>
#include <stdio.h>

enum { HEAD_MAX = 1 << 10 };

/* --- the config --------------------------------------------------------------------------------------------------- */

bool rotary_tower_size(const struct checkpoint *checkpoint, const char *key, int max, int *value, struct error *error) {
  char path[80];
  snprintf(path, sizeof path, "vision_config.%.60s", key);
  return config_int(checkpoint, (struct config_key){path, NULL}, CONFIG_OPTIONAL, 1, max, value, error);
}

bool rotary_tower_check(const struct rotary_tower *t, struct error *error) {
  int dim = t->hidden / t->n_head;
  if (t->hidden % t->n_head != 0 || dim % 4 != 0 || dim > HEAD_MAX)
    return error_set(error, ERROR_INVALID,
                     "The vision config has hidden size %d and %d attention heads; heads must have the same number of "
                     "dimensions, a multiple of 4, by %d at most.",
                     t->hidden, t->n_head, HEAD_MAX);
  if (t->window % t->merge != 0)
    return error_set(error, ERROR_INVALID,
                     "The vision config has windows of %d patches a side, %d of which become one; expected a multiple.",
                     t->window, t->merge);
  if (t->grid >= t->merge && t->area >= t->merge * t->merge) return true;
  return error_set(error, ERROR_INVALID,
                   "The vision config has images of up to %d patches a side, %d of which become one.", t->grid,
                   t->merge);
}

/* --- the plan ----------------------------------------------------------------------------------------------------- */

/* What the steps below share while a plan is made. */
struct rotary_maker {
  const struct rotary_tower *t;
  struct plan_builder *builder;
  int layer; /* −1 outside the layers */
  uint32_t frequency;
  int x, qkv, heads, ff; /* values: the residual stream; q, k, v; attention's and the feed-forward's result */
};

static struct encoder_scope scope_of(const struct rotary_maker *m) {
  return (struct encoder_scope){m->builder, m->t->prefix, m->t->names->layers, "vision_", m->layer};
}

static void tensor_name(const struct rotary_maker *m, const char *part, const char *suffix,
                        char out[TENSOR_NAME_BYTES]) {
  const struct encoder_scope scope = scope_of(m);
  encoder_tensor(&scope, part, suffix, out);
}

/* A norm's weight, and bias if it has one. */
static int norm_add(const struct rotary_maker *m, const char *name, enum norm_kind kind) {
  char weight[TENSOR_NAME_BYTES + 8];
  snprintf(weight, sizeof weight, "%.140s.weight", name);
  if (kind == NORM_RMS) return plan_add_vector(m->builder, weight, m->t->hidden, 0);
  return encoder_norm_named(m->builder, name, m->t->hidden);
}

static void matrix_add(const struct rotary_maker *m, const char *name, const char *const *parts, int n_part, int rows,
                       int cols, bool interleaved, struct op *op) {
  const struct encoder_scope scope = scope_of(m);
  bool bias = m->t->bias && m->layer >= 0;
  encoder_matrix_add(&scope, &(struct encoder_matrix){name, parts, n_part, rows, cols, bias, interleaved}, op);
}

static struct op linear_make(const struct rotary_maker *m, int in, int out) {
  const struct encoder_scope scope = scope_of(m);
  return encoder_linear(&scope, in, out);
}

static void linear_norm(const struct rotary_maker *m, const char *part, struct op *op) {
  char name[TENSOR_NAME_BYTES];
  tensor_name(m, part, "", name);
  op->args.linear.norm = (uint8_t)m->t->norm;
  op->args.linear.eps = (float)m->t->eps;
  op->weight[2] = norm_add(m, name, m->t->norm);
}

/* The patches of a second frame, added to those of the first. */
static void second_add(const struct rotary_maker *m, int patches, int numbers) {
  struct op linear = linear_make(m, patches, m->x);
  linear.in[1] = m->x;
  linear.weight[0] = plan_add_matrix(m->builder, "vision_patch_2", &m->t->names->second_frame, (int[]){m->t->hidden}, 1,
                                     numbers, false);
  plan_add_op(m->builder, &linear);
}

static void patches_add(const struct rotary_maker *m) {
  const struct rotary_tower *t = m->t;
  int numbers = t->channels * t->frames * t->patch * t->patch;
  struct op patches = op_make(OP_EMBED, -1);
  patches.out = plan_add_value(m->builder, numbers, ROWS_TOKENS);
  patches.args.embed.source = EMBED_PATCHES;
  plan_add_op(m->builder, &patches);
  struct op linear = linear_make(m, patches.out, m->x);
  matrix_add(m, "patch", &t->names->patch, 1, t->hidden, numbers, false, &linear);
  if (t->names->first_norm) {
    char name[TENSOR_NAME_BYTES];
    tensor_name(m, t->names->first_norm, "", name);
    linear.args.linear.post_norm = NORM_RMS;
    linear.args.linear.post_eps = (float)t->eps;
    linear.weight[3] = norm_add(m, name, NORM_RMS);
  }
  plan_add_op(m->builder, &linear);
  if (t->names->second_frame) second_add(m, patches.out, numbers);
}

/* Frequencies of lines, then those of columns: a quarter of a head's dimensions each. */
static void frequencies_add(struct rotary_maker *m) {
  const struct rotary_tower *t = m->t;
  float frequency[HEAD_MAX / 2];
  int dim = t->hidden / t->n_head, quarter = dim / 4;
  for (int axis = 0; axis < 2; axis++)
    for (int i = 0; i < quarter; i++) {
      double share = t->interleaved ? 2.0 * (2 * i + axis) / dim : 4.0 * i / dim;
      frequency[axis * quarter + i] = (float)pow(t->theta, -share);
    }
  m->frequency = plan_add_floats(m->builder, frequency, (uint32_t)dim / 2);
}

static void attention_add(const struct rotary_maker *m) {
  const struct rotary_tower *t = m->t;
  int dim = t->hidden / t->n_head, parts = t->names->qkv[1] ? 3 : 1;
  struct op project = linear_make(m, m->x, m->qkv), attend = op_make(OP_ATTEND, m->layer);
  matrix_add(m, "qkv", t->names->qkv, parts, 3 / parts * t->hidden, t->hidden, false, &project);
  linear_norm(m, t->names->attend_norm, &project);
  plan_add_op(m->builder, &project);
  attend.in[0] = m->qkv;
  attend.out = m->heads;
  attend.args.attend = (struct attend_args){.n_head = t->n_head,
                                            .n_kv_head = t->n_head,
                                            .dim_k = dim,
                                            .dim_v = dim,
                                            .group = -1,
                                            .rope_style = t->pairs ? ROPE_PAIRS : ROPE_HALF,
                                            .rope_dim = dim,
                                            .rope_freq = m->frequency,
                                            .rope_scale = 1,
                                            .rope_axis = {0, dim / 4, dim / 4},
                                            .local = t->window > 0 && t->local[m->layer],
                                            .scale = (float)(1 / sqrt(dim))};
  plan_add_op(m->builder, &attend);
  struct op out = linear_make(m, m->heads, m->x);
  matrix_add(m, "out", &t->names->out, 1, t->hidden, t->hidden, false, &out);
  out.in[1] = m->x;
  plan_add_op(m->builder, &out);
}

static void feed_forward_add(const struct rotary_maker *m) {
  const struct rotary_tower *t = m->t;
  const char *const both[] = {t->names->gate, t->names->up};
  struct op up = linear_make(m, m->x, m->ff), down = linear_make(m, m->ff, m->x);
  bool gated = t->names->gate != NULL;
  matrix_add(m, gated ? "gate_up" : "up", both + !gated, 1 + gated, t->feed_forward, t->hidden, gated, &up);
  linear_norm(m, t->names->mlp_norm, &up);
  up.args.linear.gated = gated;
  up.args.linear.act = (uint8_t)t->act;
  plan_add_op(m->builder, &up);
  matrix_add(m, "down", &t->names->down, 1, t->hidden, t->feed_forward, false, &down);
  down.in[1] = m->x;
  plan_add_op(m->builder, &down);
}

static int select_add(const struct rotary_maker *m) {
  const struct rotary_tower *t = m->t;
  struct op op = op_make(OP_SELECT, -1);
  op.in[0] = m->x;
  op.out = plan_add_value(m->builder, t->merge * t->merge * t->hidden, ROWS_OUTPUTS);
  if (t->joined_norm != NORM_NONE) {
    op.args.select.norm = (uint8_t)t->joined_norm;
    op.args.select.eps = (float)t->joined_eps;
    op.weight[2] = norm_add(m, t->joined_name, t->joined_norm);
  }
  plan_add_op(m->builder, &op);
  return op.out;
}

static void head_fill(const struct rotary_tower *t, struct plan *head) {
  bool windows = false;
  for (int i = 0; i < t->n_layer; i++) windows |= t->window > 0 && t->local[i];
  head->hidden = t->hidden;
  head->max_position = t->area;
  head->vision = (struct plan_vision){.channels = t->channels,
                                      .patch = t->patch,
                                      .frames = t->frames,
                                      .merge = t->merge,
                                      .grid = t->grid,
                                      .area = t->area,
                                      .sizes = SIZES_ANY,
                                      .window = windows ? t->window : 0,
                                      .mark = t->mark,
                                      .breaks = -1};
}

int rotary_tower_build(const struct rotary_tower *tower, struct plan_builder *builder) {
  const struct rotary_tower *t = tower;
  struct rotary_maker m = {.t = t, .builder = builder, .layer = -1};
  head_fill(t, &builder->head);
  m.x = plan_add_value(builder, t->hidden, ROWS_TOKENS);
  m.qkv = plan_add_value(builder, 3 * t->hidden, ROWS_TOKENS);
  m.heads = plan_add_value(builder, t->hidden, ROWS_TOKENS);
  m.ff = plan_add_value(builder, t->feed_forward, ROWS_TOKENS);
  frequencies_add(&m);
  patches_add(&m);
  for (m.layer = 0; m.layer < t->n_layer; m.layer++) {
    attention_add(&m);
    feed_forward_add(&m);
  }
  m.layer = -1;
  return select_add(&m);
}
