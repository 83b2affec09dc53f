/* A layer is LINEAR (norm, q, k, v) → ATTEND within the image → LINEAR (out, added) → LINEAR (norm, fc1, act) → LINEAR
 * (fc2, added); before them the patches' LINEAR and the positions' EMBED, behind them SELECT, which norms and joins
 * neighbours. */
#include "model/vision_tower.h"

#include "model/encoder_parts.h"
#include "base/limits.h"
#include "model/decoder_names.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { HEADS_MAX = 1 << 12, HEAD_MAX = 1 << 10 };

/* --- the config --------------------------------------------------------------------------------------------------- */

static bool act_read(struct vision_tower *t, const struct checkpoint *c, struct error *error) {
  static const struct {
    const char *name;
    enum act_kind act;
  } acts[] = {{"gelu_pytorch_tanh", ACT_GELU_TANH}, {"gelu", ACT_GELU}, {"quick_gelu", ACT_GELU_QUICK}};
  struct slice name = {0};
  if (!config_text(c, (struct config_key){"vision_config.hidden_act", NULL}, &name, error)) return false;
  if (!name.data) return true;
  for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
    if (!slice_is(name, acts[i].name)) continue;
    t->act = acts[i].act;
    return true;
  }
  return error_set(error, ERROR_UNSUPPORTED,
                   "config.json: vision_config.hidden_act is \"%.*s\", expected \"gelu_pytorch_tanh\", \"gelu\" or "
                   "\"quick_gelu\".",
                   SLICE_ARGS(name));
}

bool vision_tower_check(const struct vision_tower *t, struct error *error) {
  int grid = t->image / t->patch;
  if (t->hidden % t->n_head != 0 || t->hidden / t->n_head > HEAD_MAX)
    return error_set(error, ERROR_INVALID,
                     "The vision config has hidden size %d and %d attention heads; the first must be a multiple of the "
                     "second, by %d at most.",
                     t->hidden, t->n_head, HEAD_MAX);
  if (grid >= 1 && grid <= PLAN_GRID && grid % t->merge == 0) return true;
  return error_set(
      error, ERROR_INVALID,
      "The vision config has images of %d pixels in patches of %d, which makes %d a side; expected 1 to %d, "
      "a multiple of %d.",
      t->image, t->patch, grid, PLAN_GRID, t->merge);
}

bool vision_tower_read(struct vision_tower *tower, const struct checkpoint *checkpoint, struct error *error) {
  const struct {
    const char *key;
    int max, *value;
  } sizes[] = {
      {"vision_config.hidden_size", LIMIT_MODEL_WIDTH, &tower->hidden},
      {"vision_config.intermediate_size", LIMIT_MODEL_WIDTH, &tower->feed_forward},
      {"vision_config.num_hidden_layers", LIMIT_MODEL_LAYERS, &tower->n_layer},
      {"vision_config.num_attention_heads", HEADS_MAX, &tower->n_head},
      {"vision_config.num_channels", PLAN_CHANNELS, &tower->channels},
      {"vision_config.image_size", PLAN_GRID * PLAN_PATCH, &tower->image},
      {"vision_config.patch_size", PLAN_PATCH, &tower->patch},
  };
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (!config_int(checkpoint, (struct config_key){sizes[i].key, NULL}, CONFIG_OPTIONAL, 1, sizes[i].max,
                    sizes[i].value, error))
      return false;
  return config_float(checkpoint, (struct config_key){"vision_config.layer_norm_eps", NULL}, CONFIG_OPTIONAL, 0, 1,
                      &tower->eps, error) &&
         act_read(tower, checkpoint, error) && vision_tower_check(tower, error);
}

/* --- the plan ----------------------------------------------------------------------------------------------------- */

/* What the steps below share while a plan is made. */
struct tower_maker {
  const struct vision_tower *t;
  struct plan_builder *builder;
  int layer;             /* −1 outside the layers */
  int x, qkv, heads, ff; /* values: the residual stream; q, k, v; attention's and the feed-forward's result */
};

static const struct vision_names *names_of(const struct tower_maker *m) {
  return m->t->names ? m->t->names : &vision_names_hf;
}

static int layers_used(const struct vision_tower *t) { return t->used ? t->used : t->n_layer; }

