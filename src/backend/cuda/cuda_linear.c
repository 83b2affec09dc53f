/* Linears of a step: which kernels run each, and what it leaves to the next. */
#include "backend/cuda/cuda_adapted.h"
#include "backend/cuda/cuda_mixture.h"

enum { NORMED_MOST = 256 };

static int32_t cols_of(const struct program *p, int value) { return plan_values(p->plan)[value].cols; }

static int32_t rows_of(const struct program *p, int value) {
  return plan_values(p->plan)[value].rows == ROWS_OUTPUTS ? p->on_device.n_out : p->on_device.n_token;
}

static struct cuda_linear op_arguments(const struct program *p, const struct op *op) {
  const struct linear_args *args = &op->args.linear;
  return (struct cuda_linear){.matrix = cuda_matrix_of(p, op->weight[0]),
                              .bias = cuda_vector(p, op->weight[1]),
                              .norm = cuda_vector(p, op->weight[2]),
                              .post_norm = cuda_vector(p, op->weight[3]),
                              .in = p->value[op->in[0]],
                              .residual = op->in[1] >= 0 ? p->value[op->in[1]] : NULL,
                              .prepared = p->prepared,
                              .fragments = p->fragments[p->turn],
                              .scales = p->squares[p->turn],
                              .product = p->product,
                              .out = p->value[op->out] + args->column,
                              .n_row = rows_of(p, op->in[0]),
                              .in_cols = cols_of(p, op->in[0]),
                              .out_cols = cols_of(p, op->out),
                              .residual_cols = op->in[1] >= 0 ? cols_of(p, op->in[1]) : 0,
                              .act = args->act,
                              .gated = args->gated,
                              .multiply = args->multiply,
                              .has_norm = args->norm != NORM_NONE,
                              .has_post_norm = args->post_norm != NORM_NONE,
                              .one_order = p->limits.batch_invariant,
                              .eps = args->eps,
                              .post_eps = args->post_eps,
                              .factor = args->scale,
                              .softcap = args->softcap};
}

struct cuda_linear cuda_linear_of(const struct program *p, const struct op *op) {
  struct cuda_linear a = op_arguments(p, op);
  a.result_cols = a.gated ? a.out_cols : a.matrix.rows;
  return a;
}

/* A linear of so few tokens that weights stream, and that may be of a chain. */
static bool is_few(const struct program *p, const struct op *op, int n_row) {
  const struct cuda_path *path = p->device->path;
  if (p->limits.batch_invariant) return false;
  if (cuda_linear_bytes_fit(path, p->plan, op)) {
    bool int8 = plan_weights(p->plan)[op->weight[0]].scheme.kind == SCHEME_INT;
    return n_row <= (int8 ? LINEAR_INT8_FEW : LINEAR_CODED_FEW);
  }
  if (cuda_linear_coded_fit(path, p->plan, op)) return n_row <= LINEAR_CODED_FEW;
  return cuda_linear_fast(path, p->plan, op) && n_row <= path->few;
}

/* With batch_invariant nothing is expanded, so that a row has the same bytes as among few. */
static bool is_expanded(const struct program *p, const struct op *op, int n_row) {
  return !p->limits.batch_invariant && n_row > cuda_linear_packed_most(p->device->path, p->plan, op);
}

/* Weights of 4 or 8 bits whose tokens come and go in tiles. */
static bool is_wide(const struct program *p, const struct op *op, int n_row) {
  bool fit = cuda_linear_coded_fit(p->device->path, p->plan, op) && !p->limits.batch_invariant;
  if (!fit || n_row < LINEAR_WIDE || is_expanded(p, op, n_row)) return false;
  const struct weight *weight = plan_weights(p->plan) + op->weight[0];
  return weight->cols % BYTE_COLS == 0 || cuda_layout_of(weight).nibbles;
}

bool cuda_linear_tiles(const struct program *p, const struct op *op, int n_row) {
  bool bytes = cuda_linear_bytes_fit(p->device->path, p->plan, op) && !is_few(p, op, n_row);
  return n_row > LINEAR_FEW || p->limits.batch_invariant || bytes || is_wide(p, op, n_row);
}

