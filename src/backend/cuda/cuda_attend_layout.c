/* Which attention of decoders runs on the matrix units, and sizes of what it has beside. Host code without a device. */
#include "backend/cuda/cuda_program.h"

static size_t size_max(size_t a, size_t b) { return a > b ? a : b; }

bool cuda_attend_dim(int32_t dim) { return dim == 64 || dim == 80 || dim == 96 || dim == 128 || dim == 256; }

/* Of DeepSeek's sizes, without norms, and rotated in what is before the value. */
static bool latent_fast(const struct cuda_path *path, const struct plan *plan, const struct limits *limits, int group,
                        struct attend_heads *heads) {
  const struct kv_group *g = plan_groups(plan) + group;
  if ((path && !path->attend_latent) || g->dim_k != LATENT_KEY || g->dim_v != LATENT_VALUE) return false;
  if (limits->kv_dtype != KV_F16 && limits->kv_dtype != KV_BF16) return false;
  heads->latent = true;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    const struct attend_args *args = &op->args.attend;
    if (op->kind != OP_ATTEND || args->group != group) continue;
    bool turned = args->rope_style != ROPE_NONE && args->rope_dim > LATENT_KEY - LATENT_VALUE;
    if (args->alibi || turned || op->weight[0] >= 0 || op->weight[1] >= 0) return false;
    if (heads->queries && heads->queries != args->n_head / args->n_kv_head) return false;
    heads->queries = args->n_head / args->n_kv_head;
  }
  return heads->queries > 0;
}

/* As the plain kernels' cache is in rows, all layers of a group run in the same kernels. */
bool cuda_attend_fast(const struct cuda_path *path, const struct plan *plan, const struct limits *limits, int group,
                      struct attend_heads *heads) {
  const struct kv_group *g = plan_groups(plan) + group;
  bool typed = limits->kv_dtype >= KV_F16 && (!path || limits->kv_dtype <= path->kv_most);
  *heads = (struct attend_heads){.n_kv_head = g->n_head, .window = g->window};
  if (g->value_in_key) return latent_fast(path, plan, limits, group, heads);
  if (!cuda_attend_dim(g->dim_k) || !typed || g->dim_v != g->dim_k || limits->block_size < ATTEND_BLOCK_LEAST)
    return false;
  for (int i = 0; i < plan->n_op; i++) {
    const struct attend_args *args = &plan_ops(plan)[i].args.attend;
    if (plan_ops(plan)[i].kind != OP_ATTEND || args->group != group) continue;
    if (heads->queries && heads->queries != args->n_head / args->n_kv_head) return false;
    heads->queries = args->n_head / args->n_kv_head;
  }
  return heads->queries > 0;
}

struct cuda_attend_needs cuda_attend_most(const struct cuda_path *path, const struct plan *plan,
                                          const struct limits *limits) {
  struct cuda_attend_needs most = {0};
  struct attend_heads heads;
  for (int g = 0; g < plan->n_group; g++) {
    size_t dim = (size_t)plan_groups(plan)[g].dim_v;
    if (!cuda_attend_fast(path, plan, limits, g, &heads)) continue;
    most.angle = (size_t)limits->tokens * plan->n_float * 2;
    most.arrived = (size_t)ATTEND_SHARES * 2;
    most.parts = size_max(most.parts, (size_t)attend_parts_most(&heads, limits) * (dim + 8));
    if (!heads.latent)
      most.query = size_max(most.query, (size_t)limits->tokens * (size_t)heads.queries * (size_t)heads.n_kv_head * dim);
  }
  if (cuda_image_turns(plan, limits)) most.angle = (size_t)limits->tokens * plan->n_float * 2;
  return most;
}

int32_t cuda_chunks_most(const struct plan *plan, const struct limits *limits, int tokens, int rows) {
  int most = 0;
  if (plan->role != PLAN_DECODER) most = (int)((int64_t)tokens * cuda_image_packed(plan, limits) / ATTEND_CHUNK) + rows;
  struct attend_heads heads;
  for (int g = 0; g < plan->n_group; g++) {
    int chunks = cuda_attend_fast(NULL, plan, limits, g, &heads) ? attend_chunks_most(&heads, tokens, rows) : 0;
    if (chunks > most) most = chunks;
  }
  return most;
}
