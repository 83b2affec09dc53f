/* A step of an encoder, of images or of texts: its batch's way to the device, and its ops. Linears and attention
 * between them run in kernels of their own where these fit (cuda_image.h); otherwise in those of decoders, with norms
 * and activations that those do not have before and after them. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

#include <string.h>

enum { PATCH_COPY = 1 << 20 /* bytes that are on their way while the next are gathered */ };

#define SAME(ours, plans) _Static_assert((int)(ours) == (int)(plans), "kernels know the plan's numbers by other names")
SAME(NORMED_NOT, NORM_NONE);
SAME(NORMED_RMS, NORM_RMS);
SAME(NORMED_LAYER, NORM_LAYER);
SAME(CURVE_GELU_ERF, ACT_GELU);
SAME(CURVE_GELU_QUICK, ACT_GELU_QUICK);

bool cuda_image_tiled(const struct program *p) { return p->device->path->linear_many == cuda_linear_many; }

/* --- ops ---------------------------------------------------------------------------------------------------------- */

static struct cuda_norm norm_of(const struct program *p, uint8_t kind, float eps, int weight) {
  return (struct cuda_norm){.kind = kind, .eps = eps, .weight = cuda_vector(p, weight)};
}

static void embed_run(struct program *p, const struct op *op) {
  const struct embed_args *args = &op->args.embed;
  bool patches = args->source == EMBED_PATCHES;
  struct cuda_matrix table;
  struct cuda_image_embed a = {.out = p->value[op->out],
                               .first = cuda_vector(p, op->weight[1]),
                               .in = op->in[0] >= 0 ? p->value[op->in[0]] : NULL,
                               .rows = p->images.patches,
                               .index = p->on_device.token,
                               .n = p->on_device.n_token,
                               .cols = plan_values(p->plan)[op->out].cols,
                               .scale = args->scale,
                               .norm = norm_of(p, args->norm, args->eps, op->weight[2])};
  if (patches && cuda_patches_straight(p->plan)) return; /* they are there */
  if (!patches) table = cuda_matrix_of(p, op->weight[0]), a.table = &table;
  cuda_image_embed(&a, p->device->stream);
}

static void select_run(struct program *p, const struct op *op) {
  const struct select_args *args = &op->args.select;
  int32_t cols = plan_values(p->plan)[op->in[0]].cols;
  struct cuda_image_select a = {.in = p->value[op->in[0]],
                                .token = p->on_device.out,
                                .out = p->value[op->out],
                                .n = p->on_device.n_out,
                                .cols = cols,
                                .merged = args->mean ? args->mean : plan_values(p->plan)[op->out].cols / cols,
                                .mean = args->mean > 0,
                                .norm = norm_of(p, args->norm, args->eps, op->weight[2])};
  cuda_image_select(&a, p->device->stream);
}

/* --- linears ------------------------------------------------------------------------------------------------------ */

/* Decoders' kernels, with what they lack apart. */
static void linear_apart(struct program *p, const struct op *op, struct cuda_linear *a) {
  const struct linear_args *args = &op->args.linear;
  bool late = args->act > ACT_GELU_TANH;
  if (args->norm == NORM_LAYER) {
    struct cuda_norm norm = norm_of(p, NORM_LAYER, args->eps, op->weight[2]);
    cuda_image_norm(a->in, a->n_row, a->in_cols, a->matrix.cols, &norm, p->prepared, p->device->stream);
    a->in = p->prepared, a->in_cols = a->matrix.cols, a->has_norm = false;
  }
  if (late) a->act = ACT_NONE, a->factor = 1;
  if (cuda_linear_fast(p->device->path, p->plan, op))
    p->device->path->linear_many(a, p->device->multiprocessors, p->device->stream);
  else
    cuda_linear_plain(a, p->device->stream);
  if (late) cuda_image_act(a->out, a->n_row, a->out_cols, a->result_cols, args->act, args->scale, p->device->stream);
}

