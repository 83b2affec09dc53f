/* A layer is LINEAR (q, k, v) → ATTEND within the text → LINEAR (out, added, normed) → LINEAR (intermediate, act) →
 * LINEAR (output, added, normed); before them EMBED of tokens, of their types and of positions, which norms; behind
 * them SELECT, and the head's linears. */
#include "model/text_encoder.h"

#include "model/encoder_parts.h"
#include "base/limits.h"
#include "model/decoder_names.h"

#include <math.h>
#include <stdio.h>

enum { HEADS_MAX = 1 << 12, HEAD_MAX = 1 << 10, TYPES_MAX = 1 << 8 };

/* --- the config --------------------------------------------------------------------------------------------------- */

static bool act_read(struct text_encoder *e, const struct checkpoint *c, struct error *error) {
  static const struct {
    const char *name;
    enum act_kind act;
  } acts[] = {
      {"gelu", ACT_GELU}, {"gelu_new", ACT_GELU_TANH}, {"gelu_pytorch_tanh", ACT_GELU_TANH}, {"silu", ACT_SILU}};
  struct slice name = {0};
  if (!config_text(c, (struct config_key){"hidden_act", NULL}, &name, error)) return false;
  if (name.size == 0) return true;
  for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
    if (!slice_is(name, acts[i].name)) continue;
    e->act = acts[i].act;
    return true;
  }
  return error_set(error, ERROR_UNSUPPORTED,
                   "config.json: hidden_act is \"%.*s\", expected \"gelu\", \"gelu_new\", \"gelu_pytorch_tanh\" or "
                   "\"silu\".",
                   SLICE_ARGS(name));
}

/* Distances between tokens, and attention to another text, are other networks. */
static bool kind_check(const struct checkpoint *c, struct error *error) {
  struct slice kind = {0};
  bool decodes = false, crosses = false;
  if (!config_text(c, (struct config_key){"position_embedding_type", NULL}, &kind, error) ||
      !config_bool(c, (struct config_key){"is_decoder", NULL}, &decodes, error) ||
      !config_bool(c, (struct config_key){"add_cross_attention", NULL}, &crosses, error))
    return false;
  if (kind.size > 0 && !slice_is(kind, "absolute"))
    return error_set(error, ERROR_UNSUPPORTED,
                     "config.json: position_embedding_type is \"%.*s\", expected \"absolute\".", SLICE_ARGS(kind));
  if (!decodes && !crosses) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "config.json: %s is true; Spate runs this architecture as an encoder alone.",
                   decodes ? "is_decoder" : "add_cross_attention");
}

static bool shape_check(const struct text_encoder *e, struct error *error) {
  if (e->hidden % e->n_head != 0 || e->hidden / e->n_head > HEAD_MAX)
    return error_set(error, ERROR_INVALID,
                     "config.json: hidden_size %d and num_attention_heads %d; the first must be a multiple of the "
                     "second, by %d at most.",
                     e->hidden, e->n_head, HEAD_MAX);
  if (e->max_position - e->skip >= 2) return true;
  return error_set(error, ERROR_INVALID, "config.json: max_position_embeddings is %d, expected %d or more.",
                   e->max_position, e->skip + 2);
}

bool text_encoder_read(struct text_encoder *e, const struct checkpoint *c, struct error *error) {
  const struct {
    const char *key;
    int min, max, *value;
  } sizes[] = {
      {"hidden_size", 1, LIMIT_MODEL_WIDTH, &e->hidden},
      {"intermediate_size", 1, LIMIT_MODEL_WIDTH, &e->feed_forward},
      {"num_hidden_layers", 1, LIMIT_MODEL_LAYERS, &e->n_layer},
      {"num_attention_heads", 1, HEADS_MAX, &e->n_head},
      {"vocab_size", 1, LIMIT_VOCAB, &e->vocab},
      {"max_position_embeddings", 1, LIMIT_MODEL_POSITIONS, &e->max_position},
      {"type_vocab_size", 0, TYPES_MAX, &e->types},
  };
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (!config_int(c, (struct config_key){sizes[i].key, NULL}, CONFIG_OPTIONAL, sizes[i].min, sizes[i].max,
                    sizes[i].value, error))
      return false;
  if (!config_float(c, (struct config_key){"layer_norm_eps", NULL}, CONFIG_OPTIONAL, 0, 1, &e->eps, error) ||
      !act_read(e, c, error) || !kind_check(c, error) || !shape_check(e, error))
    return false;
  e->max_position -= e->skip;
  return true;
}