bool cuda_linear_takes(const struct program *p, const struct op *op, int n_row) {
  const struct cuda_path *path = p->device->path;
  if (cuda_linear_fast(path, p->plan, op) || is_few(p, op, n_row) || is_wide(p, op, n_row)) return true;
  if (!cuda_linear_coded_fit(path, p->plan, op) || p->limits.batch_invariant) return false;
  return n_row <= LINEAR_FEW || is_expanded(p, op, n_row);
}

/* In tiles: among few tokens it took longer than a kernel over their logits (SPEED.md). */
bool cuda_linear_greatest(const struct program *p, const struct op *op, int n_row) {
  const struct cuda_path *path = p->device->path;
  const struct linear_args *args = &op->args.linear;
  if (op->kind != OP_LINEAR || !path->greatest || is_few(p, op, n_row)) return false;
  bool plain = !args->gated && !args->act && !(args->softcap > 0) && args->post_norm == NORM_NONE && op->in[1] < 0 &&
               op->weight[1] < 0;
  return plain && (cuda_linear_fast(path, p->plan, op) || cuda_linear_bytes_fit(path, p->plan, op));
}

/* Are adapters' parts the linear's own? ready: its input is left by the op before. FP8 rounds such inputs in registers,
 * others with a scale, after which the shrink has no input. */
static bool takes_pairs(const struct program *p, const struct op *op, int n_row, bool ready) {
  bool rounded = plan_weights(p->plan)[op->weight[0]].scheme.activation == ACTIVATION_E4M3_TOKEN;
  return cuda_adapter_takes(p, op) && is_few(p, op, n_row) && (ready || !rounded);
}

static bool op_takes_pairs(const struct program *p, const struct op *op, int n_row) {
  return takes_pairs(p, op, n_row, p->ready == op);
}

/* Or of its results' making? In tiles of more tokens an expansion apart is faster (SPEED.md). */
static bool ends_adapted(const struct program *p, const struct op *op, int n_row) {
  if (!p->device->path->chained || is_few(p, op, n_row) || n_row > LINEAR_FEW) return false;
  return is_wide(p, op, n_row) && plan_weights(p->plan)[op->weight[0]].cols % BYTE_COLS == 0;
}

/* The linear that follows and takes what this one makes, whole and alone; NULL: there is none. It can then be left its
 * input as the matrix units want it: in tiles or in fragments. */
static const struct op *next_linear(const struct program *p, const struct op *op, const struct cuda_linear *a,
                                    bool tiles) {
  const struct cuda_path *path = p->device->path;
  const struct op *next = op + 1;
  int index = (int)(next - plan_ops(p->plan));
  if (index == p->n_body || index >= p->plan->n_op || p->plan->role != PLAN_DECODER) return NULL;
  if (cuda_mixture_ops(p, next) > 0) return NULL;                       /* it rounds its tokens itself */
  if (p->limits.batch_invariant && p->limits.adapters > 0) return NULL; /* what is left is rounded otherwise */
  if (p->adapted && !(op_takes_pairs(p, op, a->n_row) && takes_pairs(p, next, a->n_row, true))) return NULL;
  if (!cuda_linear_takes(p, next, a->n_row) && !cuda_linear_bytes_fit(path, p->plan, next)) return NULL;
  if (cuda_linear_tiles(p, next, a->n_row) != tiles) return NULL;
  if (cuda_linear_ends_apart(op) || next->args.linear.norm == NORM_LAYER) return NULL;
  bool whole = a->result_cols == a->out_cols && a->result_cols % 64 == 0 &&
               plan_weights(p->plan)[next->weight[0]].cols == a->result_cols;
  if (next->in[0] != op->out || !whole || a->has_post_norm) return NULL;
  return a->gated && next->args.linear.norm != NORM_NONE ? NULL : next;
}

/* The same, of one that takes 16-bit tokens. */
const struct op *cuda_linear_next(const struct program *p, const struct op *op, const struct cuda_linear *a,
                                  bool tiles) {
  const struct op *next = next_linear(p, op, a, tiles);
  return next && cuda_linear_takes(p, next, a->n_row) ? next : NULL;
}

