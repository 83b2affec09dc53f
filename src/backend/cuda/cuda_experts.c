/* Mixtures of experts in a step: routes, their lists, and linears over experts, a slice of the tokens at a time. */
#include "backend/cuda/cuda_adapted.h"

#include <string.h>

#define SAME(ours, plans) _Static_assert((int)(ours) == (int)(plans), "kernels know the plan's numbers by other names")
SAME(SCORE_SOFTMAX, ROUTE_SOFTMAX);
SAME(SCORE_SIGMOID, ROUTE_SIGMOID);
SAME(SCORE_CHOSEN, ROUTE_CHOSEN);
SAME(SCORE_NEAR, ROUTE_NEAR);
SAME(EXPERT_LISTS, LIMIT_MODEL_EXPERTS);

enum { HOSTED_WHOLE = 16 }; /* pairs of an expert in the mean */

void cuda_route_run(struct program *p, const struct op *op) {
  const struct route_args *args = &op->args.route;
  const struct cuda_route a = {.logits = p->value[op->in[0]],
                               .bias = cuda_vector(p, op->weight[0]),
                               .choice = p->value[op->out],
                               .n_token = p->on_device.n_token,
                               .n_expert = args->n_expert,
                               .k = args->k,
                               .n_group = args->n_group,
                               .top_group = args->top_group,
                               .score = args->score,
                               .normalize = args->normalize,
                               .group_pair = args->group_pair,
                               .scale = args->scale,
                               .near = args->near};
  cuda_route(&a, p->device->stream);
  p->listed = (struct cuda_listed){.value = -1};
}

/* --- a slice of an op --------------------------------------------------------------------------------------------- */

struct slice_work {
  const struct op *op;
  int first, n;               /* tokens */
  int results, inputs, width; /* of a token: pairs, rows of the input; columns of a result */
  bool units;
  bool coded; /* of units: weights of 4 and 8 bits are multiplied as they are packed, in all slices */
  bool apart; /* products are left alone, for adapters to change */
};

/* With batch_invariant in all steps, so that a row's bytes do not depend on the adapters of those beside it. */
static bool ends_apart(const struct program *p, const struct op *op) {
  bool always = p->limits.batch_invariant && p->limits.adapters > 0;
  return (p->experts_adapted || always) && op->args.linear.expert_mode != EXPERTS_EACH;
}

static struct slice_work work_of(const struct program *p, const struct op *op) {
  const struct weight *w = plan_weights(p->plan) + op->weight[0];
  struct slice_work s = {.op = op,
                         .results = cuda_expert_results(p->plan, op),
                         .inputs = 1,
                         .apart = ends_apart(p, op),
                         .width = op->args.linear.gated ? w->part[0].rows : w->rows,
                         .units = cuda_experts_units(p->device->path, p->plan, op)};
  if (op->args.linear.expert_mode != EXPERTS_SPREAD) s.inputs = s.results;
  return s;
}

/* Are they tiles of Hopper's? */
static bool tiles_are(const struct program *p, const struct slice_work *s) {
  return s->units && !s->coded && p->device->path->experts_tiles;
}

static int32_t tile_pairs_of(const struct program *p, const struct slice_work *s, const struct cuda_expert_lists *l) {
  if (tiles_are(p, s)) return EXPERT_ROWS;
  bool large = s->op->in[2] >= 0 && l->n_pair / EXPERT_LARGE >= l->n_expert;
  return large ? 2 * EXPERT_TILE : EXPERT_TILE;
}

/* Where the lists lie one after the other. */
static struct cuda_expert_lists lists_of(const struct program *p, const struct slice_work *s) {
  struct cuda_expert_lists l = {.n_pair = s->n * s->results,
                                .n_expert = plan_weights(p->plan)[s->op->weight[0]].n_expert};
  l.tile_pairs = tile_pairs_of(p, s, &l);
  if (s->op->in[2] < 0) return l;
  l.first = p->expert_lists;
  l.pair = l.first + l.n_expert + 1;
  l.place = l.pair + l.n_pair;
  l.active = l.place + l.n_pair;
  l.count = l.active + l.n_expert;
  l.tile = l.count + l.n_expert;
  l.counts = l.tile + 3 * cuda_expert_tiles(l.n_pair, l.n_expert, l.tile_pairs);
  return l;
}

/* A layer's linears share them. */
static void lists_make(struct program *p, const struct slice_work *s, const struct cuda_expert_lists *l,
                       const float *choice) {
  const struct cuda_listed *made = &p->listed;
  const struct cuda_listed wanted = {s->op->in[2], s->first, s->n, l->tile_pairs};
  if (wanted.value < 0 || memcmp(made, &wanted, sizeof wanted) == 0) return;
  struct cuda_batch batch = p->on_device;
  batch.token_row += s->first;
  cuda_expert_lists(l, choice, s->results, &batch, p->device->stream);
  p->listed = wanted;
}

