/* The attention op on the team: when keys and values are stored (call_store.c) and a barrier is passed, every worker
 * takes query heads. Plenty of work (a prefill) is claimed by KV head and block of queries, from the end of the list,
 * so that a KV head's queries share its loads; little work (a decode step) is dealt out by query head, as evenly as the
 * keys that they see allow. */
#include "backend/cpu/cpu_program.h"

#include <math.h>
#include <string.h>

enum { CLAIMS_PER_WORKER = 4 };

static size_t pointer_floats(size_t n) { return attend_lanes(n * sizeof(void *) / sizeof(float)); }

/* Queries, for each token what it sees, its output and its blocks, and the kernels' own; or what storing needs. */
size_t call_attend_scratch(const struct attend_args *args, int query_tokens) {
  size_t tokens = (size_t)query_tokens, queries = tokens * (size_t)(args->n_head / args->n_kv_head);
  size_t dim_k = (size_t)args->dim_k, dim_v = (size_t)args->dim_v;
  size_t attending = attend_lanes(queries * dim_k) + 2 * attend_lanes(tokens) + 2 * pointer_floats(tokens) +
                     attend_scratch_floats(queries, dim_k, dim_v);
  size_t storing = call_store_scratch(args);
  return attending > storing ? attending : storing;
}

/* For each token of a block: the tokens of its row that it sees, where its outputs go, the row's blocks. */
struct token_views {
  int32_t *first, *last;
  float **out;
  const uint32_t **block;
};

static struct token_views views_take(int count, float **scratch) {
  struct token_views views = {.first = (int32_t *)*scratch};
  size_t tokens = (size_t)count;
  views.last = views.first + attend_lanes(tokens);
  *scratch += 2 * attend_lanes(tokens);
  views.out = (float **)*scratch;
  views.block = (const uint32_t **)(*scratch + pointer_floats(tokens));
  *scratch += 2 * pointer_floats(tokens);
  return views;
}

static void views_fill(const struct program *program, const struct call *call, const struct query_block *block,
                       int head, const struct token_views *views) {
  const struct attend_args *args = &call->op->args.attend;
  const struct batch *batch = program->batch;
  int window = args->group < 0 ? 0 : plan_groups(program->plan)[args->group].window;
  for (int i = 0; i < block->count; i++) {
    int token = program->query_token[block->first + i];
    const struct row *row = batch->row + program->token_row[token];
    int position = row->length + token - row->first, last = batch->see ? row->length + batch->see[token] : position;
    if (last >= row->length + row->count || (args->group < 0 && !args->causal)) last = row->length + row->count - 1;
    views->last[i] = args->local ? batch->span[token][1] : last;
    views->first[i] = args->local ? batch->span[token][0] : window && position >= window ? position - window + 1 : 0;
    if (args->near > 0 && position - args->near > views->first[i]) views->first[i] = position - args->near;
    if (args->near > 0 && position + args->near < views->last[i]) views->last[i] = position + args->near;
    views->out[i] = value_row(program, call->op->out, token) + (size_t)head * (size_t)args->dim_v;
    views->block[i] = row_blocks(program, args, program->token_row[token]);
  }
}

/* Head `head` of a token's q where it lies, or, of latent attention, its two pieces put together in `to`. */
static const float *query_find(const struct attend_args *args, const float *in, int head, float *to) {
  size_t rest = (size_t)args->dim_v, first = (size_t)args->dim_k - rest, at = (size_t)head;
  if (!args->value_in_key) return in + at * (size_t)args->dim_k;
  memcpy(to, in + at * first, first * sizeof *to);
  memcpy(to + first, in + (size_t)args->n_head * first + at * rest, rest * sizeof *to);
  return to;
}

/* What a token's queries are multiplied with. */
static float query_scale(const struct program *program, const struct attend_args *args, int token) {
  const struct row *row = program->batch->row + program->token_row[token];
  int position = row->length + token - row->first;
  return args->grow > 0 ? args->scale * (1 + args->grow * logf((float)(1 + position / args->grow_from))) : args->scale;
}

/* n_head query heads from `head` on of a token: normed, rotated and scaled. */
static void query_prepare(const struct program *program, const struct call *call, int token, int head, int n_head,
                          float *to) {
  const struct attend_args *args = &call->op->args.attend;
  size_t dim_k = (size_t)args->dim_k;
  float scale = query_scale(program, args, token);
  const float *in = value_row(program, call->op->in[0], token);
  if (args->clip == 0 && call->rope < 0 && !args->value_in_key && !program_vector(program, call->op->weight[0])) {
    const float *query = in + (size_t)head * dim_k;
    for (size_t d = 0; d < (size_t)n_head * dim_k; d++) to[d] = query[d] * scale;
    return;
  }
  for (int h = 0; h < n_head; h++, to += dim_k) {
    const float *prepared =
        call_head_prepare(program, call, 0, token, head + h, query_find(args, in, head + h, to), to);
    for (size_t d = 0; d < dim_k; d++) to[d] = prepared[d] * scale;
  }
}

