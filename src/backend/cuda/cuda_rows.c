/* Rows into a network and out of it: embeddings and selections, of decoders and of encoders of texts. */
#include "backend/cuda/cuda_adapted.h"

static int32_t cols_of(const struct program *p, int value) { return plan_values(p->plan)[value].cols; }

static struct cuda_norm norm_of(const struct program *p, uint8_t kind, float eps, int weight) {
  return (struct cuda_norm){.kind = kind, .eps = eps, .weight = cuda_vector(p, weight)};
}

/* By ids alone, with what adapters and the pool of rows put in their place. */
static void tokens_embed(struct program *p, const struct op *op) {
  const struct embed_args *args = &op->args.embed;
  struct cuda_matrix table = cuda_matrix_of(p, op->weight[0]);
  struct cuda_norm norm = norm_of(p, args->norm, args->eps, op->weight[2]);
  int32_t cols = cols_of(p, op->out);
  float *out = p->value[op->out];
  if (p->adapted)
    cuda_adapted_embed(p, op);
  else
    cuda_embed(&table, &p->on_device, args->scale, out, cols, p->device->stream);
  cuda_pool_run(p, op);
  if (norm.kind != NORM_NONE) cuda_image_norm(out, p->on_device.n_token, cols, cols, &norm, out, p->device->stream);
}

void cuda_rows_embed(struct program *p, const struct op *op) {
  const struct embed_args *args = &op->args.embed;
  if (args->source == EMBED_TOKENS && op->in[0] < 0) {
    tokens_embed(p, op);
    return;
  }
  const struct cuda_embed_rows a = {.table = cuda_matrix_of(p, op->weight[0]),
                                    .norm = norm_of(p, args->norm, args->eps, op->weight[2]),
                                    .in = op->in[0] >= 0 ? p->value[op->in[0]] : NULL,
                                    .place = p->plan->role == PLAN_ENCODER ? p->images.places.place : NULL,
                                    .out = p->value[op->out],
                                    .scale = args->scale,
                                    .axis = args->axis,
                                    .skip = args->skip,
                                    .by_token = args->source == EMBED_TOKENS};
  cuda_embed_rows(&a, &p->on_device, p->device->stream);
}

void cuda_rows_select(struct program *p, const struct op *op) {
  const struct select_args *args = &op->args.select;
  const float *in = p->value[op->in[0]];
  float *out = p->value[op->out];
  int32_t cols = cols_of(p, op->in[0]);
  struct cuda_norm norm = norm_of(p, args->norm, args->eps, op->weight[2]);
  struct cuda_pool_select pool = {in, out, norm, cols, args->pool == POOL_MEAN};
  struct cuda_image_select one = {.in = in,
                                  .token = p->on_device.out,
                                  .out = out,
                                  .n = p->on_device.n_out,
                                  .cols = cols,
                                  .merged = 1,
                                  .norm = norm};
  if (args->pool != POOL_TOKEN)
    cuda_pool_select(&pool, &p->on_device, p->device->stream);
  else if (norm.kind != NORM_NONE)
    cuda_image_select(&one, p->device->stream);
  else
    cuda_select(in, out, cols, &p->on_device, p->device->stream);
}
