/* Linears over experts on the team. What a token owes to its j-th expert is a result; results lie in the order of their
 * experts (call_route.c), so the inputs of one expert are rows that follow each other, and a product by the kernels
 * that any linear has. Units of tiles of all chosen experts are one list that workers share: many experts of one row
 * each and one expert of many rows both fill the team, and no byte of an expert that nobody chose is read. A result's
 * sums depend on its row alone, and a token's results are added in the order of j. */
#include "backend/cpu/cpu_program.h"

enum {
  CLAIMS_PER_WORKER = 32, /* in a batch of more results than experts, whose rows differ */
  COMBINE_COLS = 512,     /* of a token's sum that are taken at once */
};

static bool gathers(const struct call *call) { return call->op->args.linear.expert_mode == EXPERTS_GATHER; }

static int results_each(const struct program *program, const struct call *call) {
  return (int)value_cols(program, call->op->in[2]) / 2;
}

size_t call_experts_scratch(const struct plan *plan, const struct op *op) {
  struct cpu_layout layout = cpu_layout_of(plan_weights(plan) + op->weight[0]);
  return ((size_t)layout.cols + 15) / 16 * 16 + layout.row_bytes / sizeof(float);
}

/* --- inputs ------------------------------------------------------------------------------------------------------- */

/* A token's input, normed and prepared, in the worker's scratch. */
static const uint8_t *token_row(const struct program *program, const struct call *call, int token, int worker) {
  const struct op *op = call->op;
  const struct cpu_layout *layout = &call->layout;
  const float *x = value_row(program, op->in[0], token);
  float *normed = (float *)worker_scratch(program, worker);
  uint8_t *row = (uint8_t *)(normed + (layout->cols + 15) / 16 * 16);
  if (op->args.linear.norm != NORM_NONE) {
    row_norm(program, op->args.linear.norm, x, op->weight[2], layout->cols, op->args.linear.eps, normed);
    x = normed;
  }
  program->device->kernels->prepare(layout, x, row);
  return row;
}

/* The same to the places of all the token's results. */
static void token_spread(const struct program *program, const struct call *call, int token, int k, int worker) {
  const int32_t *place = program->order[call->op->in[2]].place + token * k;
  const uint8_t *row = token_row(program, call, token, worker);
  size_t bytes = call->layout.row_bytes;
  for (int j = 0; j < k; j++) memcpy(program->prepared + (size_t)place[j] * bytes, row, bytes);
}

/* Each of a token's inputs to its place. */
static void token_prepare(const struct program *program, const struct call *call, int token, int k) {
  const struct cpu_layout *layout = &call->layout;
  const int32_t *place = program->order[call->op->in[2]].place + token * k;
  const float *x = value_row(program, call->op->in[0], token);
  for (int j = 0; j < k; j++, x += layout->cols)
    program->device->kernels->prepare(layout, x, program->prepared + (size_t)place[j] * layout->row_bytes);
}

/* This worker's share of blocks of prepared rows, arranged for kernels that take many rows so. Blocks of an expert
 * begin with its first row; `block` counts those of the experts before. */
static void share_arrange(struct program *program, const struct call *call, int worker) {
  const struct kernel_set *kernels = program->device->kernels;
  const struct expert_order *order = &program->order[call->op->in[2]];
  const struct cpu_layout *layout = &call->layout;
  int n_worker = team_size(program->device->team), block = 0;
  for (int i = 0; i < order->n_active; i++)
    for (int first = order->first[i], end = order->first[i + 1]; first < end; first += ARRANGED_ROWS, block++) {
      if (block % n_worker != worker || end - order->first[i] < kernels->arrange_from) continue;
      int count = end - first < ARRANGED_ROWS ? end - first : ARRANGED_ROWS;
      kernels->arrange(layout, program->prepared + (size_t)first * layout->row_bytes, count,
                       program->arranged + (size_t)block * layout->arranged_bytes);
    }
}

static void inputs_prepare(struct program *program, const struct call *call, int n_token, bool adapted, int worker) {
  struct team *team = program->device->team;
  struct range tokens = team_share(team, n_token, worker);
  int k = results_each(program, call);
  for (int t = tokens.first; t < tokens.first + tokens.count; t++) {
    if (gathers(call))
      token_prepare(program, call, t, k);
    else
      token_spread(program, call, t, k, worker);
  }
  if (adapted)
    adapters_shrink(program, &program->order[call->op->in[2]].pairs, call, worker,
                    (float *)worker_scratch(program, worker));
  team_barrier(team);
}

static bool arranges(const struct program *program, const struct call *call) {
  const struct kernel_set *kernels = program->device->kernels;
  const struct expert_order *order = &program->order[call->op->in[2]];
  if (!kernels->arrange || call->layout.arranged_bytes == 0) return false;
  for (int i = 0; i < order->n_active; i++)
    if (order->first[i + 1] - order->first[i] >= kernels->arrange_from) return true;
  return false;
}

/* --- products ----------------------------------------------------------------------------------------------------- */

/* What the products of a call have in common. */
struct products {
  const struct program *program;
  const struct call *call;
  const struct expert_order *order;
  const uint8_t *lone; /* the one row that all experts have; NULL: theirs are in program->prepared */
  bool adapted;        /* some result has an adapter's change */
  struct linear_tail tail;
  float *out; /* results, in the order of the tokens */
};

static int results_width(const struct program *program, const struct call *call) {
  return call->op->args.linear.gated ? plan_weights(program->plan)[call->op->weight[0]].part[0].rows
                                     : call->layout.rows;
}

