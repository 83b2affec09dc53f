/* The CUDA backend's table, and what it says about plans. All of this is host code, in every binary: engines for a GPU
 * are built without one. */
#include "backend/backends.h"
#include "backend/cuda/cuda_adapted.h"

#include <string.h>

enum {
  HEAD_MOST = 1024,                 /* dimensions of a head that attention's shared memory has room for */
  DOT_MOST = INT32_MAX / 128 / 127, /* columns whose products of int8 have a sum of 32 bits */
};

static const char *cuda_describe(const struct device *device) { return device->description; }

static const char *cuda_kernels(const struct device *device) { return device->path->name; }

static bool op_unsupported(const struct plan *plan, int index, const char *what, struct error *error) {
  const struct op *op = plan_ops(plan) + index;
  return error_set(error, ERROR_UNSUPPORTED, "The cuda backend cannot run op %d (%s, layer %d): %s.", index,
                   op_kind_name(op->kind), op->layer, what);
}

static bool matrix_supported(const struct plan *plan, int index, struct error *error) {
  struct error why;
  const struct weight *weight = plan_weights(plan) + plan_ops(plan)[index].weight[0];
  const struct scheme *scheme = &weight->scheme;
  if (!scheme_check(scheme, &why)) return op_unsupported(plan, index, why.text, error);
  if (scheme->kind == SCHEME_INT && scheme->group == 0 && scheme_width(scheme) < 8)
    return op_unsupported(plan, index, "it has no kernel for one scale a row of less than 8 bits", error);
  if (scheme->activation == ACTIVATION_INT8_TOKEN && weight->cols > DOT_MOST)
    return op_unsupported(plan, index, "its rows are longer than 32 bits hold the sum of, 132,104 columns", error);
  return true;
}

/* What there is no kernel for of decoders and of encoders of texts. Ids that are added to something are no decoder's,
 * whose adapters and pool of rows would have to know of it. */
static bool of_texts(const struct plan *plan, const struct op *op) {
  switch (op->kind) {
  case OP_EMBED: return op->args.embed.source != EMBED_TOKENS || op->in[0] < 0 || plan->role == PLAN_ENCODER;
  case OP_SELECT: return plan_merged(plan) == 1;
  case OP_ROUTE: return op->args.route.n_group <= ROUTE_GROUPS;
  default: return true;
  }
}

/* Does any op but this one read the value that an op takes, before another fills it again? */
static bool input_read_on(const struct plan *plan, const struct op *op) {
  const struct op *end = plan_ops(plan) + plan->n_op;
  for (const struct op *o = op + 1; o < end; o++) {
    if (o->in[0] == op->in[0] || o->in[1] == op->in[0] || o->in[2] == op->in[0]) return true;
    if (o->out == op->in[0]) return false;
  }
  return plan_result(plan) == op->in[0];
}

/* Angles are made once a step: a frequency has one axis. */
static bool frequencies_shared(const struct plan *plan, const struct op *op) {
  const struct attend_args *a = &op->args.attend;
  for (int i = 0; i < plan->n_op; i++) {
    const struct attend_args *b = &plan_ops(plan)[i].args.attend;
    if (plan_ops(plan)[i].kind != OP_ATTEND || !a->rope_style || !b->rope_style) continue;
    bool apart = a->rope_freq + (uint32_t)a->rope_dim / 2 <= b->rope_freq ||
                 b->rope_freq + (uint32_t)b->rope_dim / 2 <= a->rope_freq;
    bool same = a->rope_freq == b->rope_freq && memcmp(a->rope_axis, b->rope_axis, sizeof a->rope_axis) == 0;
    if (!apart && !same && (attend_has_axes(a) || attend_has_axes(b))) return true;
  }
  return false;
}

