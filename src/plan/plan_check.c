/* Checking a plan block that came from a file: every index and shape, so that backends need not. */
#include "base/limits.h"
#include "plan/plan_experts.h"

#include <math.h>

enum { PLAN_COUNT_MAX = 1 << 20, HEAD_DIM_MAX = 1024 };
/* Times the tokens of a step it fits an int. */
enum { HEAD_COUNT_MAX = 4096 };

/* An array of count elements at an aligned offset within the block. */
static bool array_within(const struct plan *plan, uint32_t offset, int64_t count, size_t size) {
  return offset % 4 == 0 && offset >= sizeof *plan && offset <= plan->bytes && count >= 0 &&
         (uint64_t)count * size <= plan->bytes - offset;
}

static bool head_check(struct slice block, struct error *error) {
  const struct plan *p = (const void *)block.data;
  if (block.size < sizeof *p || p->magic != PLAN_MAGIC || p->bytes != block.size || (uintptr_t)block.data % 8)
    return error_set(error, ERROR_FORMAT, "The plan block of %zu bytes does not start with a plan of that size.",
                     block.size);
  if (p->version != PLAN_VERSION)
    return error_set(error, ERROR_FORMAT, "The plan has version %u, expected %d: build the engine again.", p->version,
                     PLAN_VERSION);
  if (p->n_op < 1 || p->n_op > PLAN_COUNT_MAX || p->n_weight < 0 || p->n_weight > PLAN_COUNT_MAX || p->n_value < 0 ||
      p->n_value > PLAN_COUNT_MAX || p->n_group < 0 || p->n_group > PLAN_GROUPS)
    return error_set(error, ERROR_FORMAT, "The plan has %d ops, %d weights, %d values, %d groups: out of range.",
                     p->n_op, p->n_weight, p->n_value, p->n_group);
  bool within = array_within(p, p->ops, p->n_op, sizeof(struct op)) &&
                array_within(p, p->weights, p->n_weight, sizeof(struct weight)) &&
                array_within(p, p->values, p->n_value, sizeof(struct value)) &&
                array_within(p, p->groups, p->n_group, sizeof(struct kv_group)) &&
                array_within(p, p->floats, p->n_float, sizeof(float)) && array_within(p, p->names, p->names_bytes, 1);
  if (!within) return error_set(error, ERROR_FORMAT, "The plan's arrays lie outside its %zu bytes.", block.size);
  if (p->names_bytes && plan_name(p, 0)[p->names_bytes - 1] != '\0')
    return error_set(error, ERROR_FORMAT, "The plan's names do not end with a zero byte.");
  return true;
}

static bool width_valid(int64_t n) { return n >= 1 && n <= LIMIT_MODEL_WIDTH; }

/* --- ops -------------------------------------------------------------------------------------------------------- */

struct op_context {
  const struct plan *plan;
  int index;
  struct error *error;
};

static bool op_refuse(const struct op_context *c, const char *what) {
  const struct op *op = plan_ops(c->plan) + c->index;
  return error_set(c->error, ERROR_FORMAT, "Op %d of the plan (%s, layer %d) %s.", c->index,
                   op_kind_name(op->kind) ? op_kind_name(op->kind) : "unknown", op->layer, what);
}

/* A weight that may be absent (−1) or must be a vector of cols numbers for each expert (0: there are none). */
static bool expert_vector_fits(const struct plan *p, int index, int cols, int n_expert) {
  if (index == -1) return true;
  if (index < 0 || index >= p->n_weight) return false;
  const struct weight *w = plan_weights(p) + index;
  return w->use == WEIGHT_VECTOR && w->cols == cols && w->n_expert == n_expert;
}

static bool vector_fits(const struct plan *p, int index, int cols) { return expert_vector_fits(p, index, cols, 0); }

static const struct weight *matrix_get(const struct plan *p, int index) {
  if (index < 0 || index >= p->n_weight || plan_weights(p)[index].use != WEIGHT_MATRIX) return NULL;
  return plan_weights(p) + index;
}

