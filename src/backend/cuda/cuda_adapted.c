/* Steps in which some row has adapters: the lists that the batch brings along, and their ops. Linears whose kernels do
 * not end with adapters leave their products alone, which adapter_expand.cu makes results of. */
#include "backend/cuda/cuda_adapted.h"
#include "backend/cuda/cuda_check.h"

#include <string.h>

_Static_assert((int)USES == (int)ROW_LORAS, "kernels know the plan's number by another name");

/* --- lists -------------------------------------------------------------------------------------------------------- */

void cuda_adapters_name(struct program *p, const struct batch *batch) {
  p->adapted = CUDA_PLAIN, p->experts_adapted = false;
  for (int r = 0; r < batch->n_row; r++)
    for (int i = 0; i < batch->row[r].n_lora; i++)
      if (batch->row[r].lora[i].scale != 0) {
        p->adapted = CUDA_ADAPTED;
        p->experts_adapted |= p->adapters.kind[batch->row[r].lora[i].slot].experts;
      }
}

void cuda_adapters_lay(struct program *p) {
  struct cuda_adapters *a = &p->adapters;
  cuda_adapter_slab_lay(p->on_device.n_token, p->on_device.n_out, a->slab, &a->tokens, &a->outputs);
}

/* Lists in the host's slab, while they are made. */
struct lists {
  struct cuda_adapter_use *use;
  int32_t *n_chunk, *place, *n_pair;
  struct cuda_adapter_chunk *chunk;
  struct cuda_adapter_pair *pair;
  int8_t *first;
};

static struct lists lists_of(const struct program *p, const struct cuda_slot *slot,
                             const struct cuda_adapter_lists *on_device) {
  const struct {
    const void *at;
  } at[] = {{on_device->use},    {on_device->n_chunk}, {on_device->chunk}, {on_device->place},
            {on_device->n_pair}, {on_device->pair},    {on_device->first}};
  void *host[7];
  for (int i = 0; i < 7; i++) host[i] = slot->adapter_slab + ((const uint8_t *)at[i].at - p->adapters.slab);
  return (struct lists){.use = host[0],
                        .n_chunk = host[1],
                        .chunk = host[2],
                        .place = host[3],
                        .n_pair = host[4],
                        .first = host[6],
                        .pair = host[5]};
}

/* Those in use come first. */
static void uses_fill(const struct row *row, struct cuda_adapter_use use[USES]) {
  int n = 0;
  for (int i = 0; row && i < row->n_lora; i++)
    if (row->lora[i].scale != 0) use[n++] = (struct cuda_adapter_use){row->lora[i].slot, row->lora[i].scale};
  while (n < USES) use[n++] = (struct cuda_adapter_use){-1, 0};
}

/* Places of uses, by slots. */
static void places_sort(struct program *p, const struct lists *lists, int n) {
  int32_t *count = p->adapters.count, at = 0;
  memset(count, 0, (size_t)p->limits.adapters * sizeof *count);
  for (int i = 0; i < n; i++)
    if (lists->use[i].slot >= 0) count[lists->use[i].slot]++;
  *lists->n_chunk = 0;
  for (int32_t slot = 0; slot < p->limits.adapters; slot++) {
    int32_t first = at;
    for (at += count[slot]; first < at; first += CHUNK_USES)
      lists->chunk[(*lists->n_chunk)++] =
          (struct cuda_adapter_chunk){slot, first, at - first < CHUNK_USES ? at - first : CHUNK_USES};
    count[slot] = at - count[slot]; /* now where the next of the slot goes */
  }
  for (int i = 0; i < n; i++)
    if (lists->use[i].slot >= 0) lists->place[count[lists->use[i].slot]++] = i;
}

/* The pair of a slot's first ranks and a tile, which is made if it is not there; NULL: there is no room. */
static struct cuda_adapter_pair *pair_of(const struct lists *lists, int32_t slot, int32_t tile) {
  int32_t n = *lists->n_pair, i = n;
  while (i > 0 && lists->pair[i - 1].slot == slot)
    if (lists->pair[--i].tile == tile) return &lists->pair[i];
  if (n == ADAPTER_PAIRS) return NULL;
  lists->pair[n] = (struct cuda_adapter_pair){.slot = slot, .tile = tile};
  (*lists->n_pair)++;
  return &lists->pair[n];
}

/* A slot's further ranks, behind the pairs [first, …) of its first. */
static bool ranks_add(const struct program *p, const struct lists *lists, int32_t first) {
  int32_t end = *lists->n_pair,
          n_strip = cuda_adapter_rank(p->adapters.kind[lists->pair[first].slot].rank) / RANK_STRIP;
  if (end + (end - first) * (n_strip - 1) > ADAPTER_PAIRS) return false;
  for (int32_t strip = 1; strip < n_strip; strip++)
    for (int32_t i = first; i < end; i++) {
      struct cuda_adapter_pair *pair = &lists->pair[(*lists->n_pair)++];
      *pair = lists->pair[i];
      pair->strip = strip;
    }
  return true;
}

