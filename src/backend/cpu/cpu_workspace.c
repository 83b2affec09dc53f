/* The memory of a program's steps, in one mapping: the same walk counts it and deals it out. */
#include "backend/cpu/cpu_program.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { CACHE_LINE = 64, LINE_FLOATS = CACHE_LINE / 4 };

/* Hands out pieces of a mapping; without one (base NULL) it only counts. */
struct cursor {
  uint8_t *base;
  size_t used;
};

static void *cursor_take(struct cursor *cursor, size_t count, size_t size) {
  size_t at = cursor->used;
  cursor->used += (count * size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
  return cursor->base ? cursor->base + at : NULL;
}

static size_t size_max(size_t a, size_t b) { return a > b ? a : b; }

static size_t rows_limit(const struct plan *plan, const struct limits *limits, int value) {
  return (size_t)(plan_values(plan)[value].rows == ROWS_OUTPUTS ? limits->outputs : limits->tokens);
}

/* Experts that a token has. */
static size_t results_of(const struct plan *plan, const struct op *op) {
  if (op->args.linear.expert_mode == EXPERTS_EACH) return (size_t)plan_weights(plan)[op->weight[0]].n_expert;
  return op->in[2] >= 0 ? (size_t)plan_values(plan)[op->in[2]].cols / 2 : 1;
}

/* Bytes of the largest prepared input, of the same arranged, and of the largest result that waits for its post norm. */
static void linear_extent(const struct plan *plan, const struct limits *limits, size_t *prepared, size_t *arranged,
                          size_t *unnormed) {
  *prepared = *arranged = *unnormed = 0;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind != OP_LINEAR) continue;
    const struct weight *weight = plan_weights(plan) + op->weight[0];
    size_t rows = rows_limit(plan, limits, op->in[0]) * results_of(plan, op);
    size_t blocks = (rows + ARRANGED_ROWS - 1) / ARRANGED_ROWS + (size_t)weight->n_expert; /* a last one of each */
    struct cpu_layout layout = cpu_layout_of(weight);
    *prepared = size_max(*prepared, rows * layout.row_bytes);
    *arranged = size_max(*arranged, blocks * layout.arranged_bytes);
    if (op->args.linear.expert_mode == EXPERTS_GATHER)
      *unnormed = size_max(*unnormed, rows * (size_t)layout.rows * sizeof(float));
    if (op->args.linear.post_norm != NORM_NONE)
      *unnormed = size_max(*unnormed, rows * (size_t)plan_values(plan)[op->out].cols * sizeof(float));
  }
}

/* Blocks that the rows of a step take at most, each beginning its own. */
static size_t own_blocks(const struct limits *limits) {
  return (size_t)limits->tokens / KEY_TILE + (size_t)limits->seats;
}

static void own_lay(struct program *program, struct cursor *cursor) {
  size_t n = program->n_own ? own_blocks(&program->limits) : 0;
  program->own_block = cursor_take(cursor, n, sizeof *program->own_block);
  program->own_first = cursor_take(cursor, n ? (size_t)program->limits.seats : 0, sizeof *program->own_first);
  for (int i = 0; i < program->n_own; i++)
    program->own[i].data = cursor_take(cursor, n, program->own[i].layout.block_bytes);
  for (uint32_t i = 0; cursor->base && i < n; i++) program->own_block[i] = i;
}

static void orders_lay(struct program *program, struct cursor *cursor) {
  for (int i = 0; i < program->plan->n_value; i++) {
    const struct value *value = plan_values(program->plan) + i;
    struct expert_order *order = &program->order[i];
    size_t n = value->n_expert, results = (size_t)program->limits.tokens * (size_t)value->cols / 2;
    if (n == 0) continue;
    order->active = cursor_take(cursor, n, sizeof *order->active);
    order->first = cursor_take(cursor, n + 1, sizeof *order->first);
    order->count = cursor_take(cursor, n, sizeof *order->count);
    order->place = cursor_take(cursor, results, sizeof *order->place);
    order->result = cursor_take(cursor, results, sizeof *order->result);
  }
}

/* Numbers that an adapter's shrink has of one row, at most. */
static size_t shrunk_stride_of(const struct plan *plan, const struct limits *limits) {
  size_t parts = 0;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind == OP_LINEAR && plan_weights(plan)[op->weight[0]].n_part > parts)
      parts = plan_weights(plan)[op->weight[0]].n_part;
  }
  return (parts * (size_t)limits->adapter_rank + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;
}

