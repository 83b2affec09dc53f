/* Sizes of encoders' programs, of images and of texts, and which of their ops run in the kernels that are made for
 * them. Host code without a device. */
#include "backend/cuda/cuda_image.h"
#include "backend/cuda/cuda_program.h"

static size_t size_max(size_t a, size_t b) { return a > b ? a : b; }

int32_t cuda_image_blocks(int32_t rows, int32_t tokens) { return tokens / IMAGE_BLOCK + rows; }

size_t cuda_image_tables(int32_t rows, int32_t tokens) {
  return (size_t)cuda_image_blocks(rows, tokens) + (size_t)tokens;
}

size_t cuda_patch_numbers(const struct plan *plan) {
  const struct op *op = plan_embed(plan, EMBED_PATCHES);
  return op ? (size_t)plan_values(plan)[op->out].cols : 0;
}

bool cuda_patches_straight(const struct plan *plan) {
  const struct op *op = plan_embed(plan, EMBED_PATCHES);
  return op && op->in[0] < 0 && op->args.embed.scale == 1 && op->args.embed.norm == NORM_NONE;
}

/* --- which kernels ------------------------------------------------------------------------------------------------ */

bool cuda_image_sum_normed(const struct plan *plan, const struct op *op) {
  return plan->role == PLAN_ENCODER && op->args.linear.post_sum && op->in[1] == op->out;
}

bool cuda_image_linear_fits(const struct plan *plan, const struct op *op) {
  if (plan->role == PLAN_DECODER || op->kind != OP_LINEAR) return false;
  const struct weight *w = plan_weights(plan) + op->weight[0];
  const struct linear_args *a = &op->args.linear;
  bool normed = a->post_norm != NORM_NONE && !cuda_image_sum_normed(plan, op);
  bool plain = !a->gated && !a->multiply && !normed && !(a->softcap > 0) && a->scale == 1 && a->act < ACT_TANH;
  return plain && !cuda_op_has_experts(op) && w->scheme.kind == SCHEME_BF16 && w->rows % 8 == 0 &&
         w->rows == plan_values(plan)[op->out].cols;
}

static const struct op *op_after(const struct plan *plan, const struct op *op) {
  return op + 1 < plan_ops(plan) + plan->n_op ? op + 1 : NULL;
}

/* The next op takes the results of one as they are, and nothing else does. */
static bool taken_whole(const struct plan *plan, const struct op *op) {
  const struct op *next = op_after(plan, op);
  return next && cuda_image_linear_fits(plan, next) && next->in[0] == op->out && next->in[1] != op->out &&
         next->args.linear.norm == NORM_NONE && !cuda_read_later(plan, op);
}

bool cuda_image_passes(const struct plan *plan, const struct op *op) {
  return cuda_image_linear_fits(plan, op) && op->in[1] < 0 && taken_whole(plan, op);
}

int32_t cuda_image_room(int32_t dim) {
  static const int32_t rooms[] = {64, 80, 96, 128};
  for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
    if (dim <= rooms[i]) return rooms[i];
  return 0;
}

/* q, k and v are the whole result of the linear before, which has nothing to add to. */
static bool heads_from_linear(const struct plan *plan, const struct op *op) {
  if (op == plan_ops(plan)) return false;
  const struct op *before = op - 1;
  return cuda_image_linear_fits(plan, before) && before->out == op->in[0] && before->in[1] < 0 &&
         before->args.linear.act == ACT_NONE && !cuda_read_later(plan, before);
}

bool cuda_image_attend_fits(const struct plan *plan, const struct limits *limits, const struct op *op) {
  if (plan->role == PLAN_DECODER || op->kind != OP_ATTEND || limits->kv_dtype != KV_F16) return false;
  const struct attend_args *a = &op->args.attend;
  if (a->near > 0 || a->causal) return false;
  bool shaped = a->n_head == a->n_kv_head && a->dim_k == a->dim_v && a->dim_k % 8 == 0 && cuda_image_room(a->dim_k) &&
                a->n_head * a->dim_k % 64 == 0;
  return shaped && !(a->softcap > 0) && op->weight[2] < 0 && taken_whole(plan, op);
}

bool cuda_image_heads_left(const struct plan *plan, const struct limits *limits, const struct op *op) {
  bool plain = op->kind == OP_ATTEND && !op->args.attend.rope_style && op->weight[0] < 0 && op->weight[1] < 0;
  return plain && cuda_image_attend_fits(plan, limits, op) && heads_from_linear(plan, op);
}

