/* The attention op on the team: every worker stores a share of the batch's keys and values, then, after a barrier,
 * takes query heads. Plenty of work (a prefill) is claimed by KV head and block of queries, from the end of the list,
 * so that a KV head's queries share its loads; little work (a decode step) is dealt out by query head, as evenly as the
 * keys that they see allow. */
#include "backend/cpu/cpu_program.h"
#include "backend/cpu/rope.h"

#include <math.h>
#include <string.h>

enum { CLAIMS_PER_WORKER = 4 };

static size_t round_lane(size_t n) { return (n + ATTEND_LANES - 1) / ATTEND_LANES * ATTEND_LANES; }

static size_t pointer_floats(size_t n) { return round_lane(n * sizeof(void *) / sizeof(float)); }

/* Queries, for each token what it sees, its output and its blocks, and the kernels' own. Storing needs less: one key
 * and value, which may be clamped before. */
size_t call_attend_scratch(const struct attend_args *args, int query_tokens) {
  size_t tokens = (size_t)query_tokens, queries = tokens * (size_t)(args->n_head / args->n_kv_head);
  size_t dim_k = (size_t)args->dim_k, dim_v = (size_t)args->dim_v;
  size_t attending = round_lane(queries * dim_k) + 2 * round_lane(tokens) + 2 * pointer_floats(tokens) +
                     attend_scratch_floats(queries, dim_k, dim_v);
  size_t storing = 2 * round_lane(dim_k) + 2 * round_lane(dim_v);
  return attending > storing ? attending : storing;
}

/* What is no number stays so. */
static const float *head_clip(const float *from, int dim, float most, float *to) {
  if (most == 0) return from;
  for (int i = 0; i < dim; i++) to[i] = from[i] > most ? most : from[i] < -most ? -most : from[i];
  return to;
}

static void head_center(const float *from, int dim, float *to) {
  double sum = 0;
  for (int i = 0; i < dim; i++) sum += (double)from[i];
  for (int i = 0; i < dim; i++) to[i] = from[i] - (float)(sum / dim);
}

/* Head `head` of q or k: normed if the network does, rotated. In `to`, which from may be, or where it was if nothing is
 * to be done. */
static const float *head_prepare(const struct program *program, const struct call *call, int norm, int token, int head,
                                 const float *from, float *to) {
  const struct attend_args *args = &call->op->args.attend;
  const float *weight = program_vector(program, call->op->weight[norm]);
  from = head_clip(from, args->dim_k, args->clip, to);
  if (weight && args->head_norms) {
    head_center(from, args->dim_k, to);
    weight += (size_t)head * (size_t)args->dim_k;
    from = to;
  }
  if (weight)
    program->device->kernels->rms_norm(from, weight, args->dim_k, args->eps, to);
  else if (call->rope < 0)
    return from;
  else if (from != to)
    memcpy(to, from, (size_t)args->dim_k * sizeof *to);
  if (call->rope >= 0) {
    const struct rope_table *rope = &program->rope[call->rope];
    rope_rotate(args->rope_style, rope->angles + (size_t)token * (size_t)rope->dim, rope->dim, to);
  }
  return to;
}

/* --- storing ------------------------------------------------------------------------------------------------------ */

static void head_store(const struct program *program, const struct call *call, int token, int head, float *scratch) {
  const struct attend_args *args = &call->op->args.attend;
  const struct row *row = program->batch->row + program->token_row[token];
  const float *in = value_row(program, call->op->in[0], token);
  const float *key = in + (size_t)(args->n_head + head) * (size_t)args->dim_k;
  const float *value = args->value_in_key ? NULL
                                          : in + (size_t)(args->n_head + args->n_kv_head) * (size_t)args->dim_k +
                                                (size_t)head * (size_t)args->dim_v;
  struct kv_head kv =
      kv_cache_head(call->cache, args->layer, head, row_blocks(program, args, program->token_row[token]));
  int position = row->length + token - row->first;
  const float *prepared = head_prepare(program, call, 1, token, head, key, scratch);
  if (value)
    value = head_clip(value, args->dim_v, args->clip,
                      scratch + 2 * round_lane((size_t)args->dim_k) + round_lane((size_t)args->dim_v));
  struct kv_numbers keys = {prepared, 1}, values = {value, 1};
  if (kv.layout->dtype != KV_F32) {
    uint16_t *key_narrow = (uint16_t *)(scratch + round_lane((size_t)args->dim_k));
    uint16_t *value_narrow = key_narrow + round_lane((size_t)args->dim_k);
    const struct attend_kernels *kernels = &program->device->kernels->attend;
    keys = (struct kv_numbers){key_narrow, kernels->narrow(prepared, args->dim_k, kv.layout->dtype, key_narrow)};
    if (value)
      values = (struct kv_numbers){value_narrow, kernels->narrow(value, args->dim_v, kv.layout->dtype, value_narrow)};
  }
  kv_head_store(&kv, position, keys, values);
}

