/* The attention op on the team: every worker stores a share of the batch's keys and values, then, after a barrier,
 * takes query heads. Plenty of work (a prefill) is claimed by KV head and block of queries, the longest first, so that
 * a KV head's queries share its loads; little work (a decode step) is dealt out evenly by query head. */
#include "backend/cpu/cpu_program.h"
#include "backend/cpu/rope.h"

#include <string.h>

enum { CLAIMS_PER_WORKER = 4 };

static size_t round_lane(size_t n) { return (n + ATTEND_LANES - 1) / ATTEND_LANES * ATTEND_LANES; }

/* Queries, the range that each token sees, and the kernels' own. Storing needs less: one key and value. */
size_t call_attend_scratch(const struct attend_args *args, int query_tokens) {
  size_t tokens = (size_t)query_tokens, queries = tokens * (size_t)(args->n_head / args->n_kv_head);
  size_t dim_k = (size_t)args->dim_k, dim_v = (size_t)args->dim_v;
  size_t attending =
      round_lane(queries * dim_k) + 2 * round_lane(tokens) + attend_scratch_floats(queries, dim_k, dim_v);
  size_t storing = 2 * round_lane(dim_k) + round_lane(dim_v);
  return attending > storing ? attending : storing;
}

/* One head of q or k: normed if the network does, rotated. */
static void head_prepare(const struct program *program, const struct call *call, int norm, int token, const float *from,
                         float *to) {
  const struct attend_args *args = &call->op->args.attend;
  if (call->op->weight[norm] >= 0)
    program->device->kernels->rms_norm(from, program_vector(program, call->op->weight[norm]), args->dim_k, args->eps,
                                       to);
  else
    memcpy(to, from, (size_t)args->dim_k * sizeof *to);
  if (call->rope >= 0) {
    const struct rope_table *rope = &program->rope[call->rope];
    rope_rotate(args->rope_style, rope->angles + (size_t)token * (size_t)rope->dim, rope->dim, to);
  }
}

/* --- storing ------------------------------------------------------------------------------------------------------ */

static void head_store(const struct program *program, const struct call *call, int token, int head, float *scratch) {
  const struct attend_args *args = &call->op->args.attend;
  const struct row *row = program->batch->row + program->token_row[token];
  const float *in = value_row(program, call->op->in[0], token);
  const float *key = in + (size_t)(args->n_head + head) * (size_t)args->dim_k;
  const float *value =
      in + (size_t)(args->n_head + args->n_kv_head) * (size_t)args->dim_k + (size_t)head * (size_t)args->dim_v;
  struct kv_head kv = kv_cache_head(&program->cache[args->group], args->layer, head, row->block[args->group]);
  int position = row->length + token - row->first;
  float *prepared = scratch;
  head_prepare(program, call, 1, token, key, prepared);
  if (kv.layout->dtype == KV_F32) {
    kv_head_store(&kv, position, prepared, value);
    return;
  }
  uint16_t *key_half = (uint16_t *)(prepared + round_lane((size_t)args->dim_k));
  uint16_t *value_half = key_half + round_lane((size_t)args->dim_k);
  const struct attend_kernels *kernels = &program->device->kernels->attend;
  kernels->narrow(prepared, args->dim_k, key_half);
  kernels->narrow(value, args->dim_v, value_half);
  kv_head_store(&kv, position, key_half, value_half);
}

static void batch_store(const struct program *program, const struct call *call, int worker) {
  const struct attend_args *args = &call->op->args.attend;
  int n_head = args->n_kv_head;
  struct range items = team_share(program->device->team, program->batch->n_token * n_head, worker);
  for (int i = items.first; i < items.first + items.count; i++)
    head_store(program, call, i / n_head, i % n_head, (float *)worker_scratch(program, worker));
}

/* --- attending ---------------------------------------------------------------------------------------------------- */

/* The tokens of the row that each query of a block sees. */
static void block_visible(const struct program *program, const struct query_block *block, int window, int32_t *first,
                          int32_t *last) {
  const struct batch *batch = program->batch;
  const struct row *row = batch->row + block->row;
  for (int i = 0; i < block->count; i++) {
    int token = block->first + i, position = row->length + token - row->first;
    last[i] = batch->see ? row->length + batch->see[token] : position;
    if (last[i] >= row->length + row->count) last[i] = row->length + row->count - 1;
    first[i] = window && position >= window ? position - window + 1 : 0;
  }
}

/* n_head query heads from `head` on, all of one KV head, for one block of queries. */
static void block_attend(const struct program *program, const struct call *call, const struct query_block *block,
                         int head, int n_head, float *scratch) {
  const struct attend_args *args = &call->op->args.attend;
  const struct row *row = program->batch->row + block->row;
  size_t dim_k = (size_t)args->dim_k, out_cols = value_cols(program, call->op->out);
  float *query = scratch;
  scratch += round_lane((size_t)(block->count * n_head) * dim_k);
  int32_t *first = (int32_t *)scratch, *last = first + round_lane((size_t)block->count);
  scratch += 2 * round_lane((size_t)block->count);
  block_visible(program, block, plan_groups(program->plan)[args->group].window, first, last);
  for (int t = 0; t < block->count; t++)
    for (int h = 0; h < n_head; h++) {
      float *to = query + (size_t)(t * n_head + h) * dim_k;
      int token = block->first + t;
      head_prepare(program, call, 0, token, value_row(program, call->op->in[0], token) + (size_t)(head + h) * dim_k,
                   to);
      for (size_t d = 0; d < dim_k; d++) to[d] *= args->scale;
    }
  const float *sink = program_vector(program, call->op->weight[2]);
  int kv_head = head / (args->n_head / args->n_kv_head);
  struct attend_work work = {
      .kv = kv_cache_head(&program->cache[args->group], args->layer, kv_head, row->block[args->group]),
      .n_token = block->count,
      .n_head = n_head,
      .query = query,
      .first = first,
      .last = last,
      .sink = sink ? sink + head : NULL,
      .softcap = args->softcap,
      .out = value_row(program, call->op->out, block->first) + (size_t)head * (size_t)args->dim_v,
      .out_stride = out_cols,
      .scratch = scratch,
  };
  program->device->kernels->attend.attend(&work);
}

void call_attend(struct program *program, const struct call *call, int worker) {
  const struct attend_args *args = &call->op->args.attend;
  struct team *team = program->device->team;
  float *scratch = (float *)worker_scratch(program, worker);
  int n_block = program->n_query_block, shared = args->n_head / args->n_kv_head;
  batch_store(program, call, worker);
  team_barrier(team);
  int n_group = n_block * args->n_kv_head;
  if (n_group >= CLAIMS_PER_WORKER * team_size(team)) {
    for (struct range item; team_claim(team, n_group, 1, &item);) {
      int index = n_group - 1 - item.first; /* later blocks see more */
      const struct query_block *block = &program->query_block[index / args->n_kv_head];
      block_attend(program, call, block, index % args->n_kv_head * shared, shared, scratch);
    }
    return;
  }
  struct range items = team_share(team, n_block * args->n_head, worker);
  for (int i = items.first, end = items.first + items.count; i < end;) {
    int head = i % args->n_head, n = shared - head % shared; /* up to the end of the KV head's */
    if (n > end - i) n = end - i;
    block_attend(program, call, &program->query_block[i / args->n_head], head, n, scratch);
    i += n;
  }
}