/* Pairs of places that are sorted by slots. false: there are more than there is room for. */
static bool pairs_make(const struct program *p, const struct lists *lists) {
  int32_t first = *lists->n_pair = 0;
  for (int32_t c = 0; c < *lists->n_chunk; c++) {
    const struct cuda_adapter_chunk *chunk = &lists->chunk[c];
    for (int32_t i = chunk->first; i < chunk->first + chunk->count; i++) {
      int32_t token = lists->place[i] / USES;
      struct cuda_adapter_pair *pair = pair_of(lists, chunk->slot, token / 8);
      if (!pair || (pair->scale[token % 8] != 0 && !p->adapters.kind[chunk->slot].plain)) return false;
      pair->scale[token % 8] += lists->use[lists->place[i]].scale;
    }
    if (c + 1 < *lists->n_chunk && chunk[1].slot == chunk->slot) continue;
    if (!ranks_add(p, lists, first)) return false;
    first = *lists->n_pair;
  }
  return *lists->n_pair * p->adapters.most_part <= ADAPTER_UNITS;
}

/* Pairs come by slots, and of each by ranks. */
static void pairs_link(const struct lists *lists) {
  memset(lists->first, -1, LINEAR_FEW * sizeof *lists->first);
  for (int32_t i = *lists->n_pair - 1; i >= 0; i--)
    for (int t = 0; t < 8; t++) {
      struct cuda_adapter_pair *pair = &lists->pair[i];
      if (pair->scale[t] == 0) continue;
      pair->next[t] = lists->first[pair->tile * 8 + t];
      lists->first[pair->tile * 8 + t] = (int8_t)i;
    }
}

/* Of few tokens; a step whose pairs do not fit is launched kernel by kernel, without them. */
static void pairs_try(struct program *p, const struct lists *lists, int32_t n) {
  *lists->n_pair = 0;
  if (p->adapters.part_bytes == 0 || n > LINEAR_FEW || p->adapted != CUDA_ADAPTED) return;
  if (pairs_make(p, lists)) {
    pairs_link(lists);
    return;
  }
  p->adapted = CUDA_ADAPTED_APART, p->decode = NULL;
}

bool cuda_adapters_send(struct program *p, struct cuda_slot *slot, const struct batch *batch, struct error *error) {
  struct cuda_adapters *a = &p->adapters;
  struct lists tokens = lists_of(p, slot, &a->tokens), outputs = lists_of(p, slot, &a->outputs);
  const struct row *row = batch->row;
  for (int r = 0; r < batch->n_row; r++)
    for (int t = row[r].first; t < row[r].first + row[r].count; t++) uses_fill(row + r, tokens.use + t * USES);
  for (int t = batch->n_token; t < p->on_device.n_token; t++) uses_fill(NULL, tokens.use + t * USES);
  for (int i = 0; i < p->on_device.n_out; i++)
    if (i < batch->n_out)
      memcpy(outputs.use + i * USES, tokens.use + batch->out[i] * USES, USES * sizeof *outputs.use);
    else
      uses_fill(NULL, outputs.use + i * USES);
  places_sort(p, &tokens, p->on_device.n_token * USES);
  places_sort(p, &outputs, p->on_device.n_out * USES);
  pairs_try(p, &tokens, p->on_device.n_token);
  pairs_try(p, &outputs, p->on_device.n_out);
  struct cuda_adapter_lists lists;
  size_t bytes = cuda_adapter_slab_lay(p->on_device.n_token, p->on_device.n_out, NULL, &lists, &lists);
  return cuda_check(cudaMemcpyAsync(a->slab, slot->adapter_slab, bytes, cudaMemcpyHostToDevice, p->device->stream),
                    "copying a batch's adapters to the GPU", error);
}

/* --- ops ---------------------------------------------------------------------------------------------------------- */

struct cuda_adapter_factors cuda_adapter_factors_of(const struct program *p, const struct op *op) {
  const struct cuda_adapters *a = &p->adapters;
  const struct weight *w = plan_weights(p->plan) + op->weight[0];
  int index = (int)(op - plan_ops(p->plan));
  bool embed = op->kind == OP_EMBED;
  struct cuda_adapter_factors f = {.a = a->factors + a->place[index].a,
                                   .b = a->factors + a->place[index].b,
                                   .vectors = a->factors + a->place[index].vectors,
                                   .slot_bytes = a->slot_bytes,
                                   .site = a->site + index,
                                   .n_op = p->plan->n_op,
                                   .n_part = embed ? 1 : w->n_part,
                                   .rows = embed ? w->cols : w->rows,
                                   .cols = w->cols,
                                   .rank = cuda_adapter_rank(p->limits.adapter_rank),
                                   .interleaved = w->interleaved,
                                   .floats = cuda_adapter_floats(w),
                                   .most = adapter_most(p->plan, op, p->limits.kv_dtype == KV_F16)};
  for (int i = 0, end = 0; i < PLAN_PARTS - 1; i++) {
    end += i < w->n_part ? w->part[i].rows : 0;
    f.part_end[i] = i < w->n_part - 1 ? end : INT32_MAX;
  }
  return f;
}

