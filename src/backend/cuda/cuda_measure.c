/* Sizes of a program on a GPU. Host code without a device. */
#include "backend/backends.h"
#include "backend/cuda/cuda_program.h"
#include "backend/row_passes.h"

#include <inttypes.h>

enum { SLAB_ALIGN = 64, RULES_LEAST = 256 << 10, RULES_MOST = 8 << 20 };

size_t cuda_rows_most(const struct plan *plan, const struct limits *limits, int value) {
  return (size_t)(plan_values(plan)[value].rows == ROWS_OUTPUTS ? limits->outputs : limits->tokens);
}

static size_t size_max(size_t a, size_t b) { return a > b ? a : b; }

bool cuda_read_later(const struct plan *plan, const struct op *op) {
  for (const struct op *o = op + 2; o < plan_ops(plan) + plan->n_op; o++) {
    if (o->in[0] == op->out || o->in[1] == op->out || o->in[2] == op->out) return true;
    if (o->out == op->out) return false;
  }
  return plan_result(plan) == op->out;
}

bool cuda_linear_fast(const struct cuda_path *path, const struct plan *plan, const struct op *op) {
  if (op->kind != OP_LINEAR || cuda_op_has_experts(op)) return false;
  enum scheme_kind kind = plan_weights(plan)[op->weight[0]].scheme.kind;
  return kind == SCHEME_BF16 || (kind == SCHEME_F16 && (!path || path->half_weights));
}

bool cuda_linear_bytes_fit(const struct cuda_path *path, const struct plan *plan, const struct op *op) {
  if (op->kind != OP_LINEAR || cuda_op_has_experts(op)) return false;
  const struct weight *weight = plan_weights(plan) + op->weight[0];
  bool rows = weight->scheme.group == 0; /* have one scale each */
  return cuda_layout_of(weight).bytes && rows && weight->scheme.activation > ACTIVATION_INT8 &&
         (!path || path->linear_bytes);
}

bool cuda_linear_coded_fit(const struct cuda_path *path, const struct plan *plan, const struct op *op) {
  if (op->kind != OP_LINEAR || cuda_op_has_experts(op)) return false;
  const struct weight *weight = plan_weights(plan) + op->weight[0];
  struct cuda_layout layout = cuda_layout_of(weight);
  return (layout.bytes || layout.nibbles) && !weight->scheme.codebook &&
         weight->scheme.activation == ACTIVATION_FLOAT && (!path || path->linear_coded);
}

/* Never of outputs: few are wanted of most steps, and the vocabulary's matrix would take a gigabyte. */
int cuda_linear_packed_most(const struct cuda_path *path, const struct plan *plan, const struct op *op) {
  if (!cuda_linear_coded_fit(path, plan, op) || plan_values(plan)[op->out].rows == ROWS_OUTPUTS) return INT32_MAX;
  return cuda_layout_of(plan_weights(plan) + op->weight[0]).nibbles ? LINEAR_PACKED_4 : LINEAR_PACKED_8;
}

size_t cuda_expanded_strip(const struct weight *weight) {
  return ((size_t)weight->cols + PIECE_COLS - 1) / PIECE_COLS * PIECE_BYTES;
}

/* In whole chunks; twice, for counts. */
size_t cuda_room_most(const struct plan *plan, const struct limits *limits) {
  size_t rows = (size_t)(limits->outputs < CUDA_ROOM_ROWS ? limits->outputs : CUDA_ROOM_ROWS);
  return rows * 2 * (((size_t)plan->vocab + ROW_CHUNK - 1) / ROW_CHUNK * ROW_CHUNK);
}

size_t cuda_exponents_of(const struct weight *weight) {
  return weight->scheme.kind == SCHEME_BF16 && weight->n_expert == 0
             ? ((size_t)weight->rows + STRIP_ROWS - 1) / STRIP_ROWS
             : 0;
}

bool cuda_linear_ends_apart(const struct op *op) {
  const struct linear_args *a = &op->args.linear;
  return op->kind == OP_LINEAR &&
         (a->act > ACT_GELU_TANH || a->post_norm == NORM_LAYER || a->post_sum || a->limit > 0 || a->up_add != 0);
}

