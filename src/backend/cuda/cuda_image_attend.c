/* Attention of encoders: in kernels for whole rows, in those of decoders' prompts, or in plain ones. */
#include "backend/cuda/attend_distances.h"
#include "backend/cuda/cuda_program.h"

void cuda_image_heads_fill(const struct program *p, const struct op *attend, struct cuda_image_ends *ends) {
  const struct attend_args *args = &attend->args.attend;
  ends->place = IMAGE_HEADS;
  ends->query = p->images.query;
  ends->cache = p->images.cache;
  ends->cached = p->images.place;
  ends->n_head = args->n_head;
  ends->dim = args->dim_k;
  ends->room = cuda_image_room(args->dim_k);
  ends->scale = args->scale * 1.44269504088896341f; /* scores are logarithms to base 2 */
}

/* What an encoder's attention has beside: one layer's cache, angles, and where a token is in an image. */
static void encoder_fill(const struct program *p, const struct op *op, struct cuda_attend *a) {
  const struct attend_args *args = &op->args.attend;
  a->axis = p->images.axis ? p->images.axis + args->rope_freq : NULL;
  a->angle = p->attention.angle ? p->attention.angle + (size_t)args->rope_freq * 2 : NULL;
  a->n_angle = p->attention.n_angle;
  a->places = (struct cuda_places){p->images.places.place, args->local ? p->images.places.span : NULL};
  a->cache = p->images.cache;
  a->n_group = 1;
  a->n_layer = 1;
  a->block_size = IMAGE_BLOCK;
}

static struct cuda_distances distances_of(const struct program *p, const struct op *op) {
  const struct attend_args *args = &op->args.attend;
  int32_t most = p->plan->max_position - 1;
  if (args->alibi != LEAN_DISTANCES) return (struct cuda_distances){0};
  return (struct cuda_distances){p->frequency + args->alibi_slope + most, (int32_t)lean_numbers(p->plan->max_position),
                                 most};
}

/* By the kernels of decoders' prompts. */
static void packed_run(struct program *p, const struct op *op, struct cuda_attend *a) {
  const struct attend_args *args = &op->args.attend;
  struct cuda_batch batch = p->on_device;
  if (args->causal) batch.see = NULL;
  if (args->near > 0) a->window = args->causal ? args->near + 1 : -(args->near + 1);
  a->query = p->images.query;
  a->chunk = batch.chunk;
  a->n_chunk = p->images.n_chunk;
  a->n_block = p->device->multiprocessors;
  p->device->path->attend_store(a, &batch, p->device->stream);
  p->device->path->attend_prefill(a, &batch, p->device->stream);
}

/* Of a long text some of its tokens after the others, each of which may take a while. */
static void plain_run(struct program *p, const struct op *op, const struct cuda_attend *a) {
  const struct cuda_distances distances = distances_of(p, op);
  struct cuda_attend_beside beside = cuda_attend_beside_of(op);
  for (int first = 0, all = p->on_device.n_token; first < all; first += PLAIN_TOKENS) {
    int n = all - first < PLAIN_TOKENS ? all - first : PLAIN_TOKENS;
    cuda_attend_plain_apart(a, &beside, &distances, &p->on_device, first, n, p->device->stream);
    cuda_marks_put(p);
  }
}

/* By the kernels for whole rows, which leave the next linear its tokens. */
static void whole_run(struct program *p, const struct op *op, struct cuda_attend *a) {
  const struct cuda_distances distances = distances_of(p, op);
  if (!cuda_image_heads_left(p->plan, &p->limits, op)) {
    struct cuda_image_ends ends = {0};
    cuda_image_heads_fill(p, op, &ends);
    cuda_image_heads(a, &ends, &p->on_device, p->device->stream);
  }
  a->dim_k = cuda_image_room(a->dim_k);
  a->query = p->images.query;
  a->chunk = p->on_device.chunk;
  a->n_chunk = p->images.n_chunk;
  a->n_block = p->device->multiprocessors;
  p->ready = op + 1;
  a->next_fragments = p->fragments[p->turn ^= 1];
  if (distances.gain)
    cuda_image_attend_apart(a, &distances, &p->on_device, p->device->stream);
  else
    cuda_image_attend(a, &p->on_device, p->device->stream);
}

void cuda_image_attend_run(struct program *p, const struct op *op) {
  struct cuda_attend a = cuda_attend_of(p, op);
  encoder_fill(p, op, &a);
  cuda_attend_heads(p, op, &a);
  p->ready = NULL;
  if (cuda_image_attend_packs(p->device->path, p->plan, &p->limits, op))
    packed_run(p, op, &a);
  else if (cuda_image_tiled(p) && cuda_image_attend_fits(p->plan, &p->limits, op))
    whole_run(p, op, &a);
  else
    plain_run(p, op, &a);
}
