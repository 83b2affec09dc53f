/* Mixtures of experts in steps of few tokens as one launch: when, and what it is told. */
#include "backend/cuda/cuda_mixture.h"

/* Experts on the host come to one stage, those of a linear after those of the other. */
static bool on_device(const struct program *p, const struct op *op) { return !p->hosted.data[op->weight[0]]; }

static int parts_find(const struct program *p, const struct op *op, struct cuda_mixture_parts *parts) {
  int n = cuda_mixture_find(p->plan, p->n_body, p->on_device.n_token, op, parts);
  if (!n || !on_device(p, parts->spread) || !on_device(p, parts->gather)) return 0;
  if (!parts->after) return n;
  if (p->adapted) {
    parts->after = NULL;
    return n - 1;
  }
  struct cuda_linear gather = cuda_linear_of(p, parts->gather);
  if (cuda_linear_next(p, parts->gather, &gather, false) == parts->after) return n;
  parts->after = NULL;
  return n - 1;
}

/* Linears before and after may have adapters: in steps with some the launch begins at the route and ends at the gather.
 */
int cuda_mixture_ops(const struct program *p, const struct op *op) {
  struct cuda_mixture_parts parts;
  if (!p->device->path->mixture_few || p->limits.batch_invariant || p->experts_adapted) return 0;
  return p->adapted && op->kind != OP_ROUTE ? 0 : parts_find(p, op, &parts);
}

static struct cuda_route route_of(const struct program *p, const struct op *op) {
  const struct route_args *a = &op->args.route;
  return (struct cuda_route){.logits = p->value[op->in[0]],
                             .n_token = p->on_device.n_token,
                             .n_expert = a->n_expert,
                             .k = a->k,
                             .score = a->score,
                             .normalize = a->normalize,
                             .scale = a->scale};
}

void cuda_mixture_run(struct program *p, const struct op *op) {
  struct cuda_mixture_parts parts;
  if (!parts_find(p, op, &parts)) return;
  const struct weight *weights = plan_weights(p->plan);
  const struct linear_args *args = &parts.spread->args.linear;
  struct cuda_mixture m = {.route = route_of(p, parts.route),
                           .up = cuda_linear_of(p, parts.spread),
                           .down = cuda_linear_of(p, parts.gather),
                           .gate = {args->limit, args->up_add},
                           .up_bytes = cuda_expert_bytes(weights + parts.spread->weight[0]),
                           .down_bytes = cuda_expert_bytes(weights + parts.gather->weight[0]),
                           .row = p->on_device.row,
                           .token_row = p->on_device.token_row,
                           .n_token = p->on_device.n_token};
  if (parts.router) m.router = cuda_linear_of(p, parts.router);
  if (parts.before) {
    m.before = cuda_linear_of(p, parts.before);
    if (p->ready != parts.before) cuda_linear_prepare(&m.before, false, p->device->stream);
  }
  cuda_linear_hand_over(p, parts.gather, cuda_linear_next(p, parts.gather, &m.down, false), &m.down);
  if (parts.after) {
    m.after = cuda_linear_of(p, parts.after);
    cuda_linear_hand_over(p, parts.after, NULL, &m.after);
  }
  p->device->path->mixture_few(&m, &p->between, p->device->multiprocessors, p->device->stream);
}