/* The weight of a norm that stands alone: there must be one. */
static bool norm_fits(const struct plan *p, uint8_t norm, float eps, int index, int cols) {
  if (norm == NORM_NONE) return index == -1;
  return norm <= NORM_LAYER && eps >= 0 && index != -1 && vector_fits(p, index, norm == NORM_LAYER ? 2 * cols : cols);
}

static bool table_fits(const struct plan *p, const struct op *op, int cols) {
  const struct weight *w = matrix_get(p, op->weight[0]);
  if (w && w->n_expert != 0) return false;
  switch (op->args.embed.source) {
  case EMBED_TOKENS: return w && w->cols == cols && w->rows == p->vocab && !w->interleaved && op->weight[1] == -1;
  case EMBED_PATCHES: return op->weight[0] == -1 && op->weight[1] == -1;
  case EMBED_POSITIONS:
    if (op->args.embed.axis > (p->role == PLAN_ENCODER)) return false;
    if (w && (op->args.embed.skip >= w->rows || (op->args.embed.skip && p->role != PLAN_ENCODER))) return false;
    return w && w->cols == cols && !w->interleaved && vector_fits(p, op->weight[1], cols);
  default: return false;
  }
}

static bool embed_check(const struct op_context *c, const struct op *op) {
  const struct embed_args *args = &op->args.embed;
  const struct value *out = plan_value(c->plan, op->out), *in = plan_value(c->plan, op->in[0]);
  if (!out || out->rows != ROWS_TOKENS || !table_fits(c->plan, op, out->cols))
    return op_refuse(c, "does not fit its table or output");
  if (op->in[0] != -1 && (!in || in->cols != out->cols || in->rows != out->rows))
    return op_refuse(c, "is added to a value of another shape");
  if (!norm_fits(c->plan, args->norm, args->eps, op->weight[2], out->cols))
    return op_refuse(c, "has a norm without its weight, or of another kind or length");
  return isfinite(args->scale) || op_refuse(c, "has a scale that is not finite");
}

/* Columns of a linear's result; of EXPERTS_EACH all of them, which its own check bounds. */
static int linear_cols(const struct weight *w, const struct linear_args *args) {
  int each = args->gated ? w->part[0].rows : w->rows;
  return args->expert_mode == EXPERTS_EACH ? weight_experts(w) * each : each;
}

/* All columns of the result, or some of it for a linear without residual, which is of whole rows. */
static bool linear_columns_fit(const struct op *op, const struct weight *w, const struct value *out) {
  const struct linear_args *args = &op->args.linear;
  int cols = linear_cols(w, args);
  if (args->column == 0 && cols == out->cols) return true;
  bool plain = op->in[1] == -1 && !args->gated;
  return plain && args->column >= 0 && args->column <= out->cols - cols;
}

/* Nothing reads columns that no op has written: what is left of a linear's own is the op before it, already checked,
 * and what is right of them is the op after it, whose own check goes on from there. */
static bool linear_columns_filled(const struct op_context *c, const struct op *op, int first, int end, int cols) {
  const struct op *before = op - 1, *after = op + 1;
  bool left = first == 0, right = end == cols;
  if (!left && c->index > 0 && before->kind == OP_LINEAR && before->out == op->out) {
    const struct linear_args *args = &before->args.linear;
    left = args->column + linear_cols(plan_weights(c->plan) + before->weight[0], args) == first;
  }
  if (!right && c->index + 1 < c->plan->n_op && after->kind == OP_LINEAR && after->out == op->out)
    right = after->args.linear.column == end;
  return left && right;
}

/* The input's and the output's columns. */
static bool linear_shape_check(const struct op_context *c, const struct op *op, const struct weight *w,
                               const struct value *in, const struct value *out) {
  const struct linear_args *args = &op->args.linear;
  if (args->expert_mode != EXPERTS_NONE || w->n_expert != 0 || op->in[2] != -1) {
    const char *misfit = experts_misfit(c->plan, op, w);
    if (misfit) return op_refuse(c, misfit);
    if (linear_is_routed(args)) return true;
  } else if (in->cols != w->cols || !linear_columns_fit(op, w, out)) {
    return op_refuse(c, "does not fit its weight's shape");
  }
  return linear_columns_filled(c, op, args->column, args->column + linear_cols(w, args), out->cols) ||
         op_refuse(c, "fills a part of its output, but the linears right before and after it do not fill the rest");
}

