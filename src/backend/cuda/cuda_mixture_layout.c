/* Mixtures of experts in steps of few tokens: what shared memory has room for, and which runs of a plan's ops are one
 * launch. Needs no device. */
#include "backend/cuda/cuda_mixture.h"

/* In the kernel's order (block_lay of mixture_ring.cuh): tokens, sums in turn, barriers, and what is chosen. */
int cuda_mixture_stages(int n_token, int cols) {
  int pieces = (cols + PIECE_COLS - 1) / PIECE_COLS, tiles = (n_token + 7) / 8;
  int tokens = mixture_slots(n_token) * pieces * PIECE_COLS * 2, sums = 2 * MIXTURE_WARPS * 2 * tiles * 32 * 16;
  int beside = tokens + sums + (2 * MIXTURE_STAGES_MOST + 2) * 8 + (int)sizeof(struct mixture_chosen);
  int stages = (MIXTURE_SHARED - beside) / MIXTURE_RUN;
  return stages < MIXTURE_STAGES_MOST ? stages : MIXTURE_STAGES_MOST;
}

int cuda_mixture_held(int stages, int cols) {
  int pieces = (cols + PIECE_COLS - 1) / PIECE_COLS, runs = (pieces + MIXTURE_WARPS - 1) / MIXTURE_WARPS;
  return stages > MIXTURE_BESIDE ? (stages - MIXTURE_BESIDE) / runs : 0;
}

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
  return op->kind == OP_ROUTE && op->weight[0] < 0 && a->n_group == 0 && a->score != ROUTE_NEAR &&
         a->k <= MIXTURE_CHOSEN && a->n_expert <= MIXTURE_EXPERTS && n_token * a->k <= MIXTURE_PAIRS;
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

/* What makes the next layer's queries, keys and values of what the gather adds to. */
static bool after_fits(const struct plan *plan, int n_body, int n_token, const struct cuda_mixture_parts *parts,
                       const struct op *op) {
  if (op + 1 - plan_ops(plan) >= n_body || !is_linear(op) || op[1].kind != OP_ATTEND) return false;
  const struct op *gather = parts->gather;
  const struct linear_args *a = &op->args.linear;
  const struct weight *weights = plan_weights(plan), *w = weights + op->weight[0];
  int cols = weights[parts->spread->weight[0]].cols; /* as wide as its tokens' places are */
  bool plain = a->act == ACT_NONE && !a->gated && ends_plain(op) && a->norm != NORM_LAYER && op->in[1] < 0;
  bool takes = op->in[0] == gather->out && op->out != gather->out && w->cols == weights[gather->weight[0]].rows &&
               w->cols == cols;
  return is_bf16(plan, op) && plain && takes && w->cols % PIECE_COLS == 0 &&
         cuda_mixture_held(cuda_mixture_stages(n_token, w->cols), w->cols) > 0;
}

static bool few_fit(const struct plan *plan, const struct op *spread, int n_token) {
  return n_token <= MIXTURE_TOKENS &&
         cuda_mixture_stages(n_token, plan_weights(plan)[spread->weight[0]].cols) >= MIXTURE_STAGES;
}

int cuda_mixture_find(const struct plan *plan, int n_body, int n_token, const struct op *op,
                      struct cuda_mixture_parts *parts) {
  if (plan->role != PLAN_DECODER || (op->kind != OP_LINEAR && op->kind != OP_ROUTE)) return 0;
  if (op + 2 + is_linear(op) - plan_ops(plan) >= n_body) return 0;
  int linears = is_linear(op) ? 1 + is_linear(op + 1) : 0;
  const struct op *route = op + linears, *last = route + 2, *router = linears ? route - 1 : NULL;
  if (last - plan_ops(plan) >= n_body || !route_fits(route, n_token)) return 0;
  *parts = (struct cuda_mixture_parts){linears > 1 ? op : NULL, router, route, route + 1, last, NULL};
  if (!spread_fits(plan, route, parts->spread) || !gather_fits(plan, route, parts->spread, last)) return 0;
  if (router && !router_fits(plan, router, route, parts->spread)) return 0;
  if (parts->before && !before_fits(plan, parts->before, router, last)) return 0;
  bool read = read_after(plan, route->in[0], route) || read_after(plan, route->out, last) ||
              read_after(plan, parts->spread->out, last);
  if (read || !few_fit(plan, parts->spread, n_token)) return 0;
  if (after_fits(plan, n_body, n_token, parts, last + 1)) parts->after = last + 1;
  return 3 + linears + (parts->after != NULL);
}
