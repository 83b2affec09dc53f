/* What goes before attention: heads made ready, and every worker's share of the batch's keys and values into the cache.
 */
#include "backend/cpu/cpu_program.h"
#include "backend/cpu/rope.h"

#include <string.h>

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

const float *call_head_prepare(const struct program *program, const struct call *call, int norm, int token, int head,
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

/* One key and value, which may be clamped before. */
size_t call_store_scratch(const struct attend_args *args) {
  return 2 * attend_lanes((size_t)args->dim_k) + 2 * attend_lanes((size_t)args->dim_v);
}

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
  const float *prepared = call_head_prepare(program, call, 1, token, head, key, scratch);
  if (value)
    value = head_clip(value, args->dim_v, args->clip,
                      scratch + 2 * attend_lanes((size_t)args->dim_k) + attend_lanes((size_t)args->dim_v));
  struct kv_numbers keys = {prepared, 1}, values = {value, 1};
  if (kv.layout->dtype != KV_F32) {
    uint16_t *key_narrow = (uint16_t *)(scratch + attend_lanes((size_t)args->dim_k));
    uint16_t *value_narrow = key_narrow + attend_lanes((size_t)args->dim_k);
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

void call_store(const struct program *program, const struct call *call, struct range tokens, int worker) {
  if (tokens.count >= ATTEND_LANES * team_size(program->device->team) && stored_together(program, call)) {
    tokens_store(program, call, tokens, worker);
    return;
  }
  int n_head = call->op->args.attend.n_kv_head;
  struct range items = team_share(program->device->team, tokens.count * n_head, worker);
  for (int i = items.first; i < items.first + items.count; i++)
    head_store(program, call, tokens.first + i / n_head, i % n_head, (float *)worker_scratch(program, worker));
}