static bool linear_limit_valid(const struct linear_args *args) {
  if (!args->gated) return args->limit == 0 && args->up_add == 0;
  return isfinite(args->limit) && args->limit >= 0 && isfinite(args->up_add);
}

static bool linear_check(const struct op_context *c, const struct op *op) {
  const struct plan *p = c->plan;
  const struct linear_args *args = &op->args.linear;
  const struct weight *w = matrix_get(p, op->weight[0]);
  const struct value *in = plan_value(p, op->in[0]), *out = plan_value(p, op->out);
  if (!w || !in || !out || in->rows != out->rows || in == out) return op_refuse(c, "lacks a weight, input or output");
  if (args->gated > 1 || args->gated != w->interleaved) return op_refuse(c, "is gated without an interleaved weight");
  if (!linear_shape_check(c, op, w, in, out)) return false;
  bool layer = args->norm == NORM_LAYER, post_layer = args->post_norm == NORM_LAYER;
  if (!expert_vector_fits(p, op->weight[1], w->rows, w->n_expert) ||
      !vector_fits(p, op->weight[2], layer ? 2 * w->cols : w->cols) ||
      !vector_fits(p, op->weight[3], (post_layer ? 2 : 1) * linear_cols(w, args)) || (layer && op->weight[2] == -1) ||
      (post_layer && op->weight[3] == -1))
    return op_refuse(c, "has a bias or norm of the wrong length");
  if (args->multiply > 1 || (args->multiply && (op->in[1] == -1 || args->post_norm != NORM_NONE)))
    return op_refuse(c, "multiplies without a factor, or after a norm");
  if (args->post_sum > 1 || (args->post_sum && (op->in[1] == -1 || args->post_norm == NORM_NONE)))
    return op_refuse(c, "norms a sum without a residual or a norm");
  const struct value *residual = plan_value(p, op->in[1]);
  if (op->in[1] != -1 && (!residual || residual->cols != out->cols || residual->rows != out->rows))
    return op_refuse(c, "has a residual of another shape");
  if (args->norm > NORM_LAYER || args->post_norm > NORM_LAYER || args->act >= N_ACT)
    return op_refuse(c, "has an unknown norm or activation");
  if (!isfinite(args->scale) || !isfinite(args->softcap) || !(args->eps >= 0) || !(args->post_eps >= 0))
    return op_refuse(c, "has a scale, softcap or epsilon that is no such number");
  if (!linear_limit_valid(args))
    return op_refuse(c, "has a limit that is no such number, or one, or a sum with up, without a gate");
  return true;
}

static bool value_place_valid(int32_t in_key, int dim_k, int dim_v) {
  return in_key == 0 || (in_key == 1 && dim_v <= dim_k && (dim_k - dim_v) % VALUE_UNIT == 0);
}

static bool attend_shape_valid(const struct attend_args *a) {
  return a->n_head >= 1 && a->n_head <= HEAD_COUNT_MAX && a->n_kv_head >= 1 && a->dim_k >= 1 &&
         a->dim_k <= HEAD_DIM_MAX && a->dim_v >= 1 && a->dim_v <= HEAD_DIM_MAX && a->n_head % a->n_kv_head == 0 &&
         width_valid((int64_t)a->n_head * a->dim_k) && value_place_valid(a->value_in_key, a->dim_k, a->dim_v);
}