/* Of experts on the host: do tokens choose about all of them? Slices together do. The copy engine is 8 % faster
 * than the kernel that goes by a list. */
static bool hosted_whole(const struct program *p, const struct slice_work *s, const struct cuda_expert_lists *l) {
  return s->n < p->on_device.n_token || l->n_pair >= HOSTED_WHOLE * l->n_expert;
}

static struct cuda_experts experts_of(struct program *p, const struct slice_work *s) {
  const struct weight *w = plan_weights(p->plan) + s->op->weight[0];
  struct cuda_experts e = {.linear = cuda_linear_of(p, s->op),
                           .gate = {s->op->args.linear.limit, s->op->args.linear.up_add},
                           .expert_bytes = cuda_expert_bytes(w),
                           .lists = lists_of(p, s),
                           .n_token = s->n,
                           .k = s->results,
                           .padded = (w->cols + PIECE_COLS - 1) / PIECE_COLS * PIECE_COLS,
                           .spread = s->op->args.linear.expert_mode == EXPERTS_SPREAD,
                           .gather = s->op->args.linear.expert_mode == EXPERTS_GATHER};
  struct cuda_linear *a = &e.linear;
  size_t first = (size_t)s->first;
  if (s->op->in[2] >= 0) e.choice = p->value[s->op->in[2]] + first * 2 * (size_t)s->results;
  a->in += first * (size_t)a->in_cols;
  a->out += first * (size_t)a->out_cols;
  if (a->residual) a->residual += first * (size_t)a->residual_cols;
  a->in_cols = w->cols;
  a->result_cols = s->width;
  lists_make(p, s, &e.lists, e.choice);
  if (p->hosted.data[s->op->weight[0]] && s->first == 0)
    cuda_hosted_fetch(p, s->op->weight[0], hosted_whole(p, s, &e.lists) ? NULL : &e.lists);
  return e;
}

static struct cuda_norm norm_of(const struct linear_args *args, const struct cuda_linear *a) {
  return (struct cuda_norm){.kind = args->norm, .eps = args->eps, .weight = a->norm};
}

/* The gather that takes a spread's results alone: it can be left them as it multiplies them. */
static const struct op *next_gather(const struct program *p, const struct op *op) {
  const struct op *next = op + 1;
  int index = (int)(next - plan_ops(p->plan));
  if (index >= p->n_body || op->args.linear.expert_mode != EXPERTS_SPREAD) return NULL;
  if (!cuda_experts_units(p->device->path, p->plan, next) || next->args.linear.expert_mode != EXPERTS_GATHER)
    return NULL;
  const struct weight *w = plan_weights(p->plan) + next->weight[0];
  bool whole = w->cols % PIECE_COLS == 0 && !w->scheme.activation; /* codes want a row's greatest */
  bool alone = next->in[0] == op->out && next->in[1] != op->out && !cuda_read_later(p->plan, op);
  return whole && alone ? next : NULL;
}

/* Where that is cheaper than unpacking matrices for each tile. Nearly all experts are chosen then. */
static bool is_expanded(const struct program *p, const struct slice_work *s) {
  int n_expert = plan_weights(p->plan)[s->op->weight[0]].n_expert;
  return s->n * s->results / EXPERT_EXPAND > n_expert && cuda_experts_expanded(p->plan, &p->limits, s->op) > 0;
}

/* All matrices in bf16, once for an op's slices. */
static void stack_expand(struct program *p, const struct slice_work *s, struct cuda_experts *e) {
  struct cuda_matrix *m = &e->linear.matrix, stack = *m;
  int strips = (m->rows + STRIP_ROWS - 1) / STRIP_ROWS;
  stack.rows = strips * STRIP_ROWS * e->lists.n_expert;
  if (s->first == 0) p->device->path->coded_expand(&stack, p->expanded, p->device->stream);
  m->data = p->expanded;
  m->kind = KIND_BF16, m->pieces = m->made = true, m->bytes = m->nibbles = false;
  m->strip_bytes = cuda_expanded_strip(plan_weights(p->plan) + s->op->weight[0]);
  e->expert_bytes = (size_t)strips * m->strip_bytes;
}

/* Products with their biases as pairs have them, where results would be. */
static struct cuda_experts products_of(const struct cuda_experts *experts) {
  struct cuda_experts e = *experts;
  struct cuda_linear *a = &e.linear;
  e.gather = false, e.gate = (struct cuda_gate){0}, e.next_tokens = NULL;
  a->out = a->product, a->result_cols = a->matrix.rows, a->out_cols = e.k * a->matrix.rows;
  a->residual = NULL;
  a->act = a->gated = a->multiply = 0;
  a->factor = 1, a->softcap = 0;
  return e;
}

