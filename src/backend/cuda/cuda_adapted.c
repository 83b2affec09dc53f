/* Steps in which some row has adapters: the lists that the batch brings along, and their ops. Each linear leaves its
 * products alone, which adapter_expand.cu makes results of. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

#include <string.h>

_Static_assert((int)USES == (int)ROW_LORAS, "kernels know the plan's number by another name");

/* --- lists -------------------------------------------------------------------------------------------------------- */

bool cuda_adapters_named(const struct batch *batch) {
  for (int r = 0; r < batch->n_row; r++)
    for (int i = 0; i < batch->row[r].n_lora; i++)
      if (batch->row[r].lora[i].scale != 0) return true;
  return false;
}

void cuda_adapters_lay(struct program *p) {
  struct cuda_adapters *a = &p->adapters;
  cuda_adapter_slab_lay(p->on_device.n_token, p->on_device.n_out, a->slab, &a->tokens, &a->outputs);
}

/* Lists in the host's slab, while they are made. */
struct lists {
  struct cuda_adapter_use *use;
  int32_t *n_chunk, *place;
  struct cuda_adapter_chunk *chunk;
};

static struct lists lists_of(const struct program *p, const struct cuda_slot *slot,
                             const struct cuda_adapter_lists *on_device) {
  const struct {
    const void *at;
  } at[] = {{on_device->use}, {on_device->n_chunk}, {on_device->chunk}, {on_device->place}};
  void *host[4];
  for (int i = 0; i < 4; i++) host[i] = slot->adapter_slab + ((const uint8_t *)at[i].at - p->adapters.slab);
  return (struct lists){.use = host[0], .n_chunk = host[1], .chunk = host[2], .place = host[3]};
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
  struct cuda_adapter_lists lists;
  size_t bytes = cuda_adapter_slab_lay(p->on_device.n_token, p->on_device.n_out, NULL, &lists, &lists);
  return cuda_check(cudaMemcpyAsync(a->slab, slot->adapter_slab, bytes, cudaMemcpyHostToDevice, p->device->stream),
                    "copying a batch's adapters to the GPU", error);
}

/* --- ops ---------------------------------------------------------------------------------------------------------- */

static struct cuda_adapter_factors factors_of(const struct program *p, const struct op *op) {
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
  struct cuda_adapter_factors factors = factors_of(p, op);
  cuda_adapter_embed(&table, &factors, p->adapters.tokens.use, &p->on_device, op->args.embed.scale,
                     p->value[op->out], plan_values(p->plan)[op->out].cols, p->device->stream);
}

/* Products alone, where the expansion finds them. */
static struct cuda_linear products_of(const struct cuda_linear *linear, float *product, int cols) {
  struct cuda_linear a = *linear;
  a.out = product, a.out_cols = cols, a.result_cols = a.matrix.rows;
  a.bias = a.residual = NULL;
  a.act = a.gated = a.multiply = a.has_post_norm = 0;
  a.factor = 1, a.softcap = 0;
  return a;
}

/* Rows from `first` on. */
static struct cuda_linear slice_of(const struct cuda_linear *linear, int first, int n) {
  struct cuda_linear a = *linear;
  a.in += (size_t)first * (size_t)a.in_cols;
  a.out += (size_t)first * (size_t)a.out_cols;
  if (a.residual) a.residual += (size_t)first * (size_t)a.residual_cols;
  a.n_row = n;
  return a;
}

/* Of a post norm the products are completed where they are. */
static void slice_run(struct program *p, const struct op *op, struct cuda_expand *e, const struct cuda_linear *slice) {
  bool early = p->device->path->chained, in_place = !slice->gated && !slice->residual && !slice->has_post_norm;
  float *product = in_place ? slice->out : p->product;
  e->product_cols = in_place ? slice->out_cols : slice->matrix.rows;
  struct cuda_linear products = products_of(slice, product, e->product_cols);
  cuda_linear_make(p, op, &products);
  e->linear = *slice;
  if (slice->has_post_norm) e->linear = products, e->linear.bias = slice->bias;
  e->linear.product = product;
  e->n = slice->n_row;
  cuda_adapter_expand(e, early, p->device->stream);
  if (slice->has_post_norm) cuda_linear_tail(slice, p->device->stream);
}

void cuda_adapted_linear(struct program *p, const struct op *op, const struct cuda_linear *linear) {
  const struct cuda_adapters *a = &p->adapters;
  bool outputs = plan_values(p->plan)[op->in[0]].rows == ROWS_OUTPUTS, units = p->device->path->chained;
  const struct cuda_adapter_lists *lists = outputs ? &a->outputs : &a->tokens;
  struct cuda_adapter_sums sums = {a->h, a->squares, cuda_adapter_splits(linear->matrix.cols, linear->n_row)};
  struct cuda_shrink shrink = {.factors = factors_of(p, op),
                               .lists = *lists,
                               .sums = sums,
                               .in = linear->in,
                               .norm = linear->has_norm ? linear->norm : NULL,
                               .n = linear->n_row,
                               .in_cols = linear->in_cols};
  cuda_adapter_shrink(&shrink, units, units, p->device->stream);
  for (int first = 0; first < linear->n_row; first += ADAPTED_SLICE) {
    int rest = linear->n_row - first;
    struct cuda_linear slice = slice_of(linear, first, rest < ADAPTED_SLICE ? rest : ADAPTED_SLICE);
    struct cuda_expand expand = {.factors = shrink.factors,
                                 .use = lists->use + first * USES,
                                 .sums = {a->h + (size_t)first * USES * (size_t)(shrink.factors.n_part * shrink.factors.rank), a->squares + (size_t)first * USES, sums.n_split},
                                 .n_all = linear->n_row};
    slice_run(p, op, &expand, &slice);
  }
}