static void linear_run(struct program *p, const struct op *op) {
  struct cuda_linear a = cuda_linear_of(p, op);
  const struct linear_args *args = &op->args.linear;
  bool ready = p->ready == op;
  p->ready = NULL;
  if (!cuda_image_tiled(p) || !cuda_image_linear_fits(p->plan, op)) {
    if (p->plan->role == PLAN_ENCODER)
      cuda_linear_run(p, op);
    else
      linear_apart(p, op, &a);
    return;
  }
  struct cuda_image_ends ends = {.bias = a.bias, .act = args->act, .place = IMAGE_FLOATS};
  struct cuda_norm norm = norm_of(p, args->norm, args->eps, op->weight[2]);
  if (!ready) cuda_image_prepare(a.in, a.n_row, a.in_cols, a.matrix.cols, &norm, a.fragments, p->device->stream);
  if (cuda_image_passes(p->plan, op)) {
    ends.place = IMAGE_TILES;
    ends.tiles = p->fragments[p->turn ^= 1];
    p->ready = op + 1;
  } else if (op + 1 < plan_ops(p->plan) + p->plan->n_op && cuda_image_heads_left(p->plan, &p->limits, op + 1)) {
    cuda_image_heads_fill(p, op + 1, &ends);
  }
  a.bias = a.norm = a.post_norm = NULL, a.has_norm = a.has_post_norm = false, a.act = ACT_NONE;
  cuda_image_linear(&a, &ends, p->device->stream);
  struct cuda_norm sum = norm_of(p, args->post_norm, args->post_eps, op->weight[3]);
  if (cuda_image_sum_normed(p->plan, op))
    cuda_image_norm(a.out, a.n_row, a.out_cols, a.out_cols, &sum, a.out, p->device->stream);
}

void cuda_image_run(struct program *p, const struct op *op) {
  bool texts = p->plan->role == PLAN_ENCODER;
  switch (op->kind) {
  case OP_EMBED: (texts ? cuda_rows_embed : embed_run)(p, op); break;
  case OP_LINEAR: (cuda_op_has_experts(op) ? cuda_linear_run : linear_run)(p, op); break;
  case OP_ATTEND: cuda_image_attend_run(p, op); break;
  case OP_ROUTE: cuda_route_run(p, op); break;
  case OP_SELECT: (texts ? cuda_rows_select : select_run)(p, op); break;
  }
}

/* --- a batch's way to the device ---------------------------------------------------------------------------------- */

static void *on_host(const struct program *p, const struct cuda_slot *slot, const void *device) {
  return slot->slab + ((const uint8_t *)device - p->slab);
}

/* Rows begin blocks of the cache, one after the other; a token sees up to its row's last. */
static void rows_fill(struct program *p, const struct cuda_slot *slot, const struct batch *batch) {
  struct cuda_row *row = on_host(p, slot, p->on_device.row);
  int32_t *token_row = on_host(p, slot, p->on_device.token_row), *see = on_host(p, slot, p->on_device.see);
  uint32_t *table = on_host(p, slot, p->on_device.tables), at = 0;
  int32_t blocks_most = cuda_image_blocks(batch->n_row, batch->n_token);
  uint32_t *place = table + blocks_most;
  struct cuda_chunk *chunk = on_host(p, slot, p->on_device.chunk);
  p->images.n_chunk = 0;
  p->images.place = p->on_device.tables + blocks_most;
  for (int r = 0; r < batch->n_row; r++) {
    const struct row *from = batch->row + r;
    uint32_t blocks = (uint32_t)(from->count + IMAGE_BLOCK - 1) / IMAGE_BLOCK;
    row[r] = (struct cuda_row){from->first, from->count, 0, from->seat, at, blocks};
    for (int i = 0, t = from->first; i < from->count; i++, t++)
      token_row[t] = r, see[t] = from->count - 1, place[t] = at * IMAGE_BLOCK + (uint32_t)i;
    for (int32_t c = (from->count * p->images.packed - 1) / ATTEND_CHUNK; c >= 0; c--)
      chunk[p->images.n_chunk++] = (struct cuda_chunk){r, c};
    for (uint32_t i = 0; i < blocks; i++, at++) table[at] = at;
  }
}