/* Numbers go into a cache of floats as they are, some tokens at a time. */
static bool stored_together(const struct program *program, const struct call *call) {
  const struct attend_args *args = &call->op->args.attend;
  const struct kv_layout *layout = &call->cache->layout;
  bool as_they_are = args->clip == 0 && call->rope < 0 && !program_vector(program, call->op->weight[1]);
  return as_they_are && layout->dtype == KV_F32 && !args->value_in_key &&
         (args->dim_k | args->dim_v | layout->tile) % ATTEND_LANES == 0;
}

/* Tokens [token, token + n) of one row, as struct attend_rows wants them. */
static void run_store(const struct program *program, const struct call *call, int token, int position, int n) {
  const struct attend_args *args = &call->op->args.attend;
  const struct kv_layout *layout = &call->cache->layout;
  size_t dim_k = (size_t)args->dim_k, dim_v = (size_t)args->dim_v, n_kv_head = (size_t)args->n_kv_head;
  const float *key = value_row(program, call->op->in[0], token) + (size_t)args->n_head * dim_k;
  const float *value = key + n_kv_head * dim_k;
  const uint32_t *blocks = row_blocks(program, args, program->token_row[token]);
  for (int h = 0; h < args->n_kv_head; h++) {
    struct kv_head kv = kv_cache_head(call->cache, args->layer, h, blocks);
    program->device->kernels->attend.store(&(struct attend_rows){
        .key = key + (size_t)h * dim_k,
        .value = value + (size_t)h * dim_v,
        .stride = value_cols(program, call->op->in[0]),
        .n = n,
        .dim_k = args->dim_k,
        .dim_v = args->dim_v,
        .to_key = (float *)(void *)kv_head_keys(&kv, position) + position % layout->block_size % layout->tile,
        .to_value = (float *)(void *)kv_head_value(&kv, position),
        .tile = (size_t)layout->tile,
        .stored_v = (size_t)layout->stored_v,
    });
  }
}

/* As many tokens from `token` on, before `end`, as can be stored together: what their keys' vectors have beyond them
 * nobody has written. 0: not one. */
static int run_length(const struct program *program, int token, int end, int position) {
  const struct row *row = program->batch->row + program->token_row[token];
  int left = row->first + row->count - token, n = left < ATTEND_LANES ? left : ATTEND_LANES;
  return position % ATTEND_LANES == 0 && token + n <= end ? n : 0;
}

/* This worker's tokens, all heads of each. */
static void tokens_store(const struct program *program, const struct call *call, struct range tokens, int worker) {
  struct range own = team_share(program->device->team, tokens.count, worker);
  int token = tokens.first + own.first, end = token + own.count;
  for (int n; token < end; token += n) {
    const struct row *row = program->batch->row + program->token_row[token];
    int position = row->length + token - row->first;
    n = run_length(program, token, end, position);
    if (n > 0) run_store(program, call, token, position, n);
    if (n > 0) continue;
    n = 1;
    for (int h = 0; h < call->op->args.attend.n_kv_head; h++)
      head_store(program, call, token, h, (float *)worker_scratch(program, worker));
  }
}

void call_attend_store(const struct program *program, const struct call *call, struct range tokens, int worker) {
  if (tokens.count >= ATTEND_LANES * team_size(program->device->team) && stored_together(program, call)) {
    tokens_store(program, call, tokens, worker);
    return;
  }
  int n_head = call->op->args.attend.n_kv_head;
  struct range items = team_share(program->device->team, tokens.count * n_head, worker);
  for (int i = items.first; i < items.first + items.count; i++)
    head_store(program, call, tokens.first + i / n_head, i % n_head, (float *)worker_scratch(program, worker));
}

/* --- attending ---------------------------------------------------------------------------------------------------- */

/* For each token of a block: the tokens of its row that it sees, where its outputs go, the row's blocks. */
struct token_views {
  int32_t *first, *last;
  float **out;
  const uint32_t **block;
};

static struct token_views views_take(int count, float **scratch) {
  struct token_views views = {.first = (int32_t *)*scratch};
  size_t tokens = (size_t)count;
  views.last = views.first + round_lane(tokens);
  *scratch += 2 * round_lane(tokens);
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
    const float *prepared = head_prepare(program, call, 0, token, head + h, query_find(args, in, head + h, to), to);
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
  scratch += round_lane((size_t)block->count * token_floats);
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
