/* A step on a GPU: the batch goes over in one copy, the ops follow one another in the stream, logits come back and are
 * sampled on the host. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"
#include "backend/sampler.h"

#include <string.h>

/* --- the batch ---------------------------------------------------------------------------------------------------- */

/* The host's side of an array of the slab. */
static void *on_host(const struct program *p, const void *device) {
  return p->slab.host + ((const uint8_t *)device - p->slab.device);
}

static void rows_fill(struct program *p, const struct batch *batch) {
  struct cuda_row *row = on_host(p, p->on_device.row);
  int32_t *token_row = on_host(p, p->on_device.token_row);
  uint32_t *table = on_host(p, p->on_device.tables);
  for (int r = 0; r < batch->n_row; r++) {
    const struct row *from = batch->row + r;
    row[r] = (struct cuda_row){from->first, from->count, from->length};
    for (int t = from->first; t < from->first + from->count; t++) token_row[t] = r;
    for (int g = 0; g < p->plan->n_group; g++, table += p->table_size)
      memcpy(table, from->block[g], (size_t)from->n_block[g] * sizeof *table);
  }
}

static bool batch_send(struct program *p, const struct batch *batch, struct error *error) {
  struct cuda_batch *on_device = &p->on_device;
  cuda_slab_lay(p->plan, &p->limits, p->slab.device, on_device);
  on_device->n_row = batch->n_row;
  on_device->n_token = batch->n_token;
  on_device->n_out = batch->n_out;
  rows_fill(p, batch);
  memcpy(on_host(p, on_device->token), batch->token, (size_t)batch->n_token * sizeof *batch->token);
  memcpy(on_host(p, on_device->out), batch->out, (size_t)batch->n_out * sizeof *batch->out);
  if (batch->see)
    memcpy(on_host(p, on_device->see), batch->see, (size_t)batch->n_token * sizeof *batch->see);
  else
    on_device->see = NULL;
  return cuda_check(
      cudaMemcpyAsync(p->slab.device, p->slab.host, p->slab.bytes, cudaMemcpyHostToDevice, p->device->stream),
      "copying a batch to the GPU", error);
}

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

static struct cuda_matrix matrix_of(const struct program *p, int weight) {
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
                              .activation = s->activation,
                              .group = s->group,
                              .block_cols = c->block_units * UNIT_COLS,
                              .offset = s->kind == SCHEME_INT ? scheme_offset(s) : 0,
                              .high_at = (uint32_t)c->high_at,
                              .scale_at = (uint32_t)c->scale_at,
                              .min_at = (uint32_t)c->min_at,
                              .super_at = (uint32_t)c->super_at,
                              .super_min_at = (uint32_t)c->super_min_at,
                              .block_bytes = (uint32_t)c->block_bytes};
}

static const float *vector_of(const struct program *p, int weight) {
  return weight < 0 ? NULL : (const float *)(const void *)p->weight[weight];
}

static int32_t cols_of(const struct program *p, int value) { return plan_values(p->plan)[value].cols; }

static int32_t rows_of(const struct program *p, int value) {
  return plan_values(p->plan)[value].rows == ROWS_OUTPUTS ? p->batch->n_out : p->batch->n_token;
}

static struct cuda_linear linear_of(const struct program *p, const struct op *op) {
  const struct linear_args *args = &op->args.linear;
  return (struct cuda_linear){.matrix = matrix_of(p, op->weight[0]),
                              .bias = vector_of(p, op->weight[1]),
                              .norm = vector_of(p, op->weight[2]),
                              .post_norm = vector_of(p, op->weight[3]),
                              .in = p->value[op->in[0]],
                              .residual = op->in[1] >= 0 ? p->value[op->in[1]] : NULL,
                              .prepared = p->prepared,
                              .fragments = p->fragments,
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
                              .eps = args->eps,
                              .post_eps = args->post_eps,
                              .factor = args->scale,
                              .softcap = args->softcap};
}

static void run_linear(struct program *p, const struct op *op) {
  struct cuda_linear a = linear_of(p, op);
  a.result_cols = a.gated ? a.out_cols : a.matrix.rows;
  if (cuda_linear_fast(p->plan, op))
    cuda_linear_few(&a, p->device->multiprocessors, p->device->stream);
  else
    cuda_linear_plain(&a, p->device->stream);
}