/* Gathered in pinned memory and copied from there, a part after the other. */
static bool patches_send(struct program *p, struct cuda_slot *slot, const struct batch *batch, struct error *error) {
  const struct op *op = plan_embed(p->plan, EMBED_PATCHES);
  if (!op) return true; /* texts have none */
  size_t bytes = (size_t)batch->n_token * cuda_patch_numbers(p->plan) * sizeof(float);
  uint8_t *to = (uint8_t *)(cuda_patches_straight(p->plan) ? p->value[op->out] : p->images.patches);
  for (size_t at = 0, n; at < bytes; at += n) {
    n = bytes - at < PATCH_COPY ? bytes - at : PATCH_COPY;
    memcpy(slot->patches + at, (const uint8_t *)batch->patches + at, n);
    if (!cuda_check(cudaMemcpyAsync(to + at, slot->patches + at, n, cudaMemcpyHostToDevice, p->device->stream),
                    "copying patches to the GPU", error))
      return false;
  }
  return true;
}

/* Rows of the table of positions, and places of rotations. */
static void images_fill(struct program *p, const struct cuda_slot *slot, const struct batch *batch) {
  int32_t *position = on_host(p, slot, p->on_device.token);
  for (int i = 0; i < batch->n_token; i++) position[i] = batch->position ? batch->position[i][0] : 0;
  if (p->images.places.place)
    memcpy(on_host(p, slot, p->images.places.place), batch->position, (size_t)batch->n_token * sizeof *batch->position);
  if (p->images.places.span)
    memcpy(on_host(p, slot, p->images.places.span), batch->span, (size_t)batch->n_token * sizeof *batch->span);
}

/* Ids, and what tables are read by beside: the index in the text and 0, unless the batch says otherwise. */
static void texts_fill(struct program *p, const struct cuda_slot *slot, const struct batch *batch) {
  int32_t(*place)[3] = on_host(p, slot, p->images.places.place);
  memcpy(on_host(p, slot, p->on_device.token), batch->token, (size_t)batch->n_token * sizeof *batch->token);
  for (int r = 0; r < batch->n_row; r++)
    for (int i = 0, t = batch->row[r].first; i < batch->row[r].count; i++, t++)
      for (int axis = 0; axis < 3; axis++)
        place[t][axis] = batch->position ? batch->position[t][axis] : axis == 0 ? i : 0;
}

/* What an output is made from; of pooled texts the first token that is. */
static void outs_fill(struct program *p, const struct cuda_slot *slot, const struct batch *batch) {
  int32_t *out = on_host(p, slot, p->on_device.out);
  const int32_t *token_row = on_host(p, slot, p->on_device.token_row);
  bool pools = plan_pools(p->plan);
  for (int i = 0; i < batch->n_out; i++) {
    const struct row *row = batch->row + token_row[batch->out[i]];
    out[i] = pools ? row->first + row->lead : batch->out[i];
  }
}

bool cuda_image_send(struct program *p, struct cuda_slot *slot, const struct batch *batch, struct error *error) {
  struct cuda_batch counts = {.n_row = batch->n_row, .n_token = batch->n_token, .n_out = batch->n_out};
  size_t bytes = cuda_batch_lay(p, counts, true, cuda_image_tables(batch->n_row, batch->n_token));
  p->decode = NULL;
  p->ready = NULL;
  p->ruled = p->plain = false;
  rows_fill(p, slot, batch);
  (p->plan->role == PLAN_ENCODER ? texts_fill : images_fill)(p, slot, batch);
  outs_fill(p, slot, batch);
  slot->n_out = batch->n_out;
  slot->want_logits = batch->want_logits;
  slot->by_host = false;
  return cuda_check(cudaMemcpyAsync(p->slab, slot->slab, bytes, cudaMemcpyHostToDevice, p->device->stream),
                    "copying a batch to the GPU", error) &&
         patches_send(p, slot, batch, error);
}