/* Takes what the linear before has left, and leaves the next one its input; NULL: none. */
void cuda_linear_hand_over(struct program *p, const struct op *op, const struct op *next, struct cuda_linear *a) {
  a->ready = p->ready == op;
  if (a->ready && a->has_norm) {
    a->squares = p->squares[p->turn];
    a->n_square = a->matrix.cols / 16;
  }
  p->ready = next;
  if (!next) return;
  bool normed = next->args.linear.norm != NORM_NONE;
  p->turn ^= 1;
  a->next_fragments = p->fragments[p->turn];
  a->next_norm = normed ? cuda_vector(p, next->weight[2]) : NULL;
  a->next_squares = normed ? p->squares[p->turn] : NULL;
}

/* Do weights run in the same kernel? */
static bool same_kernel(const struct program *p, const struct op *op, const struct op *next) {
  struct cuda_matrix a = cuda_matrix_of(p, op->weight[0]), b = cuda_matrix_of(p, next->weight[0]);
  return a.kind == b.kind && a.bytes == b.bytes && a.activation == b.activation && a.group == b.group &&
         a.has_min == b.has_min;
}

static void run_few(struct program *p, const struct op *op, struct cuda_linear *a) {
  const struct cuda_path *path = p->device->path;
  const struct op *next = path->chained ? cuda_linear_next(p, op, a, false) : NULL;
  bool adapted = op_takes_pairs(p, op, a->n_row); /* before the next one is ready instead */
  cuda_linear_hand_over(p, op, next, a);
  p->chain[p->n_chain++] = *a;
  if (next && is_few(p, next, a->n_row) && same_kernel(p, op, next) && p->n_chain < LINEAR_CHAIN) return;
  if (adapted)
    cuda_adapted_chain(p, op - p->n_chain + 1, p->n_chain);
  else if (cuda_linear_coded_fit(path, p->plan, op))
    path->coded_few(p->chain, p->n_chain, &p->between, p->device->multiprocessors, p->device->stream);
  else if (a->matrix.bytes)
    path->bytes_few(p->chain, p->n_chain, &p->between, p->device->multiprocessors, p->device->stream);
  else
    path->linear_few(p->chain, p->n_chain, &p->between, p->device->multiprocessors, p->device->stream);
  p->n_chain = 0;
}

/* batch_invariant: a row has the same bytes as among many, whose linears leave each other nothing. */
static void run_coded(struct program *p, const struct op *op, struct cuda_linear *a) {
  if (a->n_row <= LINEAR_FEW && !a->one_order)
    cuda_linear_hand_over(p, op, cuda_linear_next(p, op, a, false), a);
  else
    p->ready = NULL;
  p->device->path->linear_coded(a, p->device->multiprocessors, p->device->stream);
}

/* A gated linear of many tokens can leave what it makes to the next one alone, in bf16 tiles, which one of bytes takes
 * as well. */
static const struct op *next_of_gated(const struct program *p, const struct op *op, const struct cuda_linear *a) {
  bool plain = a->gated && a->act && a->act != CURVE_GELU && !a->residual && !a->bias && !(a->softcap > 0);
  const struct op *next = plain && p->device->path->chained ? next_linear(p, op, a, true) : NULL;
  return next && next->in[1] != op->out && !cuda_read_later(p->plan, op) ? next : NULL;
}

/* And one that only adds can leave it to both, where there are not so many tokens that norms, at the end of each tile,
 * take longer than a kernel of their own. */
static const struct op *next_of_many(const struct program *p, const struct op *op, const struct cuda_linear *a) {
  bool sums = !a->gated && !a->act && !a->multiply && a->residual && a->residual_cols % 4 == 0;
  if (!sums) return next_of_gated(p, op, a);
  if (a->n_row > NORMED_MOST && !a->one_order) return NULL;
  return p->device->path->chained && !a->bias && !(a->softcap > 0) ? cuda_linear_next(p, op, a, true) : NULL;
}

