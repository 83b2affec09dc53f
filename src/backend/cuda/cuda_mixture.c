/* Mixtures of experts in steps of few tokens: which runs of ops are one launch, and what it is told. */
#include "backend/cuda/cuda_mixture.h"

/* The ops of a mixture. */
struct parts {
  const struct op *before, *router, *route, *spread, *gather; /* before NULL: none; router: its logits are there */
};

/* Plain arithmetic: a product with its bias, and at most what these kernels add. */
static bool ends_plain(const struct op *op) {
  const struct linear_args *a = &op->args.linear;
  return a->post_norm == NORM_NONE && !a->multiply && a->column == 0;
}

static bool is_bf16(const struct plan *plan, const struct op *op) {
  return plan_weights(plan)[op->weight[0]].scheme.kind == SCHEME_BF16;
}

static bool route_fits(const struct op *op, int n_token) {
  const struct route_args *a = &op->args.route;
  return op->kind == OP_ROUTE && op->weight[0] < 0 && a->n_group == 0 && a->k <= MIXTURE_CHOSEN &&
         a->n_expert <= MIXTURE_EXPERTS && n_token * a->k <= MIXTURE_PAIRS;
}

static bool spread_fits(const struct plan *plan, const struct op *route, const struct op *op) {
  if (op->kind != OP_LINEAR || op->args.linear.expert_mode != EXPERTS_SPREAD || op->in[2] != route->out) return false;
  const struct linear_args *a = &op->args.linear;
  return is_bf16(plan, op) && a->gated && a->norm != NORM_LAYER && ends_plain(op) && op->in[1] < 0;
}

static bool gather_fits(const struct plan *plan, const struct op *route, const struct op *spread, const struct op *op) {
  if (op->kind != OP_LINEAR || op->args.linear.expert_mode != EXPERTS_GATHER || op->in[2] != route->out) return false;
  const struct linear_args *a = &op->args.linear;
  bool plain = a->norm == NORM_NONE && a->act == ACT_NONE && !(a->softcap > 0) && ends_plain(op);
  return is_bf16(plan, op) && plain && op->in[0] == spread->out && op->in[1] != spread->out &&
         plan_weights(plan)[op->weight[0]].cols % PIECE_COLS == 0;
}

/* With the norm of the linear after the route, which is computed once. */
static bool router_fits(const struct plan *plan, const struct op *op, const struct op *route, const struct op *spread) {
  const struct linear_args *a = &op->args.linear, *b = &spread->args.linear;
  bool plain = a->act == ACT_NONE && !a->gated && !(a->softcap > 0) && ends_plain(op) && op->in[1] < 0;
  bool alike = a->norm == b->norm && a->eps == b->eps && op->weight[2] == spread->weight[2];
  return is_bf16(plan, op) && plain && alike && op->out == route->in[0] && op->in[0] == spread->in[0];
}

/* What adds to the router's input last, strip by strip as the gather does. */
static bool before_fits(const struct plan *plan, const struct op *op, const struct op *router,
                        const struct op *gather) {
  const struct linear_args *a = &op->args.linear;
  const struct weight *w = plan_weights(plan) + op->weight[0];
  bool plain = a->act == ACT_NONE && !a->gated && !(a->softcap > 0) && ends_plain(op) && a->norm == NORM_NONE;
  bool adds = op->out == router->in[0] && op->in[1] == op->out && op->in[0] != op->out && gather->in[1] == op->out;
  return is_bf16(plan, op) && plain && adds && w->rows == plan_weights(plan)[gather->weight[0]].rows &&
         w->rows % STRIP_ROWS == 0 && w->cols % PIECE_COLS == 0;
}

static bool is_linear(const struct op *op) { return op->kind == OP_LINEAR && !cuda_op_has_experts(op); }

static bool read_after(const struct plan *plan, int value, const struct op *op) {
  for (const struct op *o = op + 1; o < plan_ops(plan) + plan->n_op; o++) {
    if (o->in[0] == value || o->in[1] == value || o->in[2] == value) return true;
    if (o->out == value) return false;
  }
  return plan_result(plan) == value;
}

/* Experts on the host come to one stage, those of a linear after those of the other. */
static bool on_device(const struct program *p, const struct op *op) { return !p->hosted.data[op->weight[0]]; }

/* Those that begin with an op. */
static bool parts_find(const struct program *p, const struct op *op, struct parts *parts) {
  const struct plan *plan = p->plan;
  if (op + 2 + is_linear(op) - plan_ops(plan) >= p->n_body) return false;
  int linears = is_linear(op) ? 1 + is_linear(op + 1) : 0;
  const struct op *route = op + linears, *last = route + 2, *router = linears ? route - 1 : NULL;
  if (last - plan_ops(plan) >= p->n_body || !route_fits(route, p->on_device.n_token)) return false;
  *parts = (struct parts){linears > 1 ? op : NULL, router, route, route + 1, last};
  if (!spread_fits(plan, route, parts->spread) || !gather_fits(plan, route, parts->spread, last)) return false;
  if (!on_device(p, parts->spread) || !on_device(p, last)) return false;
  if (router && !router_fits(plan, router, route, parts->spread)) return false;
  if (parts->before && !before_fits(plan, parts->before, router, last)) return false;
  return !read_after(plan, route->in[0], route) && !read_after(plan, route->out, last) &&
         !read_after(plan, parts->spread->out, last);
}

int cuda_mixture_ops(const struct program *p, const struct op *op) {
  struct parts parts;
  int n_token = p->on_device.n_token;
  bool few = n_token <= MIXTURE_TOKENS && !p->limits.batch_invariant && !p->adapted;
  if (!p->device->path->mixture_few || !few || p->plan->role != PLAN_DECODER) return 0;
  if ((op->kind != OP_LINEAR && op->kind != OP_ROUTE) || !parts_find(p, op, &parts)) return 0;
  if (cuda_mixture_stages(n_token, plan_weights(p->plan)[parts.spread->weight[0]].cols) < MIXTURE_STAGES) return 0;
  return 3 + (parts.router != NULL) + (parts.before != NULL);
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
  struct parts parts;
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
  p->device->path->mixture_few(&m, &p->between, p->device->multiprocessors, p->device->stream);
}
