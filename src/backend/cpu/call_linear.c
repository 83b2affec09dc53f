/* The linear op on the team. One row (a decode step) costs one barrier, the one between ops: each worker norms and
 * prepares that row for itself. More rows, and those of adapters, whose shrinks are shared out as well, are prepared by
 * all first, and then there is a barrier more; a post norm needs whole rows, so it comes after another. */
#include "backend/cpu/cpu_program.h"

enum {
  ALONE_FLOATS = 4096, /* inputs up to so many numbers are prepared by every worker by itself */
  CLAIMS_PER_WORKER = 8,
  KERNEL_TILES = 2, /* that kernels take side by side: the last of an odd number takes longer */
  PART_ROWS = 32,   /* rows are split too when there are fewer units than claims, in parts of at least so many */
};

static bool prepared_alone(const struct cpu_layout *layout, int n_row) {
  return n_row == 1 || n_row * (int64_t)layout->cols <= ALONE_FLOATS;
}

size_t call_linear_scratch(const struct plan *plan, const struct op *op) {
  struct cpu_layout layout = cpu_layout_of(plan_weights(plan) + op->weight[0]);
  size_t alone_rows = ALONE_FLOATS / (size_t)layout.cols;
  if (alone_rows < 1) alone_rows = 1;
  size_t normed = ((size_t)layout.cols + 15) / 16 * 16, shrink = adapters_shrink_scratch(layout.cols);
  size_t alone = normed + alone_rows * layout.row_bytes / sizeof(float);
  return alone > shrink ? alone : shrink;
}

/* Rows [first, first + count) of the input, counted from `base` on, normed and prepared, to their places in `rows`. */
static void rows_prepare(const struct program *program, const struct call *call, int base, struct range range,
                         float *normed, uint8_t *rows) {
  const struct op *op = call->op;
  const struct kernel_set *kernels = program->device->kernels;
  for (int i = range.first; i < range.first + range.count; i++) {
    const float *x = value_row(program, op->in[0], base + i);
    if (op->args.linear.norm != NORM_NONE) {
      row_norm(program, op->args.linear.norm, x, op->weight[2], call->layout.cols, op->args.linear.eps, normed);
      x = normed;
    }
    kernels->prepare(&call->layout, x, rows + (size_t)i * call->layout.row_bytes);
  }
}

static int ceil_div(int a, int b) { return (a + b - 1) / b; }

/* This worker's share of the rows prepared, in whole blocks, and arranged if the kernels take so many that way. */
static void share_prepare(struct program *program, const struct call *call, struct range all, int worker, float *normed,
                          struct linear_input *input) {
  const struct kernel_set *kernels = program->device->kernels;
  const struct cpu_layout *layout = &call->layout;
  int n_row = all.count;
  struct range blocks = team_share(program->device->team, ceil_div(n_row, ARRANGED_ROWS), worker);
  bool arrange = kernels->arrange && layout->arranged_bytes && n_row >= kernels->arrange_from;
  if (arrange) input->arranged = program->arranged;
  for (int i = blocks.first; i < blocks.first + blocks.count; i++) {
    struct range rows = {i * ARRANGED_ROWS, ARRANGED_ROWS};
    if (rows.count > n_row - rows.first) rows.count = n_row - rows.first;
    rows_prepare(program, call, all.first, rows, normed, program->prepared);
    if (arrange)
      kernels->arrange(layout, program->prepared + (size_t)rows.first * layout->row_bytes, rows.count,
                       program->arranged + (size_t)i * layout->arranged_bytes);
  }
}

/* Kernels would be given the numbers as they lie in memory already. */
static bool rows_in_place(const struct call *call) {
  const struct cpu_layout *layout = &call->layout;
  const struct op *op = call->op;
  bool floats = layout->scheme.kind == SCHEME_F32 || layout->scheme.kind == SCHEME_F16;
  return floats && layout->scheme.activation == ACTIVATION_FLOAT && layout->arranged_bytes == 0 &&
         op->args.linear.norm == NORM_NONE && layout->cols % UNIT_COLS == 0 && op->out != op->in[0];
}

static struct linear_input input_prepare(struct program *program, const struct call *call, struct range all,
                                         bool adapted, int worker) {
  int n_row = all.count;
  float *normed = (float *)worker_scratch(program, worker);
  struct linear_input input = {.rows = program->prepared, .row_bytes = call->layout.row_bytes, .n_row = n_row};
  if (!adapted && rows_in_place(call)) {
    input.rows = value_row(program, call->op->in[0], all.first);
    input.row_bytes = value_cols(program, call->op->in[0]) * sizeof(float);
  } else if (!adapted && prepared_alone(&call->layout, n_row)) {
    uint8_t *rows = (uint8_t *)(normed + (call->layout.cols + 15) / 16 * 16);
    rows_prepare(program, call, all.first, (struct range){0, n_row}, normed, rows);
    input.rows = rows;
  } else {
    share_prepare(program, call, all, worker, normed, &input);
    if (adapted) adapters_shrink(program, &program->pairs, call, worker, normed);
    team_barrier(program->device->team);
  }
  return input;
}

/* Where a linear's products go, and with what. */
struct linear_output {
  struct linear_tail tail;
  float *out;
  size_t stride;
};