static struct encoder_scope scope_of(const struct tower_maker *m) {
  return (struct encoder_scope){m->builder, m->t->prefix, names_of(m)->layers, "vision_", m->layer};
}

static int norm_add(const struct tower_maker *m, const char *part) {
  const struct encoder_scope scope = scope_of(m);
  return encoder_norm(&scope, part, m->t->hidden);
}

static void matrix_add(const struct tower_maker *m, const char *name, const char *const *parts, int n_part, int rows,
                       int cols, bool bias, struct op *op) {
  const struct encoder_scope scope = scope_of(m);
  encoder_matrix_add(&scope, &(struct encoder_matrix){name, parts, n_part, rows, cols, bias, false}, op);
}

static struct op linear_make(const struct tower_maker *m, int in, int out) {
  const struct encoder_scope scope = scope_of(m);
  return encoder_linear(&scope, in, out);
}

static void linear_norm(const struct tower_maker *m, const char *part, struct op *op) {
  op->args.linear.norm = NORM_LAYER;
  op->args.linear.eps = (float)m->t->eps;
  op->weight[2] = norm_add(m, part);
}

static void embeddings_add(const struct tower_maker *m) {
  const struct vision_tower *t = m->t;
  int numbers = t->channels * t->patch * t->patch, grid = t->image / t->patch;
  struct op patches = op_make(OP_EMBED, -1), position = op_make(OP_EMBED, -1);
  patches.out = plan_add_value(m->builder, numbers, ROWS_TOKENS);
  patches.args.embed.source = EMBED_PATCHES;
  plan_add_op(m->builder, &patches);
  struct op linear = linear_make(m, patches.out, m->x);
  matrix_add(m, "patch", &names_of(m)->patch, 1, t->hidden, numbers, t->patch_bias, &linear);
  plan_add_op(m->builder, &linear);
  position.in[0] = position.out = m->x;
  position.args.embed.source = EMBED_POSITIONS;
  matrix_add(m, "position", &names_of(m)->position, 1, t->class_token + grid * grid, t->hidden, false, &position);
  if (t->class_token) {
    char name[TENSOR_NAME_BYTES];
    const struct encoder_scope scope = scope_of(m);
    encoder_tensor(&scope, names_of(m)->class_token, "", name);
    position.weight[1] = plan_add_vector(m->builder, name, t->hidden, 0);
  }
  if (t->pre_norm) {
    position.args.embed.norm = NORM_LAYER;
    position.args.embed.eps = (float)t->eps;
    position.weight[2] = norm_add(m, names_of(m)->pre_norm);
  }
  plan_add_op(m->builder, &position);
}

static void attention_add(const struct tower_maker *m) {
  const struct vision_tower *t = m->t;
  struct op project = linear_make(m, m->x, m->qkv), attend = op_make(OP_ATTEND, m->layer);
  matrix_add(m, "qkv", names_of(m)->qkv, 3, t->hidden, t->hidden, true, &project);
  linear_norm(m, names_of(m)->attend_norm, &project);
  plan_add_op(m->builder, &project);
  int dim = t->hidden / t->n_head;
  attend.in[0] = m->qkv;
  attend.out = m->heads;
  attend.args.attend = (struct attend_args){.n_head = t->n_head,
                                            .n_kv_head = t->n_head,
                                            .dim_k = dim,
                                            .dim_v = dim,
                                            .group = -1,
                                            .rope_scale = 1,
                                            .scale = (float)(1 / sqrt(dim))};
  plan_add_op(m->builder, &attend);
  struct op out = linear_make(m, m->heads, m->x);
  matrix_add(m, "out", &names_of(m)->out, 1, t->hidden, t->hidden, true, &out);
  out.in[1] = m->x;
  plan_add_op(m->builder, &out);
}

static void feed_forward_add(const struct tower_maker *m) {
  const struct vision_tower *t = m->t;
  struct op up = linear_make(m, m->x, m->ff), down = linear_make(m, m->ff, m->x);
  matrix_add(m, "fc1", &names_of(m)->up, 1, t->feed_forward, t->hidden, true, &up);
  linear_norm(m, names_of(m)->mlp_norm, &up);
  up.args.linear.act = (uint8_t)t->act;
  plan_add_op(m->builder, &up);
  matrix_add(m, "fc2", &names_of(m)->down, 1, t->hidden, t->feed_forward, true, &down);
  down.in[1] = m->x;
  plan_add_op(m->builder, &down);
}