/* A decoder's attention has a group, of its shape; an encoder's has none. */
static bool attend_group_fits(const struct plan *p, const struct attend_args *a) {
  if (a->local != 0 && (a->local != 1 || p->role != PLAN_VISION)) return false;
  if (a->near < 0 || a->near > LIMIT_MODEL_POSITIONS || (a->near > 0 && p->role != PLAN_ENCODER)) return false;
  if (a->causal != 0 && (a->causal != 1 || p->role != PLAN_ENCODER)) return false;
  if (p->role != PLAN_DECODER) return a->group == -1 && a->layer == 0 && a->value_in_key == 0;
  if (a->group < 0 || a->group >= p->n_group) return false;
  const struct kv_group *g = plan_groups(p) + a->group;
  return g->n_head == a->n_kv_head && g->dim_k == a->dim_k && g->dim_v == a->dim_v &&
         g->value_in_key == a->value_in_key && a->layer >= 0 && a->layer < g->n_layer;
}

/* Norms of q and k over a head: one for all heads, or one for each. */
static bool head_norms_fit(const struct plan *p, const struct op *op) {
  const struct attend_args *a = &op->args.attend;
  if (a->head_norms != 0 && a->head_norms != 1) return false;
  return vector_fits(p, op->weight[0], (a->head_norms ? a->n_head : 1) * a->dim_k) &&
         vector_fits(p, op->weight[1], (a->head_norms ? a->n_kv_head : 1) * a->dim_k);
}

static bool rope_valid(const struct plan *p, const struct attend_args *a) {
  if (a->rope_style == ROPE_NONE) return !attend_has_axes(a);
  if (!attend_axes_valid(a)) return false;
  return (a->rope_style == ROPE_HALF || a->rope_style == ROPE_PAIRS) && a->rope_dim >= 2 && a->rope_dim % 2 == 0 &&
         a->rope_dim <= a->dim_k && (uint64_t)a->rope_freq + (uint64_t)a->rope_dim / 2 <= p->n_float;
}

static bool attend_check(const struct op_context *c, const struct op *op) {
  const struct plan *p = c->plan;
  const struct attend_args *a = &op->args.attend;
  if (!attend_shape_valid(a) || !attend_group_fits(p, a)) return op_refuse(c, "does not fit its KV group");
  const struct value *in = plan_value(p, op->in[0]), *out = plan_value(p, op->out);
  if (!in || !out || in == out || in->rows != ROWS_TOKENS || out->rows != ROWS_TOKENS || in->cols != attend_cols(a) ||
      out->cols != (int64_t)a->n_head * a->dim_v)
    return op_refuse(c, "does not fit its input or output");
  if (!rope_valid(p, a)) return op_refuse(c, "has a rotary embedding out of range");
  if (!attend_alibi_valid(p, a) || !attend_extra_valid(a))
    return op_refuse(c, "has slopes, a clamp or a growth out of range");
  if (!head_norms_fit(p, op) || !vector_fits(p, op->weight[2], a->n_head))
    return op_refuse(c, "has a norm or sinks of the wrong length");
  if (!isfinite(a->scale) || !isfinite(a->softcap) || !isfinite(a->rope_scale) || !(a->eps >= 0))
    return op_refuse(c, "has a scale, softcap or epsilon that is no such number");
  return true;
}

static bool select_check(const struct op_context *c, const struct op *op) {
  const struct value *in = plan_value(c->plan, op->in[0]), *out = plan_value(c->plan, op->out);
  const struct select_args *args = &op->args.select;
  bool fits = in && out && in->rows == ROWS_TOKENS && out->rows == ROWS_OUTPUTS &&
              (args->mean ? out->cols == in->cols : out->cols % in->cols == 0);
  if (fits && args->pool != POOL_TOKEN)
    fits = c->plan->role == PLAN_ENCODER && args->pool <= POOL_MEAN && args->mean == 0 && out->cols == in->cols;
  if (!fits) return op_refuse(c, "does not fit its input or output");
  return norm_fits(c->plan, args->norm, args->eps, op->weight[2], in->cols) ||
         op_refuse(c, "has a norm without its weight, or of another kind or length");
}

static bool route_check(const struct op_context *c, const struct op *op) {
  const char *misfit = route_misfit(c->plan, op);
  return !misfit || op_refuse(c, misfit);
}

