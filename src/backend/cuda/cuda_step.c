/* A step on a GPU: the batch goes over in one copy, the ops follow one another in the stream, the last draws tokens and
 * writes them into the host's memory. Submitting waits for nothing, collecting for the oldest step's event. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

#define SAME(ours, plans) _Static_assert((int)(ours) == (int)(plans), "kernels know the plan's numbers by other names")
SAME(KIND_F32, SCHEME_F32);
SAME(KIND_F16, SCHEME_F16);
SAME(KIND_BF16, SCHEME_BF16);
SAME(KIND_INT, SCHEME_INT);
SAME(LEVEL_F32, SCALE_F32);
SAME(LEVEL_F16, SCALE_F16);
SAME(LEVEL_BF16, SCALE_BF16);
SAME(LEVEL_TWO, SCALE_TWO_LEVEL);
SAME(CURVE_GELU, ACT_GELU_TANH);
SAME(ROTATE_PAIRS, ROPE_PAIRS);

/* In order: one may copy what an earlier one has written. */
static bool blocks_copy(struct program *p, const struct batch *batch, struct error *error) {
  for (int i = 0; i < batch->n_copy; i++) {
    const struct kv_copy *copy = batch->copy + i;
    size_t bytes = p->block_bytes[copy->group];
    uint8_t *cache = p->cache[copy->group];
    if (!cuda_check(cudaMemcpyAsync(cache + copy->to * bytes, cache + copy->from * bytes, bytes,
                                    cudaMemcpyDeviceToDevice, p->device->stream),
                    "copying KV blocks", error))
      return false;
  }
  return true;
}

/* --- ops ---------------------------------------------------------------------------------------------------------- */

struct cuda_matrix cuda_matrix_of(const struct program *p, int weight) {
  struct cuda_layout layout = cuda_layout_of(plan_weights(p->plan) + weight);
  const struct cpu_layout *c = &layout.cpu;
  const struct scheme *s = &c->scheme;
  return (struct cuda_matrix){.data = p->weight[weight],
                              .rows = layout.rows,
                              .cols = layout.cols,
                              .strip_bytes = layout.strip_bytes,
                              .kind = s->kind,
                              .pieces = layout.pieces,
                              .bits = s->bits,
                              .high_bits = s->high_bits,
                              .scale = s->scale,
                              .has_min = s->has_min,
                              .codebook = s->codebook,
                              .unit = codebook_unit(s->codebook),
                              .activation = s->activation,
                              .group = s->group,
                              .block_cols = c->block_units * UNIT_COLS,
                              .offset = s->kind == SCHEME_INT ? scheme_offset(s) : 0,
                              .high_at = (uint32_t)c->high_at,
                              .scale_at = (uint32_t)c->scale_at,
                              .min_at = (uint32_t)c->min_at,
                              .super_at = (uint32_t)c->super_at,
                              .super_min_at = (uint32_t)c->super_min_at,
                              .block_bytes = (uint32_t)c->block_bytes,
                              .exponent = p->exponent[weight]};
}

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
  if (index == p->n_body || index >= p->plan->n_op || !cuda_linear_fast(p->device->path, p->plan, next)) return NULL;
  bool whole = a->result_cols == a->out_cols && a->result_cols % 64 == 0 &&
               plan_weights(p->plan)[next->weight[0]].cols == a->result_cols;
  if (next->in[0] != op->out || !whole || a->has_post_norm) return NULL;
  return a->gated && next->args.linear.norm != NORM_NONE ? NULL : next;
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
  const struct op *next = p->device->path->chained ? next_linear(p, op, a) : NULL;
  inputs_hand_over(p, op, next, a);
  p->chain[p->n_chain++] = *a;
  if (next && p->n_chain < LINEAR_CHAIN) return;
  p->device->path->linear_few(p->chain, p->n_chain, p->arrived, p->device->multiprocessors, p->device->stream);
  p->n_chain = 0;
}

/* Does any op but the next read what this one makes, before another overwrites it? */
static bool read_later(const struct program *p, const struct op *op) {
  for (const struct op *o = op + 2; o < plan_ops(p->plan) + p->plan->n_op; o++) {
    if (o->in[0] == op->out || o->in[1] == op->out) return true;
    if (o->out == op->out) return false;
  }
  return plan_result(p->plan) == op->out;
}

/* Of many tokens: a gated linear leaves what it makes to the next one alone, in bf16 tiles; one that only adds leaves
 * it to both where there are not so many that norms, at the end of each tile, take longer than a kernel of their own.
 */
enum { NORMED_MOST = 256 };
static const struct op *next_of_many(const struct program *p, const struct op *op, const struct cuda_linear *a) {
  const struct op *next = p->device->path->chained && !a->bias && !(a->softcap > 0) ? next_linear(p, op, a) : NULL;
  bool gated = a->gated && a->act && a->act != CURVE_GELU && !a->residual;
  bool sums = !a->gated && !a->act && !a->multiply && a->residual && a->residual_cols % 4 == 0;
  if (!next || (sums && (a->n_row <= NORMED_MOST || a->one_order))) return next;
  return gated && next->in[1] != op->out && !read_later(p, op) ? next : NULL;
}

static void run_linear(struct program *p, const struct op *op) {
  struct cuda_linear a = linear_of(p, op);
  a.result_cols = a.gated ? a.out_cols : a.matrix.rows;
  if (!cuda_linear_fast(p->device->path, p->plan, op)) {
    p->ready = NULL;
    cuda_linear_plain(&a, p->device->stream);
  } else if (a.n_row <= p->device->path->few && !a.one_order) {
    run_few(p, op, &a);
  } else {
    inputs_hand_over(p, op, next_of_many(p, op, &a), &a);
    p->device->path->linear_many(&a, p->device->multiprocessors, p->device->stream);
  }
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
  return cuda_send(p, slot, batch, error) && blocks_copy(p, batch, error) && cuda_part_run(p, CUDA_BODY, error);
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