static int select_add(const struct tower_maker *m) {
  const struct vision_tower *t = m->t;
  struct op op = op_make(OP_SELECT, -1);
  op.in[0] = m->x;
  int joined = t->merge * t->merge;
  op.out = plan_add_value(m->builder, (t->mean ? 1 : joined) * t->hidden, ROWS_OUTPUTS);
  op.args.select.mean = (uint8_t)(t->mean ? joined : 0);
  if (t->post_norm) {
    op.args.select.norm = NORM_LAYER;
    op.args.select.eps = (float)t->eps;
    op.weight[2] = norm_add(m, names_of(m)->post_norm);
  }
  plan_add_op(m->builder, &op);
  return op.out;
}

static void head_fill(const struct vision_tower *t, struct plan *head) {
  int grid = t->image / t->patch;
  head->hidden = t->hidden;
  head->max_position = t->class_token + grid * grid;
  head->vision = (struct plan_vision){.channels = t->channels,
                                      .patch = t->patch,
                                      .frames = 1,
                                      .merge = t->merge,
                                      .lead = t->class_token,
                                      .keep = t->keep,
                                      .grid = grid,
                                      .area = grid * grid,
                                      .sizes = (int)t->sizes,
                                      .mark = t->mark,
                                      .breaks = -1};
}

int vision_tower_build(const struct vision_tower *tower, struct plan_builder *builder) {
  const struct vision_tower *t = tower;
  struct tower_maker m = {.t = t, .builder = builder, .layer = -1};
  head_fill(t, &builder->head);
  m.x = plan_add_value(builder, t->hidden, ROWS_TOKENS);
  m.qkv = plan_add_value(builder, 3 * t->hidden, ROWS_TOKENS);
  m.heads = plan_add_value(builder, t->hidden, ROWS_TOKENS);
  m.ff = plan_add_value(builder, t->feed_forward, ROWS_TOKENS);
  embeddings_add(&m);
  for (m.layer = 0; m.layer < layers_used(t); m.layer++) {
    attention_add(&m);
    feed_forward_add(&m);
  }
  m.layer = -1;
  return select_add(&m);
}

int vision_project(struct plan_builder *builder, const char *name, const char *tensor, int in, int cols, int rows,
                   bool bias, enum act_kind act) {
  char weight[TENSOR_NAME_BYTES];
  struct op op = op_make(OP_LINEAR, -1);
  op.in[0] = in;
  op.out = plan_add_value(builder, rows, ROWS_OUTPUTS);
  op.args.linear.act = (uint8_t)act;
  snprintf(weight, sizeof weight, "%.120s.weight", tensor);
  op.weight[0] = plan_add_matrix(builder, name, (const char *[]){weight}, &rows, 1, cols, false);
  snprintf(weight, sizeof weight, "%.120s.bias", tensor);
  if (bias) op.weight[1] = plan_add_vector(builder, weight, rows, 0);
  plan_add_op(builder, &op);
  return op.out;
}

/* --- names -------------------------------------------------------------------------------------------------------- */

bool vision_tower_unused(const struct vision_tower *tower, const char *tensor) {
  size_t size = strlen(tower->prefix);
  static const char layers[] = "encoder.layers.", norm[] = "post_layernorm.";
  if (strncmp(tensor, tower->prefix, size) != 0) return false;
  tensor += size;
  if (!tower->post_norm && strncmp(tensor, norm, sizeof norm - 1) == 0) return true;
  if (strncmp(tensor, layers, sizeof layers - 1) != 0) return false;
  return strtol(tensor + sizeof layers - 1, NULL, 10) >= layers_used(tower);
}

const char *tensor_prefix_find(const struct checkpoint *checkpoint, const char *const *prefixes, const char *tensor) {
  for (const char *const *prefix = prefixes; *prefix; prefix++) {
    char name[TENSOR_NAME_BYTES];
    snprintf(name, sizeof name, "%.60s%.90s", *prefix, tensor);
    if (checkpoint_find(checkpoint, name)) return *prefix;
  }
  return prefixes[0];
}