static bool sample_check(const struct op_context *c, const struct op *op) {
  const struct value *in = plan_value(c->plan, op->in[0]);
  bool fits = in && in->rows == ROWS_OUTPUTS && in->cols == c->plan->vocab && c->index == c->plan->n_op - 1;
  return fits || op_refuse(c, "is not the last op over one logit per vocabulary entry");
}

static bool op_check(const struct plan *plan, int index, struct error *error) {
  static bool (*const check[])(const struct op_context *, const struct op *) = {
      [OP_EMBED] = embed_check, [OP_LINEAR] = linear_check, [OP_ATTEND] = attend_check,
      [OP_ROUTE] = route_check, [OP_SELECT] = select_check, [OP_SAMPLE] = sample_check,
  };
  struct op_context context = {plan, index, error};
  const struct op *op = plan_ops(plan) + index;
  if (op->kind < 0 || op->kind >= OP_KINDS) return op_refuse(&context, "is of a kind that this version does not know");
  const struct value *out = plan_value(plan, op->out);
  if (out && out->n_expert && op->kind != OP_ROUTE && op->kind != OP_SAMPLE)
    return op_refuse(&context, "writes numbers where a choice of experts belongs");
  return check[op->kind](&context, op);
}

static bool group_shape_valid(const struct kv_group *g) {
  return g->n_head >= 1 && g->n_head <= HEAD_COUNT_MAX && g->dim_k >= 1 && g->dim_k <= HEAD_DIM_MAX && g->dim_v >= 1 &&
         g->dim_v <= HEAD_DIM_MAX && value_place_valid(g->value_in_key, g->dim_k, g->dim_v);
}

static bool sizes_check(const struct plan *p, struct error *error) {
  bool vocab = p->role != PLAN_VISION ? width_valid(p->vocab) : p->vocab == 0;
  if (p->role < 0 || p->role >= PLAN_ROLES)
    return error_set(error, ERROR_FORMAT, "The plan has role %d, expected 0 to %d.", p->role, PLAN_ROLES - 1);
  if (vocab && width_valid(p->hidden) && p->max_position >= 1 && p->max_position <= LIMIT_MODEL_POSITIONS) return true;
  return error_set(error, ERROR_FORMAT, "The plan has vocabulary %d, width %d, positions %d: out of range.", p->vocab,
                   p->hidden, p->max_position);
}

bool plan_check(struct slice block, struct error *error) {
  if (!head_check(block, error)) return false;
  const struct plan *p = (const void *)block.data;
  if (!sizes_check(p, error)) return false;
  for (int i = 0; i < p->n_value; i++)
    if (!width_valid(plan_values(p)[i].cols) || plan_values(p)[i].rows > ROWS_OUTPUTS)
      return error_set(error, ERROR_FORMAT, "Value %d of the plan has %d columns.", i, plan_values(p)[i].cols);
  for (int i = 0; i < p->n_value; i++)
    if (!route_value_valid(p, plan_values(p) + i))
      return error_set(error, ERROR_FORMAT, "Value %d of the plan has %d columns, for a choice among %d experts.", i,
                       plan_values(p)[i].cols, plan_values(p)[i].n_expert);
  for (int i = 0; i < p->n_group; i++) {
    const struct kv_group *g = plan_groups(p) + i;
    if (g->n_layer < 1 || g->n_layer > LIMIT_MODEL_LAYERS || g->window < 0 || !group_shape_valid(g))
      return error_set(error, ERROR_FORMAT,
                       "KV group %d of the plan has %d layers, %d heads of %d and %d, window %d: out of range.", i,
                       g->n_layer, g->n_head, g->dim_k, g->dim_v, g->window);
  }
  for (int i = 0; i < p->n_weight; i++)
    if (!plan_check_weight(p, i, error)) return false;
  for (int i = 0; i < p->n_op; i++)
    if (!op_check(p, i, error)) return false;
  return plan_check_role(p, error);
}