static void linear_need(const struct plan *plan, const struct limits *limits, const struct op *op,
                        struct cuda_linear_needs *most) {
  const struct weight *weight = plan_weights(plan) + op->weight[0];
  size_t rows = cuda_rows_most(plan, limits, op->in[0]), cols = (size_t)weight->cols;
  bool always = weight->scheme.kind == SCHEME_BF16; /* fp16 by the path */
  bool units = cuda_linear_bytes_fit(NULL, plan, op) || cuda_linear_coded_fit(NULL, plan, op);
  if (!always || op->args.linear.post_norm != NORM_NONE)
    most->product = size_max(most->product, rows * (size_t)weight->rows);
  if (cuda_linear_ends_apart(op) && plan->role != PLAN_VISION)
    most->ended = size_max(most->ended, rows * (size_t)weight->rows);
  uint32_t between = cuda_between_units(weight->cols);
  if ((always || units) && between > most->between) most->between = between;
  if (cuda_linear_fast(NULL, plan, op) || units) /* bytes may come as bf16 */
    most->fragments = size_max(most->fragments, (rows + 63) / 64 * 64 * ((cols + 127) / 128 * 128) * 2);
  if (rows > (size_t)cuda_linear_packed_most(NULL, plan, op))
    most->expanded = size_max(most->expanded, cuda_expanded_strip(weight) * (((size_t)weight->rows + 15) / 16));
  if (!always || op->args.linear.norm == NORM_LAYER) most->prepared = size_max(most->prepared, rows * cols);
  most->squares = size_max(most->squares, size_max(rows * (cols / 16), rows)); /* or scales of rows */
}

struct cuda_linear_needs cuda_linear_most(const struct plan *plan, const struct limits *limits) {
  struct cuda_linear_needs most = {.prepared = 1, .product = 1, .squares = 1, .fragments = 1, .between = 1};
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind == OP_LINEAR) (cuda_op_has_experts(op) ? cuda_experts_need : linear_need)(plan, limits, op, &most);
  }
  struct cuda_adapter_needs adapters = cuda_adapter_most(plan, limits);
  most.product = size_max(most.product, adapters.product);
  if (adapters.part_bytes > 0) most.between += ADAPTER_BETWEEN;
  return most;
}

size_t cuda_block_bytes(const struct plan *plan, const struct limits *limits, int group) {
  const struct kv_group *g = plan_groups(plan) + group;
  size_t numbers = (size_t)kv_group_numbers(g), token = numbers * (limits->kv_dtype == KV_F32 ? 4 : 2);
  if (limits->kv_dtype >= KV_E4M3)
    token = numbers + (g->value_in_key ? 1 : 2) * sizeof(float); /* codes, and a scale of the key's and the value's */
  return (size_t)g->n_layer * (size_t)g->n_head * (size_t)limits->block_size * token;
}

