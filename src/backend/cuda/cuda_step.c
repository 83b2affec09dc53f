/* A step on a GPU: the batch goes over in one copy, the ops follow one another in the stream, the last draws tokens and
 * writes them into the host's memory. Submitting waits for nothing, collecting for the oldest step's event. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

enum { NORMED_MOST = 256 };

/* --- ops ---------------------------------------------------------------------------------------------------------- */

static int32_t cols_of(const struct program *p, int value) { return plan_values(p->plan)[value].cols; }

static int32_t rows_of(const struct program *p, int value) {
  return plan_values(p->plan)[value].rows == ROWS_OUTPUTS ? p->on_device.n_out : p->on_device.n_token;
}

static struct cuda_linear linear_of(const struct program *p, const struct op *op) {
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

/* The linear that follows and takes what this one makes, whole and alone; NULL: there is none. It can then be left its
 * input as the matrix units want it. */
static const struct op *next_linear(const struct program *p, const struct op *op, const struct cuda_linear *a) {
  const struct op *next = op + 1;
  int index = (int)(next - plan_ops(p->plan));
  if (!p->device->path->chained || index == p->n_body || index >= p->plan->n_op || next->kind != OP_LINEAR) return NULL;
  bool whole = a->result_cols == a->out_cols && a->result_cols % 64 == 0 &&
               plan_weights(p->plan)[next->weight[0]].cols == a->result_cols;
  if (next->in[0] != op->out || !whole || a->has_post_norm) return NULL;
  return a->gated && next->args.linear.norm != NORM_NONE ? NULL : next;
}

/* The same of weights that few tokens' linears stream. */
static const struct op *next_of_few(const struct program *p, const struct op *op, const struct cuda_linear *a) {
  const struct cuda_path *path = p->device->path;
  const struct op *next = next_linear(p, op, a);
  bool streams = next && (cuda_linear_fast(path, p->plan, next) || cuda_linear_coded_fit(path, p->plan, next));
  return streams ? next : NULL;
}

/* Takes what the linear before has left, and leaves the next one its input; NULL: none. */
static void inputs_hand_over(struct program *p, const struct op *op, const struct op *next, struct cuda_linear *a) {
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

static void run_few(struct program *p, const struct op *op, struct cuda_linear *a) {
  const struct op *next = next_of_few(p, op, a);
  inputs_hand_over(p, op, next, a);
  p->chain[p->n_chain++] = *a;
  if (next && cuda_linear_fast(p->device->path, p->plan, next) && p->n_chain < LINEAR_CHAIN) return;
  p->device->path->linear_few(p->chain, p->n_chain, &p->between, p->device->multiprocessors, p->device->stream);
  p->n_chain = 0;
}

/* batch_invariant: a row has the same bytes as among many, whose linears leave each other nothing. Nor do those that
 * round tokens, whose scale is of a whole row. */
static void run_coded(struct program *p, const struct op *op, struct cuda_linear *a) {
  if (a->n_row <= LINEAR_FEW && !a->one_order && !a->matrix.activation)
    inputs_hand_over(p, op, next_of_few(p, op, a), a);
  else
    p->ready = NULL;
  p->device->path->linear_coded(a, p->device->multiprocessors, p->device->stream);
}

/* Does any op but the next read what this one makes, before another overwrites it? */
static bool read_later(const struct program *p, const struct op *op) {
  for (const struct op *o = op + 2; o < plan_ops(p->plan) + p->plan->n_op; o++) {
    if (o->in[0] == op->out || o->in[1] == op->out) return true;
    if (o->out == op->out) return false;
  }
  return plan_result(p->plan) == op->out;
}

/* A gated linear of many tokens can leave what it makes to the next one alone, in bf16 tiles, which one of bytes takes
 * as well. */
static const struct op *next_of_gated(const struct program *p, const struct op *op, const struct cuda_linear *a) {
  bool plain = a->gated && a->act && a->act != CURVE_GELU && !a->residual && !a->bias && !(a->softcap > 0);
  const struct cuda_path *path = p->device->path;
  const struct op *next = plain ? next_linear(p, op, a) : NULL;
  if (!next || next->in[1] == op->out || read_later(p, op)) return NULL;
  return cuda_linear_fast(path, p->plan, next) || cuda_linear_bytes_fit(path, p->plan, next) ? next : NULL;
}

/* And one that only adds can leave it to both, where there are not so many tokens that norms, at the end of each tile,
 * take longer than a kernel of their own. */
static const struct op *next_of_many(const struct program *p, const struct op *op, const struct cuda_linear *a) {
  bool sums = !a->gated && !a->act && !a->multiply && a->residual && a->residual_cols % 4 == 0;
  if (!sums) return next_of_gated(p, op, a);
  if (a->n_row > NORMED_MOST && !a->one_order) return NULL;
  const struct op *next = !a->bias && !(a->softcap > 0) ? next_linear(p, op, a) : NULL;
  return next && cuda_linear_fast(p->device->path, p->plan, next) ? next : NULL;
}

static void run_many(struct program *p, const struct op *op, struct cuda_linear *a) {
  inputs_hand_over(p, op, next_of_many(p, op, a), a);
  p->device->path->linear_many(a, p->device->multiprocessors, p->device->stream);
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

static void run_linear(struct program *p, const struct op *op) {
  struct cuda_linear a = linear_of(p, op);
  bool fast = cuda_linear_fast(p->device->path, p->plan, op);
  a.result_cols = a.gated ? a.out_cols : a.matrix.rows;
  if (fast && a.n_row <= p->device->path->few && !a.one_order) {
    run_few(p, op, &a);
    return;
  }
  if (fast) {
    run_many(p, op, &a);
    return;
  }
  if (cuda_linear_coded_fit(p->device->path, p->plan, op)) {
    run_coded(p, op, &a);
    return;
  }
  if (cuda_linear_bytes_fit(p->device->path, p->plan, op)) {
    if (a.n_row <= LINEAR_FEW && !a.one_order)
      run_coded(p, op, &a);
    else
      run_bytes(p, op, &a);
    return;
  }
  p->ready = NULL;
  cuda_linear_plain(&a, p->device->stream);
}

static void run_sample(struct program *p, const struct op *op) {
  struct cuda_sample a = {.logits = p->value[op->in[0]],
                          .draw = p->on_device.draw,
                          .rules = p->ruled ? p->on_device.rules : NULL,
                          .results = p->on_device.results,
                          .last = p->last,
                          .vocab = p->plan->vocab,
                          .block_chunks = p->chunks,
                          .room = p->room,
                          .rows = CUDA_ROOM_ROWS};
  if (p->chunks > 0) p->device->path->sample(&a, p->on_device.n_out, p->device->stream);
}

static void op_run(struct program *p, const struct op *op) {
  struct cuda_matrix table;
  switch (op->kind) {
  case OP_EMBED:
    table = cuda_matrix_of(p, op->weight[0]);
    cuda_embed(&table, &p->on_device, op->args.embed.scale, p->value[op->out], cols_of(p, op->out), p->device->stream);
    break;
  case OP_LINEAR: run_linear(p, op); break;
  case OP_ATTEND: cuda_attention_run(p, op); break;
  case OP_SELECT:
    cuda_select(p->value[op->in[0]], p->value[op->out], cols_of(p, op->out), &p->on_device, p->device->stream);
    break;
  case OP_SAMPLE: run_sample(p, op); break;
  }
}

bool cuda_ops_run(struct program *p, int first, int end, struct error *error) {
  p->n_chain = 0;
  if (first == 0) cuda_attention_begin(p);
  for (int i = first; i < end; i++) {
    op_run(p, plan_ops(p->plan) + i);
    if (!cuda_check(cudaGetLastError(), op_kind_name(plan_ops(p->plan)[i].kind), error)) return false;
  }
  return true;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

/* The slot that is free next: `submit` begins with it, `finish` ends. */
static struct cuda_slot *slot_next(struct program *p) {
  return &p->slot[(p->oldest + p->n_slot) % (CUDA_RUN_AHEAD + 1)];
}

bool cuda_submit(struct program *p, const struct batch *batch, struct error *error) {
  struct cuda_slot *slot = slot_next(p);
  p->batch = batch;
  slot->n_out = batch->n_out;
  slot->want_logits = batch->want_logits;
  return cuda_send(p, slot, batch, error) && cuda_part_run(p, CUDA_BODY, error);
}

static const float *logits_of(const struct program *p) { return p->value[plan_result(p->plan)]; }

static bool samples(const struct program *p) { return plan_ops(p->plan)[p->plan->n_op - 1].kind == OP_SAMPLE; }

static bool logits_copy(struct program *p, struct error *error) {
  size_t bytes = (size_t)p->batch->n_out * (size_t)plan_values(p->plan)[plan_result(p->plan)].cols * sizeof(float);
  return cuda_check(cudaMemcpyAsync(p->logits, logits_of(p), bytes, cudaMemcpyDeviceToHost, p->device->stream),
                    "copying logits from the GPU", error);
}

static bool head_run(struct program *p, struct cuda_slot *slot, const struct masks *masks, struct error *error) {
  if (!cuda_part_run(p, p->ruled ? CUDA_HEAD_RULED : CUDA_HEAD, error) || (slot->want_logits && !logits_copy(p, error)))
    return false;
  return !samples(p) || cuda_draw_rest(p, slot, masks, logits_of(p), error);
}

bool cuda_finish(struct program *p, const struct masks *masks, struct error *error) {
  struct cuda_slot *slot = slot_next(p);
  if (p->batch->n_out > 0 && !head_run(p, slot, masks, error)) return false;
  p->batch = NULL;
  p->n_slot++;
  return cuda_check(cudaEventRecord(slot->done, p->device->stream), "marking a step's end", error);
}

static bool logits_finite(const struct cuda_slot *slot, struct error *error) {
  for (int i = 0; i < slot->n_out; i++)
    if (slot->results.token[i] < 0)
      return error_set(error, ERROR_DEVICE,
                       "The step computed logits that are not finite: the weights may be damaged.");
  return true;
}

bool cuda_collect(struct program *p, struct result *result, struct error *error) {
  const struct cuda_slot *slot = &p->slot[p->oldest];
  p->oldest = (p->oldest + 1) % (CUDA_RUN_AHEAD + 1);
  p->n_slot--;
  *result = (struct result){.n_out = slot->n_out,
                            .token = slot->results.token,
                            .logprob = slot->results.logprob,
                            .top = (const struct token_logprob *)slot->results.top,
                            .logits = slot->want_logits ? p->logits : NULL};
  return cuda_check(cudaEventSynchronize(slot->done), "a step", error) && (!samples(p) || logits_finite(slot, error));
}