static void run_many(struct program *p, const struct op *op, struct cuda_linear *a) {
  const struct cuda_path *path = p->device->path;
  cuda_linear_hand_over(p, op, next_of_many(p, op, a), a);
  (a->matrix.nibbles ? path->coded_many : path->linear_many)(a, p->device->multiprocessors, p->device->stream);
}

/* A gated one's results may go to the next linear alone, all others to both. */
static void run_wide(struct program *p, const struct op *op, struct cuda_linear *a) {
  const struct cuda_path *path = p->device->path;
  const struct op *gated = next_of_gated(p, op, a), *next = gated;
  if (!gated && path->chained) next = cuda_linear_next(p, op, a, true);
  cuda_linear_hand_over(p, op, next, a);
  if (gated) a->out = NULL;
  path->coded_wide(a, p->device->multiprocessors, p->device->stream);
}

static void run_expanded(struct program *p, const struct op *op, struct cuda_linear *a) {
  p->device->path->coded_expand(&a->matrix, p->expanded, p->device->stream);
  a->shrunk = false;
  a->matrix.data = p->expanded;
  a->matrix.kind = KIND_BF16, a->matrix.pieces = a->matrix.made = true, a->matrix.bytes = a->matrix.nibbles = false;
  a->matrix.strip_bytes = cuda_expanded_strip(plan_weights(p->plan) + op->weight[0]);
  run_many(p, op, a);
}

/* Its own input may be bf16 tiles, of which its bytes are made in the other fragments. */
static void run_bytes(struct program *p, const struct op *op, struct cuda_linear *a) {
  const void *tiles = p->ready == op ? a->fragments : NULL;
  if (tiles) {
    p->turn ^= 1;
    a->fragments = p->fragments[p->turn], a->scales = p->squares[p->turn];
  }
  const struct op *next = next_of_gated(p, op, a);
  p->ready = next && cuda_linear_bytes_fit(p->device->path, p->plan, next) ? next : NULL;
  if (p->ready) {
    p->turn ^= 1;
    a->next_fragments = p->fragments[p->turn];
  }
  p->device->path->linear_bytes(a, tiles, p->device->multiprocessors, p->device->stream);
}

void cuda_linear_make(struct program *p, const struct op *op, struct cuda_linear *a) {
  if (is_few(p, op, a->n_row)) {
    run_few(p, op, a);
    return;
  }
  if (cuda_linear_fast(p->device->path, p->plan, op)) {
    run_many(p, op, a);
    return;
  }
  if (cuda_linear_coded_fit(p->device->path, p->plan, op)) {
    if (is_expanded(p, op, a->n_row))
      run_expanded(p, op, a);
    else if (is_wide(p, op, a->n_row))
      (a->matrix.nibbles ? run_many : run_wide)(p, op, a);
    else
      run_coded(p, op, a);
    return;
  }
  if (cuda_linear_bytes_fit(p->device->path, p->plan, op)) {
    run_bytes(p, op, a);
    return;
  }
  p->ready = NULL;
  cuda_linear_plain(a, p->device->stream);
}

bool cuda_linear_shrinks(const struct program *p, const struct op *op, int n_row) {
  return p->adapted && !op_takes_pairs(p, op, n_row);
}

void cuda_linear_multiply(struct program *p, const struct op *op, struct cuda_linear *a) {
  if (cuda_linear_shrinks(p, op, a->n_row))
    cuda_adapted_linear(p, op, a, ends_adapted(p, op, a->n_row));
  else
    cuda_linear_make(p, op, a);
}

void cuda_linear_run(struct program *p, const struct op *op) {
  if (cuda_op_has_experts(op)) {
    (cuda_each_fits(p->device->path, p->plan, op) ? cuda_each_run : cuda_experts_run)(p, op);
    return;
  }
  struct cuda_linear a = cuda_linear_of(p, op);
  if (p->part == CUDA_HEAD_GREATEST && op[1].kind == OP_SAMPLE) a.greatest = p->greatest;
  if (op->args.linear.norm == NORM_LAYER || cuda_linear_ends_apart(op))
    cuda_apart_run(p, op, &a);
  else
    cuda_linear_multiply(p, op, &a);
}