static struct products products_make(const struct program *program, const struct call *call, const uint8_t *lone,
                                     bool adapted) {
  const struct op *op = call->op;
  const struct linear_args *args = &op->args.linear;
  int width = results_width(program, call);
  struct products p = {program, call, &program->order[op->in[2]], lone, adapted, {.scale = 1, .out_cols = width}, NULL};
  p.out = gathers(call) ? program->unnormed : program->value[op->out];
  if (gathers(call)) return p;
  p.tail.act = args->act, p.tail.gated = args->gated, p.tail.multiply = args->multiply;
  p.tail.scale = args->scale, p.tail.softcap = args->softcap;
  p.tail.limit = args->limit, p.tail.up_add = args->up_add;
  if (op->in[1] >= 0) p.tail.residual = program->value[op->in[1]], p.tail.residual_stride = (size_t)width;
  return p;
}

/* Units of the i-th chosen expert times all its rows, whose arranged blocks begin with `block`. */
static void expert_run(const struct products *p, int i, int block, struct range units) {
  const struct call *call = p->call;
  const struct cpu_layout *layout = &call->layout;
  const struct kernel_set *kernels = p->program->device->kernels;
  const float *bias = program_vector(p->program, call->op->weight[1]);
  size_t expert = (size_t)p->order->active[i], first = (size_t)p->order->first[i];
  size_t tiles = ((size_t)layout->rows + TILE_ROWS - 1) / TILE_ROWS;
  struct linear_input input = {.rows = p->lone ? p->lone : p->program->prepared + first * layout->row_bytes,
                               .row_bytes = layout->row_bytes,
                               .n_row = p->order->first[i + 1] - p->order->first[i]};
  struct linear_tail tail = p->tail;
  if (!p->lone && layout->arranged_bytes && kernels->arrange && input.n_row >= kernels->arrange_from)
    input.arranged = p->program->arranged + (size_t)block * layout->arranged_bytes;
  if (bias) tail.bias = bias + expert * (size_t)layout->rows;
  if (p->adapted) tail.adapters = p->order->pairs.use + first * ROW_LORAS;
  tail.place = p->order->result + first;
  kernels->linear(layout, p->program->weight[call->op->weight[0]] + expert * tiles * layout->tile_bytes,
                  units.first * call->unit_tiles, units.count * call->unit_tiles, &input, &tail, p->out,
                  (size_t)tail.out_cols);
}

/* A run of the list of units, which may be of several experts. */
static void units_run(const struct products *p, struct range units) {
  const struct expert_order *order = p->order;
  int block = 0, n = p->call->n_unit;
  for (int i = 0; i < order->n_active && i * n < units.first + units.count; i++) {
    int first = units.first > i * n ? units.first - i * n : 0, end = units.first + units.count - i * n;
    if (end > n) end = n;
    if (first < end) expert_run(p, i, block, (struct range){first, end - first});
    block += (order->first[i + 1] - order->first[i] + ARRANGED_ROWS - 1) / ARRANGED_ROWS;
  }
}

static void products_run(const struct products *p, int n_result, int worker) {
  struct team *team = p->program->device->team;
  int total = p->order->n_active * p->call->n_unit, chunk = total / (CLAIMS_PER_WORKER * team_size(team));
  struct range units;
  if (n_result == p->order->n_active) {
    units = team_share(team, total, worker);
    units_run(p, units);
  } else {
    while (team_claim(team, total, chunk > 0 ? chunk : 1, &units)) units_run(p, units);
  }
}

/* --- sums --------------------------------------------------------------------------------------------------------- */

/* out = residual + scale × Σ weight × result, of some columns of a token. */
static void results_combine(const struct program *program, const struct call *call, int token, struct range cols) {
  const struct op *op = call->op;
  int k = results_each(program, call);
  size_t width = (size_t)call->layout.rows, first = (size_t)cols.first;
  const float *weight = value_row(program, op->in[2], token) + k, scale = op->args.linear.scale;
  const float *result = program->unnormed + (size_t)token * (size_t)k * width + first;
  float *out = value_row(program, op->out, token) + first, sum[COMBINE_COLS] = {0};
  const float *residual = op->in[1] >= 0 ? value_row(program, op->in[1], token) + first : NULL;
  for (int j = 0; j < k; j++, result += width)
    for (int c = 0; c < cols.count; c++) sum[c] += weight[j] * result[c];
  for (int c = 0; c < cols.count; c++) out[c] = scale * sum[c] + (residual ? residual[c] : 0);
}

static void sums_run(struct program *program, const struct call *call, int n_token, int worker) {
  struct team *team = program->device->team;
  int width = call->layout.rows, n_part = (width + COMBINE_COLS - 1) / COMBINE_COLS;
  team_barrier(team);
  struct range parts = team_share(team, n_token * n_part, worker);
  for (int i = parts.first; i < parts.first + parts.count; i++) {
    struct range cols = {i % n_part * COMBINE_COLS, COMBINE_COLS};
    if (cols.count > width - cols.first) cols.count = width - cols.first;
    results_combine(program, call, i / n_part, cols);
  }
}

void call_experts(struct program *program, const struct call *call, struct range rows, int worker) {
  if (rows.count == 0) return;
  bool adapted = program->order[call->op->in[2]].pairs.n > 0 && adapters_meet(program, call);
  bool lone = rows.count == 1 && !gathers(call) && !adapted; /* each worker prepares it for itself */
  if (!lone) inputs_prepare(program, call, rows.count, adapted, worker);
  if (!lone && arranges(program, call)) {
    share_arrange(program, call, worker);
    team_barrier(program->device->team);
  }
  const uint8_t *row = lone ? token_row(program, call, 0, worker) : NULL;
  struct products products = products_make(program, call, row, adapted);
  products_run(&products, rows.count * results_each(program, call), worker);
  if (gathers(call)) sums_run(program, call, rows.count, worker);
}