static void pairs_lay(struct adapter_pairs *pairs, size_t uses, struct cursor *cursor) {
  pairs->pair = cursor_take(cursor, uses, sizeof *pairs->pair);
  pairs->use = cursor_take(cursor, uses, sizeof *pairs->use);
}

static void adapters_lay(struct program *program, struct cursor *cursor) {
  const struct limits *limits = &program->limits;
  size_t slots = (size_t)limits->adapters, uses = slots ? (size_t)limits->tokens * ROW_LORAS : 0, most = uses;
  program->shrunk_stride = shrunk_stride_of(program->plan, limits);
  program->slot_used = cursor_take(cursor, slots, sizeof *program->slot_used);
  program->slot_count = cursor_take(cursor, slots, sizeof *program->slot_count);
  pairs_lay(&program->pairs, uses, cursor);
  for (int i = 0; i < program->plan->n_value; i++) {
    const struct value *value = plan_values(program->plan) + i;
    size_t results = uses * (size_t)value->cols / 2;
    if (value->n_expert == 0) continue;
    pairs_lay(&program->order[i].pairs, results, cursor);
    if (results > most) most = results;
  }
  program->shrunk = cursor_take(cursor, most * program->shrunk_stride, sizeof *program->shrunk);
}

/* Sizes of the program's tables must be set; n_worker is the team's size. */
static void workspace_lay(struct program *program, int n_worker, struct cursor *cursor) {
  const struct plan *plan = program->plan;
  const struct limits *limits = &program->limits;
  size_t prepared, arranged, unnormed, tokens = (size_t)limits->tokens, outputs = (size_t)limits->outputs;
  linear_extent(plan, limits, &prepared, &arranged, &unnormed);
  for (int i = 0; i < plan->n_value; i++)
    program->value[i] =
        cursor_take(cursor, rows_limit(plan, limits, i) * (size_t)plan_values(plan)[i].cols, sizeof(float));
  for (int i = 0; i < program->n_rope; i++)
    program->rope[i].angles = cursor_take(cursor, tokens * (size_t)program->rope[i].dim, sizeof(float));
  program->prepared = cursor_take(cursor, prepared, 1);
  program->arranged = cursor_take(cursor, arranged, 1);
  program->unnormed = cursor_take(cursor, unnormed, 1);
  program->scratch = cursor_take(cursor, (size_t)n_worker * program->scratch_bytes, 1);
  program->query_block = cursor_take(cursor, tokens, sizeof *program->query_block);
  program->query_token = cursor_take(cursor, tokens, sizeof *program->query_token);
  program->single_row = cursor_take(cursor, tokens, sizeof *program->single_row);
  program->token_row = cursor_take(cursor, tokens, sizeof *program->token_row);
  own_lay(program, cursor);
  orders_lay(program, cursor);
  program->pool = cursor_take(cursor, (size_t)limits->pool * (size_t)plan->hidden, sizeof *program->pool);
  adapters_lay(program, cursor);
  program->out_token = cursor_take(cursor, outputs, sizeof *program->out_token);
  program->out_logprob = cursor_take(cursor, outputs, sizeof *program->out_logprob);
  program->out_top = cursor_take(cursor, outputs * TOP_LOGPROBS, sizeof *program->out_top);
}

size_t workspace_count(struct program *program, int n_worker) {
  struct cursor cursor = {0};
  workspace_lay(program, n_worker, &cursor);
  return cursor.used;
}

bool workspace_alloc(struct program *program, struct error *error) {
  struct cursor cursor = {0};
  int n_worker = team_size(program->device->team);
  workspace_lay(program, n_worker, &cursor);
  void *map = mmap(NULL, cursor.used, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED)
    return error_set(error, ERROR_MEMORY, "%zu bytes of workspace could not be mapped (%s): allow fewer tokens a step.",
                     cursor.used, strerror(errno));
  madvise(map, cursor.used, MADV_HUGEPAGE); /* a wish: rows of a step lie in more small pages than a core remembers */
  program->workspace = map;
  program->workspace_bytes = cursor.used;
  cursor = (struct cursor){.base = map};
  workspace_lay(program, n_worker, &cursor);
  return true;
}
