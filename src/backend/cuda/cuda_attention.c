/* A step's attention on the host's side: the lists that a batch brings along, and which kernels an op runs in. */
#include "backend/cuda/cuda_program.h"

static int shares_of(const struct program *p, int group) { return p->attention.most_share[group]; }

/* Of a row with one token; 0: it is one of few packed rows. */
static int32_t chunks_of(const struct attend_heads *heads) {
  int32_t chunk = attend_chunk(heads);
  return heads->queries > attend_few(heads) ? (heads->queries + chunk - 1) / chunk : 0;
}

void cuda_attention_decode(struct program *p, int32_t rows) {
  struct cuda_attention *a = &p->attention;
  for (int g = 0; g < p->plan->n_group; g++) {
    a->n_chunk[g] = rows * chunks_of(&a->heads[g]);
    a->n_share[g] = a->n_chunk[g] ? 0 : shares_of(p, g);
  }
}

void cuda_attention_all(struct program *p) {
  struct cuda_attention *a = &p->attention;
  for (int g = 0; g < p->plan->n_group; g++) a->n_chunk[g] = 1, a->n_share[g] = shares_of(p, g);
}

void cuda_attention_fill(struct program *p, const struct cuda_row *row, int32_t n_row, struct cuda_cut *cut,
                         struct cuda_chunk *chunk) {
  struct cuda_attention *a = &p->attention;
  const struct cuda_batch *batch = &p->on_device;
  for (int g = 0; g < p->plan->n_group; g++, cut += ATTEND_SHARES + 1, chunk += batch->n_chunk) {
    if (!a->fast[g]) continue;
    bool split = attend_split(&a->heads[g], row, n_row, shares_of(p, g), a->n_part[g], cut);
    a->n_share[g] = split ? shares_of(p, g) : 0;
    a->n_chunk[g] = attend_chunks(&a->heads[g], row, n_row, chunk);
    for (int32_t i = chunks_of(&a->heads[g]) * (batch->n_row - n_row); i > 0; i--)
      chunk[a->n_chunk[g]++] = (struct cuda_chunk){batch->n_row - 1, 0};
  }
}

void cuda_attention_begin(struct program *p) {
  const struct cuda_attention *a = &p->attention;
  if (a->n_angle > 0)
    cuda_angles(p->frequency, p->images.axis, p->images.places.place, a->n_angle, &p->on_device, a->angle,
                p->device->stream);
}

struct cuda_attend cuda_attend_of(const struct program *p, const struct op *op) {
  const struct attend_args *args = &op->args.attend;
  return (struct cuda_attend){.in = p->value[op->in[0]],
                              .out = p->value[op->out],
                              .norm_q = cuda_vector(p, op->weight[0]),
                              .norm_k = cuda_vector(p, op->weight[1]),
                              .sink = cuda_vector(p, op->weight[2]),
                              .frequency = p->frequency + args->rope_freq,
                              .n_head = args->n_head,
                              .n_kv_head = args->n_kv_head,
                              .dim_k = args->dim_k,
                              .dim_v = args->dim_v,
                              .in_cols = plan_values(p->plan)[op->in[0]].cols,
                              .rope_style = args->rope_style,
                              .rope_dim = args->rope_dim,
                              .rope_scale = args->rope_scale,
                              .eps = args->eps,
                              .scale = args->scale,
                              .softcap = args->softcap,
                              .kv = p->limits.kv_dtype};
}

static void cache_fill(const struct program *p, const struct op *op, struct cuda_attend *a) {
  const struct attend_args *args = &op->args.attend;
  const struct kv_group *group = plan_groups(p->plan) + args->group;
  a->cache = p->cache[args->group].base;
  a->group = args->group;
  a->n_group = p->plan->n_group;
  a->layer = args->layer;
  a->n_layer = group->n_layer;
  a->block_size = p->limits.block_size;
  a->window = group->window;
}