static void run_attend(struct program *p, const struct op *op) {
  const struct attend_args *args = &op->args.attend;
  const struct kv_group *group = plan_groups(p->plan) + args->group;
  struct cuda_attend a = {.in = p->value[op->in[0]],
                          .out = p->value[op->out],
                          .norm_q = vector_of(p, op->weight[0]),
                          .norm_k = vector_of(p, op->weight[1]),
                          .sink = vector_of(p, op->weight[2]),
                          .frequency = p->frequency + args->rope_freq,
                          .cache = p->cache[args->group],
                          .n_head = args->n_head,
                          .n_kv_head = args->n_kv_head,
                          .dim_k = args->dim_k,
                          .dim_v = args->dim_v,
                          .in_cols = cols_of(p, op->in[0]),
                          .group = args->group,
                          .n_group = p->plan->n_group,
                          .layer = args->layer,
                          .n_layer = group->n_layer,
                          .block_size = p->limits.block_size,
                          .window = group->window,
                          .rope_style = args->rope_style,
                          .rope_dim = args->rope_dim,
                          .rope_scale = args->rope_scale,
                          .eps = args->eps,
                          .scale = args->scale,
                          .softcap = args->softcap,
                          .half = p->limits.kv_dtype == KV_F16};
  cuda_attend_plain(&a, &p->on_device, p->device->stream);
}

static void op_run(struct program *p, const struct op *op) {
  struct cuda_matrix table;
  switch (op->kind) {
  case OP_EMBED:
    table = matrix_of(p, op->weight[0]);
    cuda_embed(&table, &p->on_device, op->args.embed.scale, p->value[op->out], cols_of(p, op->out), p->device->stream);
    break;
  case OP_LINEAR: run_linear(p, op); break;
  case OP_ATTEND: run_attend(p, op); break;
  case OP_SELECT:
    cuda_select(p->value[op->in[0]], p->value[op->out], cols_of(p, op->out), &p->on_device, p->device->stream);
    break;
  case OP_SAMPLE: break; /* on the host */
  }
}

static bool ops_run(struct program *p, int first, int end, struct error *error) {
  for (int i = first; i < end; i++) {
    op_run(p, plan_ops(p->plan) + i);
    if (!cuda_check(cudaGetLastError(), op_kind_name(plan_ops(p->plan)[i].kind), error)) return false;
  }
  return true;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

bool cuda_submit(struct program *p, const struct batch *batch, struct error *error) {
  if (!batch_check(batch, p->plan, &p->limits, error)) return false;
  p->batch = batch;
  return batch_send(p, batch, error) && blocks_copy(p, batch, error) && ops_run(p, 0, p->n_body, error);
}

/* Logits are what the last op over outputs took (sampling) or made. */
static int logits_value(const struct program *p) {
  const struct op *last = plan_ops(p->plan) + p->plan->n_op - 1;
  return last->kind == OP_SAMPLE ? last->in[0] : last->out;
}

static bool outputs_sample(struct program *p, const struct masks *masks, struct error *error) {
  for (int i = 0; i < p->batch->n_out; i++) {
    struct sample sample = {0};
    const struct sampling *sampling = &p->batch->sampling[i];
    if (!sampler_draw(p->logits + (size_t)i * (size_t)p->plan->vocab, p->plan->vocab, sampling,
                      masks ? masks->mask[i] : NULL, p->sampler, &sample, error))
      return false;
    p->token[i] = sample.token;
    p->logprob[i] = sample.logprob;
    memcpy(p->top + i * TOP_LOGPROBS, sample.top, (size_t)sampling->n_top * sizeof *sample.top);
  }
  return true;
}

bool cuda_finish(struct program *p, const struct masks *masks, struct error *error) {
  size_t bytes = (size_t)p->batch->n_out * (size_t)p->plan->vocab * sizeof(float);
  if (p->batch->n_out > 0 && !ops_run(p, p->n_body, p->plan->n_op, error)) return false;
  if (!cuda_check(
          cudaMemcpyAsync(p->logits, p->value[logits_value(p)], bytes, cudaMemcpyDeviceToHost, p->device->stream),
          "copying logits from the GPU", error) ||
      !cuda_check(cudaStreamSynchronize(p->device->stream), "a step", error))
    return false;
  return plan_ops(p->plan)[p->plan->n_op - 1].kind != OP_SAMPLE || outputs_sample(p, masks, error);
}

bool cuda_collect(struct program *p, struct result *result, struct error *error) {
  (void)error;
  *result = (struct result){.n_out = p->batch->n_out,
                            .token = p->token,
                            .logprob = p->logprob,
                            .top = p->top,
                            .logits = p->batch->want_logits ? p->logits : NULL};
  p->batch = NULL;
  return true;
}