/* --- the plan ----------------------------------------------------------------------------------------------------- */

struct encoder_maker {
  const struct text_encoder *e;
  struct plan_builder *builder;
  int layer;             /* −1 outside the layers */
  int x, qkv, heads, ff; /* values: the residual stream; q, k, v; attention's and the feed-forward's result */
};

static struct encoder_scope scope_of(const struct encoder_maker *m) {
  return (struct encoder_scope){m->builder, m->e->prefix, "encoder.layer", "", m->layer};
}

static int norm_add(const struct encoder_maker *m, const char *part) {
  const struct encoder_scope scope = scope_of(m);
  return encoder_norm(&scope, part, m->e->hidden);
}

static void matrix_add(const struct encoder_maker *m, const char *name, const char *const *parts, int n_part, int rows,
                       int cols, struct op *op) {
  const struct encoder_scope scope = scope_of(m);
  encoder_matrix_add(&scope, &(struct encoder_matrix){name, parts, n_part, rows, cols, true, false}, op);
}

static struct op linear_make(const struct encoder_maker *m, int in, int out) {
  const struct encoder_scope scope = scope_of(m);
  return encoder_linear(&scope, in, out);
}

static int table_add(const struct encoder_maker *m, const char *name, const char *part, int rows) {
  const struct encoder_scope scope = scope_of(m);
  char tensor[TENSOR_NAME_BYTES];
  encoder_tensor(&scope, part, ".weight", tensor);
  return plan_add_matrix(m->builder, name, (const char *[]){tensor}, &rows, 1, m->e->hidden, false);
}

static void embeddings_add(const struct encoder_maker *m) {
  const struct text_encoder *e = m->e;
  struct op token = op_make(OP_EMBED, -1), type = token, position = token;
  token.out = m->x;
  token.weight[0] = table_add(m, "token", "embeddings.word_embeddings", e->vocab);
  plan_add_op(m->builder, &token);
  type.in[0] = type.out = position.in[0] = position.out = m->x;
  type.args.embed.source = position.args.embed.source = EMBED_POSITIONS;
  type.args.embed.axis = 1;
  if (e->types > 0) {
    type.weight[0] = table_add(m, "type", "embeddings.token_type_embeddings", e->types);
    plan_add_op(m->builder, &type);
  }
  position.weight[0] = table_add(m, "position", "embeddings.position_embeddings", e->skip + e->max_position);
  position.args.embed.skip = (uint8_t)e->skip;
  position.args.embed.norm = NORM_LAYER;
  position.args.embed.eps = (float)e->eps;
  position.weight[2] = norm_add(m, "embeddings.LayerNorm");
  plan_add_op(m->builder, &position);
}

/* Adds to the residual stream and norms the sum. */
static void sum_norm(const struct encoder_maker *m, const char *norm, struct op *op) {
  op->in[1] = op->out = m->x;
  op->args.linear.post_norm = NORM_LAYER;
  op->args.linear.post_sum = 1;
  op->args.linear.post_eps = (float)m->e->eps;
  op->weight[3] = norm_add(m, norm);
}