static const void *take(uint8_t *base, size_t *used, size_t count, size_t size) {
  const void *at = base + *used;
  *used += (count * size + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN;
  return at;
}

size_t cuda_slab_lay(const struct plan *plan, bool sees, size_t n_table, uint8_t *slab, struct cuda_batch *batch,
                     struct cuda_places *at) {
  size_t used = 0, rows = (size_t)batch->n_row, tokens = (size_t)batch->n_token, outputs = (size_t)batch->n_out;
  size_t groups = plan->role != PLAN_DECODER ? 1 : (size_t)plan->n_group; /* that have chunks */
  bool places = plan_has_axes(plan) || plan->role == PLAN_ENCODER,
       spans = plan->role == PLAN_VISION && plan_has_spans(plan);
  batch->results = take(slab, &used, 1, sizeof *batch->results);
  batch->draw = take(slab, &used, outputs, sizeof *batch->draw);
  batch->out = take(slab, &used, outputs, sizeof *batch->out);
  batch->row = take(slab, &used, rows, sizeof *batch->row);
  batch->token = take(slab, &used, tokens, sizeof *batch->token);
  batch->token_row = take(slab, &used, tokens, sizeof *batch->token_row);
  batch->see = take(slab, &used, sees ? tokens : 0, sizeof *batch->see);
  at->place = take(slab, &used, places ? tokens : 0, 3 * sizeof *at->place);
  at->span = take(slab, &used, spans ? tokens : 0, 2 * sizeof *at->span);
  batch->cut = take(slab, &used, (size_t)plan->n_group * (ATTEND_SHARES + 1), sizeof *batch->cut);
  batch->chunk = take(slab, &used, groups * (size_t)batch->n_chunk, sizeof *batch->chunk);
  batch->rules = take(slab, &used, outputs, sizeof *batch->rules);
  batch->tables = take(slab, &used, n_table, sizeof *batch->tables); /* last: graphs fix where the others are */
  if (!sees) batch->see = NULL;
  if (!places) at->place = NULL;
  if (!spans) at->span = NULL;
  return used;
}

/* Blocks that a step's tables name. */
static size_t tables_most(const struct plan *plan, const struct limits *limits) {
  size_t blocks = (size_t)((limits->length + limits->block_size - 1) / limits->block_size);
  if (plan->role != PLAN_DECODER) return cuda_image_tables(limits->seats, limits->tokens);
  return (size_t)limits->seats * (size_t)plan->n_group * blocks;
}

size_t cuda_slab_most(const struct plan *plan, const struct limits *limits) {
  struct cuda_batch largest = {.n_row = limits->seats,
                               .n_token = limits->tokens,
                               .n_out = limits->outputs,
                               .n_chunk = cuda_chunks_most(plan, limits, limits->tokens, limits->seats)};
  struct cuda_places places;
  size_t histories = (size_t)limits->outputs * (size_t)limits->length * sizeof(int32_t);
  size_t pooled = limits->pool ? (size_t)limits->tokens * sizeof(int32_t) + CUDA_ROOM_ALIGN : 0;
  return cuda_slab_lay(plan, true, tables_most(plan, limits), NULL, &largest, &places) + pooled +
         (histories < RULES_MOST ? histories : RULES_MOST) + RULES_LEAST;
}

/* --- graphs --------------------------------------------------------------------------------------------------------
 */

/* Every size up to 8, then steps in which kernels of few rows go, then about an eighth. */
static int32_t rows_next(int32_t rows) {
  int32_t step = rows < 8 ? 1 : rows < 64 ? 8 : rows < 128 ? 16 : rows < 256 ? 32 : rows < 512 ? 64 : 128;
  return (rows / step + 1) * step;
}

static int32_t rows_most(const struct limits *limits) {
  int32_t most = limits->tokens < limits->outputs ? limits->tokens : limits->outputs;
  return limits->seats < most ? limits->seats : most;
}

int cuda_graph_sizes(const struct limits *limits, int32_t rows[CUDA_GRAPHS]) {
  int32_t most = rows_most(limits), last = 0;
  int n = 0;
  for (; last < most && n < CUDA_GRAPHS; last = rows[n++]) rows[n] = rows_next(last) < most ? rows_next(last) : most;
  return n;
}

/* What the driver keeps of a launch, as measured; an op is two as a rule, and the head is in three of the graphs. */
static uint64_t graphs_bytes(const struct plan *plan, const struct limits *limits, int n_hosted) {
  enum { LAUNCH_BYTES = 3 << 10, OP_LAUNCHES = 2, ADAPTED_LAUNCHES = 5, EXPERTS_LAUNCHES = 6 };
  int32_t rows[CUDA_GRAPHS];
  uint64_t launches = (uint64_t)(plan->n_op + 7) * OP_LAUNCHES;
  launches += (uint64_t)n_hosted; /* each is fetched */
  if (limits->adapters > 0) launches += (uint64_t)plan->n_op * ADAPTED_LAUNCHES;
  if (limits->adapters > 0 && cuda_adapter_experts(plan) > 0) launches += (uint64_t)plan->n_op * EXPERTS_LAUNCHES;
  return (uint64_t)cuda_graph_sizes(limits, rows) * launches * LAUNCH_BYTES;
}

/* Large ones have pages of their own, small ones share some. */
static uint64_t buffer_room(size_t bytes) {
  enum { PAGE = 2 << 20, SHARE = 512 };
  size_t unit = bytes > PAGE / 2 ? PAGE : SHARE;
  return (bytes + unit - 1) / unit * unit;
}

static bool bytes_add(void *user, void *place, size_t bytes) {
  uint64_t *sum = user;
  (void)place;
  *sum += buffer_room(bytes);
  return true;
}

/* Kernels count in 32 bits within a head's keys and values of a block. Long ones are CONTIGUOUS caches'. */
static bool blocks_fit(const struct plan *plan, const struct limits *limits, struct error *error) {
  for (int i = 0; i < plan->n_group; i++) {
    const struct kv_group *g = plan_groups(plan) + i;
    uint64_t bytes = (uint64_t)limits->block_size * (uint64_t)kv_group_numbers(g) * sizeof(uint16_t);
    if (bytes > INT32_MAX)
      return error_set(error, ERROR_UNSUPPORTED,
                       "A block of the KV cache has %d tokens, %" PRIu64
                       " MiB of each head, and a GPU's kernels take less than 2048: build the engine with "
                       "kv_cache_type PAGED, or a smaller max_seq_len.",
                       limits->block_size, bytes >> 20);
  }
  return true;
}

bool cuda_measure(const struct plan *plan, const struct limits *limits, struct footprint *footprint,
                  struct error *error) {
  if (!pool_limits_check(plan, limits, error)) return false;
  if (limits->kv_dtype >= KV_E4M3 && plan->role == PLAN_DECODER && limits->block_size < CODE_TOKENS)
    return error_set(error, ERROR_UNSUPPORTED,
                     "A KV cache in %s has blocks of %d tokens or more, not of %d: give another block_size.",
                     kv_dtype_name(limits->kv_dtype), CODE_TOKENS, limits->block_size);
  if (!blocks_fit(plan, limits, error)) return false;
  struct program measured = {.plan = plan, .limits = *limits};
  uint64_t buffers = 0;
  cuda_buffers_visit(&measured, bytes_add, &buffers);
  struct cuda_weight_needs weights = cuda_weights_most(plan, limits);
  *footprint = (struct footprint){.weights = weights.device, .host_weights = weights.host};
  footprint->workspace = buffers - footprint->weights + graphs_bytes(plan, limits, weights.n_hosted);
  for (int g = 0; g < plan->n_group; g++) footprint->kv_block[g] = cuda_block_bytes(plan, limits, g);
  return true;
}