/* Of rows from `base` on. */
static struct linear_output output_make(const struct program *program, const struct call *call, int base) {
  const struct op *op = call->op;
  const struct linear_args *args = &op->args.linear;
  bool post = args->post_norm != NORM_NONE;
  size_t cols = value_cols(program, op->out);
  float *out = post ? program->unnormed : value_row(program, op->out, base);
  int rows = plan_weights(program->plan)[op->weight[0]].rows;
  struct linear_output output = {.out = out + args->column, .stride = cols};
  output.tail = (struct linear_tail){.bias = program_vector(program, op->weight[1]),
                                     .scale = args->scale,
                                     .softcap = args->softcap,
                                     .limit = args->limit,
                                     .up_add = args->up_add,
                                     .act = args->act,
                                     .gated = args->gated,
                                     .multiply = args->multiply,
                                     .out_cols = args->gated ? (int)cols : rows};
  if (op->in[1] >= 0 && (!post || args->post_sum)) {
    output.tail.residual = value_row(program, op->in[1], base);
    output.tail.residual_stride = cols;
  }
  return output;
}

/* Units of tiles times some rows of the input. */
static void part_run(const struct program *program, const struct call *call, struct range units, struct range rows,
                     const struct linear_input *input, const struct linear_output *output) {
  struct linear_input part = *input;
  struct linear_tail tail = output->tail;
  part.rows = (const uint8_t *)input->rows + (size_t)rows.first * input->row_bytes;
  part.n_row = rows.count;
  if (part.arranged) part.arranged += (size_t)(rows.first / ARRANGED_ROWS) * call->layout.arranged_bytes;
  if (tail.residual) tail.residual += (size_t)rows.first * tail.residual_stride;
  if (tail.adapters) tail.adapters += rows.first * ROW_LORAS;
  program->device->kernels->linear(&call->layout, program->weight[call->op->weight[0]], units.first * call->unit_tiles,
                                   units.count * call->unit_tiles, &part, &tail,
                                   output->out + (size_t)rows.first * output->stride, output->stride);
}

/* Large batches: claims over units, and over parts of the rows where units alone are too few for the team. */
static void product_run_large(struct program *program, const struct call *call, const struct linear_input *input,
                              const struct linear_output *output) {
  struct team *team = program->device->team;
  int claims = CLAIMS_PER_WORKER * team_size(team), n_part = 1;
  int chunk = call->n_unit / claims > 0 ? call->n_unit / claims : 1;
  if (call->n_unit >= 2 * team_size(team)) chunk += chunk * call->unit_tiles % KERNEL_TILES;
  int n_chunk = ceil_div(call->n_unit, chunk);
  if (n_chunk < claims / 2) n_part = ceil_div(claims / 2, n_chunk);
  if (n_part > input->n_row / PART_ROWS) n_part = input->n_row < PART_ROWS ? 1 : input->n_row / PART_ROWS;
  int part_rows = ceil_div(ceil_div(input->n_row, n_part), ARRANGED_ROWS) * ARRANGED_ROWS;
  n_part = ceil_div(input->n_row, part_rows);
  for (struct range item; team_claim(team, n_chunk * n_part, 1, &item);) {
    struct range units = {item.first / n_part * chunk, chunk}, rows = {item.first % n_part * part_rows, part_rows};
    if (units.count > call->n_unit - units.first) units.count = call->n_unit - units.first;
    if (rows.count > input->n_row - rows.first) rows.count = input->n_row - rows.first;
    part_run(program, call, units, rows, input, output);
  }
}

static void product_run(struct program *program, const struct call *call, const struct linear_input *input,
                        const struct linear_output *output, int worker) {
  struct team *team = program->device->team;
  struct range all = {0, input->n_row}, units;
  if (input->n_row > 2 * program->limits.opt_batch && input->n_row > 1) {
    product_run_large(program, call, input, output);
  } else if (call->chunk == 0) {
    units = team_share(team, call->n_unit, worker);
    if (units.count) part_run(program, call, units, all, input, output);
  } else {
    while (team_claim(team, call->n_unit, call->chunk, &units)) part_run(program, call, units, all, input, output);
  }
}

/* Columns of a linear's result. */
static size_t result_cols(const struct program *program, const struct op *op) {
  if (op->args.linear.gated) return value_cols(program, op->out);
  return (size_t)plan_weights(program->plan)[op->weight[0]].rows;
}

/* out = residual + norm(unnormed), whole rows of the result; of a sum that is in already, its norm. */
static void post_norm_run(struct program *program, const struct call *call, struct range all, int worker) {
  struct team *team = program->device->team;
  const struct op *op = call->op;
  size_t stride = value_cols(program, op->out), cols = result_cols(program, op), at = (size_t)op->args.linear.column;
  team_barrier(team);
  struct range rows = team_share(team, all.count, worker);
  for (int i = rows.first; i < rows.first + rows.count; i++) {
    float *x = program->unnormed + (size_t)i * stride + at, *out = value_row(program, op->out, all.first + i) + at;
    const struct linear_args *args = &op->args.linear;
    const float *residual = op->in[1] >= 0 && !args->post_sum ? value_row(program, op->in[1], all.first + i) : NULL;
    float *y = residual ? x : out;
    row_norm(program, args->post_norm, x, op->weight[3], (int)cols, args->post_eps, y);
    for (size_t c = 0; residual && c < cols; c++) out[c] = residual[c] + y[c];
  }
}

void call_linear(struct program *program, const struct call *call, struct range rows, int worker) {
  if (rows.count == 0) return;
  bool adapted = program->pairs.n > 0 && adapters_meet(program, call);
  struct linear_input input = input_prepare(program, call, rows, adapted, worker);
  struct linear_output output = output_make(program, call, rows.first);
  if (adapted) output.tail.adapters = program->pairs.use;
  product_run(program, call, &input, &output, worker);
  if (call->op->args.linear.post_norm != NORM_NONE) post_norm_run(program, call, rows, worker);
}