void cuda_adapted_embed(struct program *p, const struct op *op) {
  struct cuda_matrix table = cuda_matrix_of(p, op->weight[0]);
  struct cuda_adapter_factors factors = cuda_adapter_factors_of(p, op);
  cuda_adapter_embed(&table, &factors, p->adapters.tokens.use, &p->on_device, op->args.embed.scale, p->value[op->out],
                     plan_values(p->plan)[op->out].cols, p->device->stream);
}

/* Products alone, where the expansion finds them. */
static struct cuda_linear products_of(const struct cuda_linear *linear, float *product, int cols) {
  struct cuda_linear a = *linear;
  a.out = product, a.out_cols = cols, a.result_cols = a.matrix.rows;
  a.bias = a.residual = NULL;
  a.act = a.gated = a.multiply = a.has_post_norm = 0;
  a.factor = 1, a.softcap = 0;
  a.rows = (struct cuda_adapter_rows){0};
  return a;
}

/* Rows from `first` on. */
static struct cuda_linear slice_of(const struct cuda_linear *linear, int first, int n) {
  struct cuda_linear a = *linear;
  a.in += (size_t)first * (size_t)a.in_cols;
  a.out += (size_t)first * (size_t)a.out_cols;
  if (a.residual) a.residual += (size_t)first * (size_t)a.residual_cols;
  rows_skip(&a.rows, first);
  a.n_row = n;
  return a;
}

/* Of a post norm the products are completed where they are. */
static void slice_run(struct program *p, const struct op *op, const struct cuda_linear *slice) {
  bool early = p->device->path->chained, in_place = !slice->gated && !slice->residual && !slice->has_post_norm;
  float *product = in_place ? slice->out : p->product;
  struct cuda_expand e = {.linear = *slice, .n = slice->n_row};
  e.product_cols = in_place ? slice->out_cols : slice->matrix.rows;
  struct cuda_linear products = products_of(slice, product, e.product_cols);
  cuda_linear_make(p, op, &products);
  if (slice->has_post_norm) e.linear = products, e.linear.bias = slice->bias, e.linear.rows = slice->rows;
  e.linear.product = product;
  cuda_adapter_expand(&e, early, p->device->stream);
  if (slice->has_post_norm) cuda_linear_tail(slice, p->device->stream);
}

bool cuda_adapter_takes(const struct program *p, const struct op *op) {
  return p->adapted == CUDA_ADAPTED && p->device->path->adapter_few && cuda_adapter_paired(p->plan, &p->limits, op);
}

static const struct cuda_adapter_lists *lists_for(const struct program *p, const struct op *op) {
  return plan_values(p->plan)[op->in[0]].rows == ROWS_OUTPUTS ? &p->adapters.outputs : &p->adapters.tokens;
}

void cuda_adapted_chain(struct program *p, const struct op *op, int n) {
  struct cuda_adapter_factors factors[LINEAR_CHAIN];
  const struct cuda_adapted adapted = {.factors = factors,
                                       .lists = *lists_for(p, op),
                                       .partial = p->adapters.partial,
                                       .part_bytes = p->adapters.part_bytes};
  for (int i = 0; i < n; i++) factors[i] = cuda_adapter_factors_of(p, op + i);
  p->device->path->adapter_few(p->chain, n, &adapted, &p->between, p->device->multiprocessors, p->device->stream);
}

void cuda_adapted_linear(struct program *p, const struct op *op, const struct cuda_linear *linear, bool ends) {
  const struct cuda_adapters *a = &p->adapters;
  bool chained = p->device->path->chained;
  const struct cuda_adapter_lists *lists = lists_for(p, op);
  struct cuda_linear adapted = *linear;
  const struct cuda_shrink shrink = {
      .factors = cuda_adapter_factors_of(p, op),
      .lists = *lists,
      .sums = {a->h, a->squares, a->counts, cuda_adapter_splits(linear->matrix.cols, linear->n_row)},
      .in = linear->in,
      .norm = linear->has_norm ? linear->norm : NULL,
      .n = linear->n_row,
      .in_cols = linear->in_cols,
      .eps = linear->eps};
  cuda_adapter_shrink(&shrink, chained, chained, p->device->stream);
  adapted.rows = (struct cuda_adapter_rows){shrink.factors, lists->use, a->h};
  adapted.shrunk = ends && chained;
  if (ends) cuda_linear_make(p, op, &adapted);
  for (int first = 0; first < linear->n_row && !ends; first += ADAPTED_SLICE) {
    int rest = linear->n_row - first;
    struct cuda_linear slice = slice_of(&adapted, first, rest < ADAPTED_SLICE ? rest : ADAPTED_SLICE);
    slice_run(p, op, &slice);
  }
}