/* What attention on the matrix units wants beside. */
static void buffers_fill(const struct program *p, const struct op *op, struct cuda_attend *a) {
  const struct cuda_attention *attention = &p->attention;
  a->angle = attention->angle + (size_t)op->args.attend.rope_freq * 2;
  a->n_angle = attention->n_angle;
  a->query = attention->query;
  a->parts = attention->parts;
  a->arrived = attention->arrived;
  a->cut = p->on_device.cut + a->group * (ATTEND_SHARES + 1);
  a->chunk = p->on_device.chunk + a->group * p->on_device.n_chunk;
  a->n_share = attention->n_share[a->group];
  a->n_chunk = attention->n_chunk[a->group];
  a->n_block = p->device->multiprocessors;
}

/* The linear that follows and takes results as they are, all of which decode attention makes; NULL: there is none. */
static const struct op *next_linear(const struct program *p, const struct op *op, const struct cuda_attend *a) {
  const struct op *next = op + 1;
  int index = (int)(next - plan_ops(p->plan)), cols = a->n_head * a->dim_v;
  if (p->adapted && p->on_device.n_token > ADAPTED_SLICE) return NULL;
  if (a->n_chunk > 0 || index == p->n_body || index >= p->plan->n_op) return NULL;
  if (!cuda_linear_takes(p, next, p->on_device.n_token)) return NULL;
  bool whole = cols % 64 == 0 && plan_weights(p->plan)[next->weight[0]].cols == cols;
  return next->in[0] == op->out && whole && next->args.linear.norm == NORM_NONE ? next : NULL;
}

/* Rows have a token each, all of them in decode attention. */
static bool decodes(const struct cuda_batch *batch, const struct cuda_attend *a) {
  return a->n_chunk == 0 && batch->n_token == batch->n_row && !batch->see;
}

struct cuda_attend_beside cuda_attend_beside_of(const struct op *op) {
  const struct attend_args *args = &op->args.attend;
  return (struct cuda_attend_beside){.near = args->near, .causal = args->causal, .latent = args->value_in_key};
}

void cuda_attend_heads(struct program *p, const struct op *op, struct cuda_attend *a) {
  const struct attend_args *args = &op->args.attend;
  if (args->clip > 0)
    cuda_clamp(p->value[op->in[0]], (size_t)p->on_device.n_token * (size_t)a->in_cols, args->clip, p->device->stream);
  if (!args->head_norms) return;
  cuda_heads_norm(a, p->value[op->in[0]], p->on_device.n_token, p->device->stream);
  a->norm_q = a->norm_k = NULL;
}

void cuda_attention_run(struct program *p, const struct op *op) {
  struct cuda_attend a = cuda_attend_of(p, op);
  cache_fill(p, op, &a);
  a.grow = op->args.attend.grow, a.grow_from = op->args.attend.grow_from;
  cuda_attend_heads(p, op, &a);
  if (op->args.attend.alibi == LEAN_SLOPES) a.slope = p->frequency + op->args.attend.alibi_slope;
  if (p->images.axis) a.axis = p->images.axis + op->args.attend.rope_freq, a.places.place = p->images.places.place;
  if (!p->attention.fast[a.group]) {
    struct cuda_attend_beside beside = cuda_attend_beside_of(op);
    cuda_attend_plain(&a, &beside, &p->on_device, p->device->stream);
    return;
  }
  buffers_fill(p, op, &a);
  const struct cuda_path *path = p->device->path;
  if (op->args.attend.value_in_key) {
    path->attend_latent(&a, &p->on_device, p->device->stream);
    return;
  }
  p->ready = path->chained ? next_linear(p, op, &a) : NULL;
  if (p->ready) a.next_fragments = p->fragments[p->turn ^= 1];
  a.next_tiles = p->ready && cuda_linear_tiles(p, p->ready, p->on_device.n_token);
  a.fresh = path->fresh && decodes(&p->on_device, &a);
  if (!a.fresh) path->attend_store(&a, &p->on_device, p->device->stream);
  if (a.n_share > 0) path->attend_decode(&a, &p->on_device, p->device->stream);
  if (a.n_chunk > 0) path->attend_prefill(&a, &p->on_device, p->device->stream);
}