static void attention_add(const struct encoder_maker *m) {
  const struct text_encoder *e = m->e;
  static const char *const parts[] = {"attention.self.query", "attention.self.key", "attention.self.value"};
  struct op project = linear_make(m, m->x, m->qkv), attend = op_make(OP_ATTEND, m->layer);
  matrix_add(m, "qkv", parts, 3, e->hidden, e->hidden, &project);
  plan_add_op(m->builder, &project);
  int dim = e->hidden / e->n_head;
  attend.in[0] = m->qkv;
  attend.out = m->heads;
  attend.args.attend = (struct attend_args){.n_head = e->n_head,
                                            .n_kv_head = e->n_head,
                                            .dim_k = dim,
                                            .dim_v = dim,
                                            .group = -1,
                                            .rope_scale = 1,
                                            .scale = (float)(1 / sqrt(dim))};
  plan_add_op(m->builder, &attend);
  struct op out = linear_make(m, m->heads, m->x);
  matrix_add(m, "out", (const char *[]){"attention.output.dense"}, 1, e->hidden, e->hidden, &out);
  sum_norm(m, "attention.output.LayerNorm", &out);
  plan_add_op(m->builder, &out);
}

static void feed_forward_add(const struct encoder_maker *m) {
  const struct text_encoder *e = m->e;
  struct op up = linear_make(m, m->x, m->ff), down = linear_make(m, m->ff, m->x);
  matrix_add(m, "up", (const char *[]){"intermediate.dense"}, 1, e->feed_forward, e->hidden, &up);
  up.args.linear.act = (uint8_t)e->act;
  plan_add_op(m->builder, &up);
  matrix_add(m, "down", (const char *[]){"output.dense"}, 1, e->hidden, e->feed_forward, &down);
  sum_norm(m, "output.LayerNorm", &down);
  plan_add_op(m->builder, &down);
}

/* The head's names are whole: they stand beside the encoder's prefix, not below it. */
static void head_add(const struct encoder_maker *m, int in) {
  const struct text_encoder *e = m->e;
  for (int i = 0; i < e->n_head_linear; i++) {
    char weight[TENSOR_NAME_BYTES], bias[TENSOR_NAME_BYTES];
    int rows = i + 1 < e->n_head_linear ? e->hidden : e->n_label;
    struct op op = linear_make(m, in, plan_add_value(m->builder, rows, ROWS_OUTPUTS));
    snprintf(weight, sizeof weight, "%.120s.weight", e->head[i].name);
    snprintf(bias, sizeof bias, "%.120s.bias", e->head[i].name);
    op.weight[0] = plan_add_matrix(m->builder, e->head[i].name, (const char *[]){weight}, &rows, 1, e->hidden, false);
    op.weight[1] = plan_add_vector(m->builder, bias, rows, 0);
    op.args.linear.act = (uint8_t)e->head[i].act;
    plan_add_op(m->builder, &op);
    in = op.out;
  }
}

void text_encoder_build(const struct text_encoder *e, struct plan_builder *builder) {
  struct encoder_maker m = {.e = e, .builder = builder, .layer = -1};
  builder->head.vocab = e->vocab;
  builder->head.hidden = e->hidden;
  builder->head.max_position = e->max_position;
  m.x = plan_add_value(builder, e->hidden, ROWS_TOKENS);
  m.qkv = plan_add_value(builder, 3 * e->hidden, ROWS_TOKENS);
  m.heads = plan_add_value(builder, e->hidden, ROWS_TOKENS);
  m.ff = plan_add_value(builder, e->feed_forward, ROWS_TOKENS);
  embeddings_add(&m);
  for (m.layer = 0; m.layer < e->n_layer; m.layer++) {
    attention_add(&m);
    feed_forward_add(&m);
  }
  m.layer = -1;
  struct op select = op_make(OP_SELECT, -1);
  select.in[0] = m.x;
  select.out = plan_add_value(builder, e->hidden, ROWS_OUTPUTS);
  select.args.select.pool = (uint8_t)e->pool;
  plan_add_op(builder, &select);
  head_add(&m, select.out);
}
