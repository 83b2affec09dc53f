/* The linear op over a weight of many matrices, each with its own part of every row of the input and of the output
 * (EXPERTS_EACH): heads' own projections. Its matrices are as many small linears; workers share out the units of all of
 * them together. Inputs lie prepared by matrix, so that one's rows follow each other. */
#include "backend/backends.h"
#include "backend/cpu/cpu_program.h"

enum { CLAIMS_PER_WORKER = 8 };

/* What stays the same over a step's call. */
struct each {
  struct program *program;
  const struct call *call;
  int n, n_row;  /* matrices; rows */
  size_t matrix; /* packed bytes of one */
};

/* A matrix's part of row `row` of the input, prepared. */
static void part_prepare(const struct each *e, int matrix, int row, uint8_t *to) {
  const struct cpu_layout *layout = &e->call->layout;
  const float *x = value_row(e->program, e->call->op->in[0], row) + (size_t)matrix * (size_t)layout->cols;
  e->program->device->kernels->prepare(layout, x, to);
}

static struct linear_tail tail_make(const struct each *e, int matrix) {
  const struct op *op = e->call->op;
  const struct linear_args *args = &op->args.linear;
  const struct weight *w = plan_weights(e->program->plan) + op->weight[0];
  int cols = args->gated ? w->part[0].rows : w->rows;
  struct linear_tail tail = {.scale = args->scale,
                             .softcap = args->softcap,
                             .limit = args->limit,
                             .up_add = args->up_add,
                             .act = args->act,
                             .gated = args->gated,
                             .multiply = args->multiply,
                             .out_cols = cols};
  const float *bias = program_vector(e->program, op->weight[1]);
  if (bias) tail.bias = bias + (size_t)matrix * (size_t)w->rows;
  if (op->in[1] >= 0) {
    tail.residual = value_row(e->program, op->in[1], 0) + (size_t)matrix * (size_t)cols;
    tail.residual_stride = value_cols(e->program, op->out);
  }
  return tail;
}

/* Units [first, first + count) of a matrix times its rows. */
static void matrix_run(const struct each *e, int matrix, struct range units, const uint8_t *rows) {
  const struct call *call = e->call;
  const struct op *op = call->op;
  struct linear_tail tail = tail_make(e, matrix);
  struct linear_input input = {.rows = rows, .row_bytes = call->layout.row_bytes, .n_row = e->n_row};
  float *out = value_row(e->program, op->out, 0) + op->args.linear.column + (size_t)matrix * (size_t)tail.out_cols;
  e->program->device->kernels->linear(&call->layout, e->program->weight[op->weight[0]] + (size_t)matrix * e->matrix,
                                      units.first * call->unit_tiles, units.count * call->unit_tiles, &input, &tail,
                                      out, value_cols(e->program, op->out));
}

/* Units of all matrices, one after the other. A single row is prepared by those who need it. */
static void units_run(const struct each *e, struct range units, uint8_t *scratch) {
  for (int left = units.count, at = units.first, count; left > 0; left -= count, at += count) {
    int matrix = at / e->call->n_unit, first = at % e->call->n_unit;
    count = e->call->n_unit - first < left ? e->call->n_unit - first : left;
    const uint8_t *rows = e->program->prepared + (size_t)matrix * (size_t)e->n_row * e->call->layout.row_bytes;
    if (e->n_row == 1) {
      part_prepare(e, matrix, 0, scratch);
      rows = scratch;
    }
    matrix_run(e, matrix, (struct range){first, count}, rows);
  }
}

static void all_prepare(const struct each *e, int worker) {
  struct team *team = e->program->device->team;
  struct range parts = team_share(team, e->n * e->n_row, worker);
  for (int i = parts.first; i < parts.first + parts.count; i++)
    part_prepare(e, i / e->n_row, i % e->n_row, e->program->prepared + (size_t)i * e->call->layout.row_bytes);
  team_barrier(team);
}

void call_each(struct program *program, const struct call *call, struct range tokens, int worker) {
  struct team *team = program->device->team;
  const struct weight *w = plan_weights(program->plan) + call->op->weight[0];
  struct each e = {.program = program,
                   .call = call,
                   .n = w->n_expert,
                   .n_row = tokens.count,
                   .matrix = backend_packed_bytes(&backend_cpu, w) / (size_t)w->n_expert};
  if (tokens.count == 0) return;
  uint8_t *scratch = worker_scratch(program, worker);
  int n_unit = e.n * call->n_unit, claim = n_unit / (CLAIMS_PER_WORKER * team_size(team));
  struct range units;
  if (e.n_row > 1) all_prepare(&e, worker);
  if (e.n_row <= 2 * program->limits.opt_batch || claim == 0) {
    units_run(&e, team_share(team, n_unit, worker), scratch);
    return;
  }
  while (team_claim(team, n_unit, claim, &units)) units_run(&e, units, scratch);
}