/* What scores gain by distance, of the heads from `head` on and tokens from `token` on. */
static void lean_take(const struct program *program, const struct attend_args *args, int head, int token,
                      struct attend_work *work) {
  const struct row *row = program->batch->row + program->token_row[token];
  const struct plan *plan = program->plan;
  const float *numbers = plan_floats(plan) + args->alibi_slope;
  work->place = row->length + token - row->first;
  work->distances = lean_numbers(plan->max_position);
  if (args->alibi == LEAN_SLOPES) work->slope = numbers + head;
  if (args->alibi == LEAN_DISTANCES)
    work->distance = numbers + (size_t)head * work->distances + (size_t)(plan->max_position - 1);
}

/* n_head query heads from `head` on, all of one KV head, for one block of queries. */
static void block_attend(const struct program *program, const struct call *call, const struct query_block *block,
                         int head, int n_head, float *scratch) {
  const struct attend_args *args = &call->op->args.attend;
  float *query = scratch;
  size_t token_floats = (size_t)n_head * (size_t)args->dim_k;
  scratch += attend_lanes((size_t)block->count * token_floats);
  struct token_views views = views_take(block->count, &scratch);
  views_fill(program, call, block, head, &views);
  for (int t = 0; t < block->count; t++)
    query_prepare(program, call, program->query_token[block->first + t], head, n_head,
                  query + (size_t)t * token_floats);
  const float *sink = program_vector(program, call->op->weight[2]);
  struct attend_work work = {
      .kv = kv_cache_head(call->cache, args->layer, head / (args->n_head / args->n_kv_head), views.block[0]),
      .shared = block->shared,
      .block = views.block,
      .n_token = block->count,
      .n_head = n_head,
      .query = query,
      .first = views.first,
      .last = views.last,
      .sink = sink ? sink + head : NULL,
      .softcap = args->softcap,
      .out = views.out,
      .scratch = scratch,
  };
  lean_take(program, args, head, program->query_token[block->first], &work);
  program->device->kernels->attend.attend(&work);
}

/* Query heads [head, end) of a block, those of a KV head together. */
static void heads_attend(const struct program *program, const struct call *call, const struct query_block *block,
                         int head, int end, float *scratch) {
  int shared = call->op->args.attend.n_head / call->op->args.attend.n_kv_head;
  for (int n; head < end; head += n) {
    n = shared - head % shared;
    if (n > end - head) n = end - head;
    block_attend(program, call, block, head, n, scratch);
  }
}

/* How many of n heads that cost the same lie before `cost`. */
static int heads_before(int64_t cost, int64_t one, int n) {
  int64_t heads = cost <= 0 ? 0 : (cost + one - 1) / one;
  return heads < n ? (int)heads : n;
}

/* This worker's part of the heads of these blocks, one after the other, by what they cost. */
static void share_attend(const struct program *program, const struct call *call, struct range blocks, int worker,
                         float *scratch) {
  int n_head = call->op->args.attend.n_head, n_worker = team_size(program->device->team);
  int64_t total = 0, from, to;
  for (int i = blocks.first; i < blocks.first + blocks.count; i++) total += program->query_block[i].cost * n_head;
  from = total * worker / n_worker, to = total * (worker + 1) / n_worker;
  for (int i = blocks.first; i < blocks.first + blocks.count; i++) {
    const struct query_block *block = &program->query_block[i];
    heads_attend(program, call, block, heads_before(from, block->cost, n_head), heads_before(to, block->cost, n_head),
                 scratch);
    from -= block->cost * n_head, to -= block->cost * n_head;
  }
}

void call_attend(struct program *program, const struct call *call, struct range blocks, int worker) {
  const struct attend_args *args = &call->op->args.attend;
  struct team *team = program->device->team;
  float *scratch = (float *)worker_scratch(program, worker);
  int n_item = blocks.count * args->n_kv_head, shared = args->n_head / args->n_kv_head;
  if (n_item < CLAIMS_PER_WORKER * team_size(team)) {
    share_attend(program, call, blocks, worker, scratch);
    return;
  }
  for (struct range item; team_claim(team, n_item, 1, &item);) {
    int index = n_item - 1 - item.first; /* later blocks see more */
    const struct query_block *block = &program->query_block[blocks.first + index / args->n_kv_head];
    block_attend(program, call, block, index % args->n_kv_head * shared, shared, scratch);
  }
}