/* Query heads of a KV head of all attention; 0: they, or the heads' widths, differ. */
static int32_t queries_alike(const struct plan *plan) {
  const struct attend_args *first = NULL;
  for (const struct op *op = plan_ops(plan); op < plan_ops(plan) + plan->n_op; op++) {
    const struct attend_args *a = &op->args.attend;
    if (op->kind != OP_ATTEND) continue;
    if (!first) first = a;
    if (a->dim_k != first->dim_k || a->n_head / a->n_kv_head != first->n_head / first->n_kv_head) return 0;
  }
  return first ? first->n_head / first->n_kv_head : 0;
}

bool cuda_image_attend_packs(const struct cuda_path *path, const struct plan *plan, const struct limits *limits,
                             const struct op *op) {
  const struct attend_args *a = &op->args.attend;
  if (plan->role != PLAN_ENCODER || op->kind != OP_ATTEND || cuda_image_attend_fits(plan, limits, op)) return false;
  bool typed = limits->kv_dtype == KV_F16 || limits->kv_dtype == KV_BF16;
  return typed && (!path || limits->kv_dtype <= path->kv_most) && !a->alibi && !a->local && a->dim_k == a->dim_v &&
         cuda_attend_dim(a->dim_k) && queries_alike(plan) > 0;
}

int32_t cuda_image_packed(const struct plan *plan, const struct limits *limits) {
  for (const struct op *op = plan_ops(plan); op < plan_ops(plan) + plan->n_op; op++)
    if (cuda_image_attend_packs(NULL, plan, limits, op)) return queries_alike(plan);
  return 1;
}

bool cuda_image_turns(const struct plan *plan, const struct limits *limits) {
  bool turns = false;
  for (const struct op *op = plan_ops(plan); !turns && op < plan_ops(plan) + plan->n_op; op++)
    turns = op->kind == OP_ATTEND && op->args.attend.rope_style &&
            (cuda_image_attend_fits(plan, limits, op) || cuda_image_attend_packs(NULL, plan, limits, op));
  return turns;
}

/* --- what is not there yet ---------------------------------------------------------------------------------------- */

static bool linear_supported(const struct linear_args *a, const struct op *op, const char **why) {
  bool late = a->act > ACT_GELU_TANH;
  bool more = op->in[1] >= 0 || a->gated || a->post_norm != NORM_NONE || a->softcap > 0;
  bool ends = a->post_norm == NORM_LAYER || a->post_sum || a->limit > 0 || a->up_add != 0;
  *why = "its activation is followed by more than a factor, or is tanh or ReLU, for which there is no kernel";
  if (ends) *why = "encoders of images have no kernel for its post norm or gate";
  return !ends && (!late || (!more && a->act < ACT_TANH));
}

bool cuda_image_supports(const struct plan *plan, const struct op *op, const char **why) {
  (void)plan;
  if (op->kind == OP_LINEAR) return linear_supported(&op->args.linear, op, why);
  return true;
}

/* --- sizes -------------------------------------------------------------------------------------------------------- */

/* Bytes of a token's key and value, in kernels of either kind. */
static size_t token_bytes(const struct plan *plan, const struct limits *limits, const struct op *op) {
  const struct attend_args *a = &op->args.attend;
  size_t numbers = (size_t)(a->dim_k + a->dim_v), each = limits->kv_dtype == KV_F32 ? 4 : 2;
  if (limits->kv_dtype >= KV_E4M3) return (size_t)a->n_kv_head * (numbers + 2 * sizeof(float));
  if (cuda_image_attend_fits(plan, limits, op)) numbers = 2 * (size_t)cuda_image_room(a->dim_k);
  return (size_t)a->n_kv_head * numbers * each;
}

struct cuda_image_needs cuda_image_most(const struct plan *plan, const struct limits *limits) {
  struct cuda_image_needs most = {0};
  if (plan->role == PLAN_DECODER) return most;
  size_t tokens = (size_t)cuda_image_blocks(limits->seats, limits->tokens) * IMAGE_BLOCK;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind != OP_ATTEND) continue;
    most.cache = size_max(most.cache, tokens * token_bytes(plan, limits, op));
    if (cuda_image_attend_fits(plan, limits, op))
      most.query = size_max(most.query,
                            tokens * (size_t)op->args.attend.n_head * (size_t)cuda_image_room(op->args.attend.dim_k));
    if (cuda_image_attend_packs(NULL, plan, limits, op))
      most.query = size_max(most.query, tokens * (size_t)op->args.attend.n_head * (size_t)op->args.attend.dim_k);
  }
  if (!cuda_patches_straight(plan)) most.patches = (size_t)limits->tokens * cuda_patch_numbers(plan);
  return most;
}