/* From products to results, with what adapters change. */
static void products_end(struct program *p, const struct slice_work *s, const struct cuda_experts *e) {
  struct cuda_expert_adapters adapters = cuda_expert_adapters_of(p, s->op, s->first);
  bool early = p->device->path->chained;
  if (adapters.use) cuda_experts_shrink(e, &adapters, early, p->device->stream);
  cuda_experts_adapt(e, &adapters, early, p->device->stream);
}

static void units_multiply(struct program *p, const struct slice_work *s, const struct cuda_experts *e) {
  bool few = s->op->in[2] >= 0 && p->on_device.n_token <= EXPERTS_FEW && e->lists.n_pair <= EXPERTS_FEW_PAIRS &&
             !p->limits.batch_invariant;
  if (few && !s->coded)
    cuda_experts_few(e, p->device->stream);
  else if (tiles_are(p, s))
    p->device->path->experts_tiles(e, p->device->stream);
  else if (few)
    cuda_experts_coded_few(e, p->device->multiprocessors, p->device->stream);
  else
    (s->coded ? cuda_experts_coded_many : cuda_experts_many)(e, p->device->stream);
  bool whole = tiles_are(p, s) || (few && !s->coded); /* a gather's results are */
  if (e->gather && !whole) cuda_experts_sum(e, p->device->stream);
}

/* On matrix units. With batch_invariant tiles, whose sums have one order. */
static void units_run(struct program *p, const struct slice_work *s, bool ready, const struct op *next) {
  struct cuda_experts e = experts_of(p, s);
  const struct linear_args *args = &s->op->args.linear;
  uint16_t *tokens = p->fragments[p->turn], *left = p->fragments[p->turn ^ 1];
  size_t rows = (size_t)s->first * (size_t)s->inputs;
  struct cuda_norm norm = norm_of(args, &e.linear);
  float *scales = e.linear.matrix.activation ? p->squares[p->turn] + rows : NULL;
  e.tokens = tokens + rows * (size_t)e.padded, e.token_scales = scales;
  if (!ready)
    cuda_experts_prepare(e.linear.in, s->n * s->inputs, e.linear.in_cols, e.linear.matrix.cols, e.padded, &norm,
                         tokens + rows * (size_t)e.padded, scales, e.linear.matrix.activation, p->device->stream);
  if (next) e.next_padded = s->width, e.next_tokens = left + (size_t)s->first * (size_t)s->results * (size_t)s->width;
  if (e.linear.matrix.kind != KIND_BF16 && !s->coded) stack_expand(p, s, &e);
  if (!s->apart) {
    units_multiply(p, s, &e);
    return;
  }
  struct cuda_experts products = products_of(&e);
  units_multiply(p, s, &products);
  products_end(p, s, &e);
}

/* Everything else in plain kernels. */
static void plain_run(struct program *p, const struct slice_work *s) {
  struct cuda_experts e = experts_of(p, s);
  struct cuda_linear round = e.linear, *a = &e.linear;
  struct cuda_norm norm = norm_of(&s->op->args.linear, a);
  round.n_row = s->n * s->inputs;
  if (norm.kind == NORM_LAYER) {
    cuda_image_norm(a->in, round.n_row, a->in_cols, a->matrix.cols, &norm, p->prepared, p->device->stream);
    round.in = p->prepared, round.has_norm = false;
  }
  cuda_linear_round(&round, p->device->stream);
  cuda_experts_plain(&e, p->device->stream);
  if (s->apart)
    products_end(p, s, &e);
  else
    (e.gather ? cuda_experts_sum : cuda_experts_end)(&e, p->device->stream);
}

/* Tokens of a slice. */
static int slice_most(const struct program *p, const struct slice_work *s) {
  int most = tiles_are(p, s) && !s->apart ? EXPERT_LONG : s->units ? EXPERT_SLICE : EXPERT_PLAIN;
  size_t each = (size_t)s->results * (size_t)plan_weights(p->plan)[s->op->weight[0]].rows;
  if (s->apart && p->n_product / each < (size_t)most) most = (int)(p->n_product / each);
  return most;
}

void cuda_experts_run(struct program *p, const struct op *op) {
  struct slice_work s = work_of(p, op);
  bool ready = p->ready == op, bf16 = plan_weights(p->plan)[op->weight[0]].scheme.kind == SCHEME_BF16;
  const struct op *next = s.units ? next_gather(p, op) : NULL;
  int n = p->on_device.n_token;
  s.n = n < EXPERT_SLICE ? n : EXPERT_SLICE;
  s.coded = s.units && !bf16 && !is_expanded(p, &s);
  int most = slice_most(p, &s);
  for (; s.first < n; s.first += most) {
    s.n = n - s.first < most ? n - s.first : most;
    if (s.units)
      units_run(p, &s, ready, next);
    else
      plain_run(p, &s);
  }
  p->ready = next;
  if (next) p->turn ^= 1;
}