static bool cuda_supports(const struct plan *plan, int index, struct error *error) {
  const struct op *op = plan_ops(plan) + index;
  const char *why = "there is no kernel for it";
  if (plan->role == PLAN_VISION ? !cuda_image_supports(plan, op, &why) : !of_texts(plan, op))
    return op_unsupported(plan, index, why, error);
  if ((op->kind == OP_EMBED || op->kind == OP_LINEAR) && op->weight[0] >= 0 && !matrix_supported(plan, index, error))
    return false;
  if (op->kind == OP_LINEAR && op->args.linear.norm != NORM_NONE && op->weight[2] < 0)
    return op_unsupported(plan, index, "its norm has no weight", error);
  if (op->kind == OP_LINEAR && op->args.linear.post_norm != NORM_NONE && op->weight[3] < 0)
    return op_unsupported(plan, index, "its post norm has no weight", error);
  if (op->kind == OP_ATTEND && frequencies_shared(plan, op))
    return op_unsupported(plan, index, "another op turns the same frequencies by other axes", error);
  bool changes = op->kind == OP_ATTEND && (op->args.attend.head_norms || op->args.attend.clip > 0);
  if (changes && input_read_on(plan, op))
    return op_unsupported(plan, index, "it norms or clamps its heads where they are, and another op reads them", error);
  if (op->kind == OP_ATTEND && op->args.attend.value_in_key && op->args.attend.head_norms)
    return op_unsupported(plan, index, "it norms heads of latent attention by weights of their own", error);
  if (op->kind == OP_ATTEND && (op->args.attend.dim_k > HEAD_MOST || op->args.attend.dim_v > HEAD_MOST))
    return op_unsupported(plan, index, "its heads have more than 1024 dimensions", error);
  return true;
}

/* Kernels of 4 and 8 bits take tokens in bf16, and scales and minima for 128 columns. */
static void cuda_prefer(struct scheme *s, bool exact) {
  if (s->kind != SCHEME_INT || s->activation != ACTIVATION_INT8) return;
  struct scheme wanted = *s;
  if (!exact && wanted.bits == 4 && wanted.high_bits == 0) wanted.group = 128;
  if (!exact && wanted.bits == 8) wanted.group = 128, wanted.has_min = 1;
  wanted.activation = ACTIVATION_FLOAT;
  if (cuda_scheme_coded(&wanted)) *s = wanted;
}

static bool op_fast(const struct cuda_path *path, const struct plan *plan, const struct limits *limits,
                    const struct op *op) {
  struct attend_heads heads;
  if (cuda_op_has_experts(op)) return cuda_experts_units(path, plan, op);
  if (op->kind == OP_LINEAR)
    return cuda_linear_fast(path, plan, op) || cuda_linear_bytes_fit(path, plan, op) ||
           cuda_linear_coded_fit(path, plan, op);
  if (op->kind == OP_ATTEND && plan->role != PLAN_DECODER)
    return cuda_image_attend_fits(plan, limits, op) || cuda_image_attend_packs(path, plan, limits, op);
  return op->kind != OP_ATTEND || cuda_attend_fast(path, plan, limits, op->args.attend.group, &heads);
}

static void cuda_fallbacks(const struct device *device, const struct plan *plan, const struct limits *limits,
                           struct buffer *out) {
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (!op_fast(device ? device->path : NULL, plan, limits, op))
      buffer_print(out, "op %d (%s, layer %d): plain kernels\n", i, op_kind_name(op->kind), op->layer);
  }
}

static size_t cuda_strip_bytes(const struct weight *weight) { return cuda_layout_of(weight).strip_bytes; }

const struct backend backend_cuda = {
    .name = "cuda",
    .target = TARGET_CUDA,
    .run_ahead = CUDA_RUN_AHEAD,
    .pack_rows = STRIP_ROWS,
    .step_tile = CUDA_STEP_TILE,
    .present = cuda_present,
    .open = cuda_open,
    .close = cuda_close,
    .memory = cuda_memory,
    .describe = cuda_describe,
    .kernels = cuda_kernels,
    .rates = cuda_rates,
    .supports = cuda_supports,
    .prefer = cuda_prefer,
    .fallbacks = cuda_fallbacks,
    .strip_bytes = cuda_strip_bytes,
    .pack = cuda_pack_strip,
    .unpack_row = cuda_unpack_row,
    .measure = cuda_measure,
    .compile = cuda_compile,
    .load = cuda_load,
    .host_rate = cuda_host_rate,
    .release = cuda_release,
    .adapter_load = cuda_adapter_load,
    .expert_adapters = true,
    .pool_fill = cuda_pool_fill,
    .load_random = cuda_load_random,
    .fill_cache = cuda_fill_cache,
    .submit = cuda_submit,
    .finish = cuda_finish,
    .await = cuda_await,
    .collect = cuda_collect,
};
