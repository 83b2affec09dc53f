/* Which buffers a program has on the device beside weights and KV cache, and how large each is: what is counted before
 * is what is allocated, or more where its path has no kernel that wants it. Host code without a device. */
#include "backend/cuda/cuda_program.h"

/* The state of a walk over all buffers. */
struct visit {
  cuda_buffer_visit *one;
  void *user;
};

static bool numbers(const struct visit *v, void *place, size_t count, size_t size) {
  return v->one(v->user, place, count * size);
}

static bool values_visit(struct program *p, const struct visit *v) {
  bool go_on = true;
  for (int i = 0; go_on && i < p->plan->n_value; i++) {
    size_t count = cuda_rows_most(p->plan, &p->limits, i) * (size_t)plan_values(p->plan)[i].cols;
    go_on = numbers(v, p->value ? &p->value[i] : NULL, count, sizeof(float));
  }
  return go_on;
}

/* Of strips, for paths that want them (cuda_paths.h). */
static bool exponents_visit(struct program *p, const struct visit *v) {
  bool go_on = true;
  for (int i = 0; go_on && i < p->plan->n_weight; i++)
    go_on = numbers(v, p->exponent ? &p->exponent[i] : NULL, cuda_exponents_of(plan_weights(p->plan) + i),
                    sizeof **p->exponent);
  return go_on;
}

static bool linears_visit(struct program *p, const struct visit *v) {
  struct cuda_linear_needs needs = cuda_linear_most(p->plan, &p->limits);
  return numbers(v, &p->prepared, needs.prepared, sizeof *p->prepared) &&
         numbers(v, &p->product, needs.product, sizeof *p->product) &&
         numbers(v, &p->ended, needs.ended, sizeof *p->ended) &&
         numbers(v, &p->expert_lists, needs.lists, sizeof *p->expert_lists) &&
         numbers(v, &p->fragments[0], needs.fragments, 1) && numbers(v, &p->fragments[1], needs.fragments, 1) &&
         numbers(v, &p->expanded, needs.expanded, 1) &&
         numbers(v, &p->squares[0], needs.squares, sizeof *p->squares[0]) &&
         numbers(v, &p->squares[1], needs.squares, sizeof *p->squares[1]) &&
         numbers(v, &p->between.state, BETWEEN_WORDS, sizeof *p->between.state) &&
         numbers(v, &p->between.sets, 2 * (size_t)needs.between, BETWEEN_UNIT);
}

static bool attention_visit(struct program *p, const struct visit *v) {
  struct cuda_attention *a = &p->attention;
  struct cuda_attend_needs needs = cuda_attend_most(p->device ? p->device->path : NULL, p->plan, &p->limits);
  return numbers(v, &a->angle, needs.angle, sizeof *a->angle) && numbers(v, &a->parts, needs.parts, sizeof *a->parts) &&
         numbers(v, &a->query, needs.query, sizeof *a->query) &&
         numbers(v, &a->arrived, needs.arrived, sizeof *a->arrived);
}

static bool adapters_visit(struct program *p, const struct visit *v) {
  struct cuda_adapters *a = &p->adapters;
  struct cuda_adapter_needs needs = cuda_adapter_most(p->plan, &p->limits);
  size_t slots = (size_t)p->limits.adapters, bytes = slots ? cuda_adapter_lay(p->plan, &p->limits, NULL) : 0;
  return numbers(v, &a->factors, slots, bytes) &&
         numbers(v, &a->site, slots * (size_t)p->plan->n_op, sizeof *a->site) &&
         numbers(v, &a->expert, slots * (size_t)cuda_adapter_experts(p->plan), sizeof *a->expert) &&
         numbers(v, &a->slab, needs.slab, 1) && numbers(v, &a->h, needs.h, sizeof *a->h) &&
         numbers(v, &a->squares, needs.squares, sizeof *a->squares) &&
         numbers(v, &a->counts, needs.counts, sizeof *a->counts) &&
         numbers(v, &a->partial, LINEAR_CHAIN * needs.part_bytes, 1);
}

static bool images_visit(struct program *p, const struct visit *v) {
  struct cuda_images *i = &p->images;
  struct cuda_image_needs needs = cuda_image_most(p->plan, &p->limits);
  return numbers(v, &i->cache, needs.cache, 1) && numbers(v, &i->query, needs.query, sizeof *i->query) &&
         numbers(v, &i->patches, needs.patches, sizeof *i->patches) &&
         numbers(v, &i->pool, (size_t)p->limits.pool * (size_t)p->plan->hidden, sizeof *i->pool);
}

bool cuda_buffers_visit(struct program *p, cuda_buffer_visit *one, void *user) {
  struct visit v = {one, user};
  struct cuda_weight_needs weights = cuda_weights_most(p->plan, &p->limits);
  return numbers(&v, &p->weights, weights.device, 1) && numbers(&v, &p->hosted.stage, weights.stage, 1) &&
         values_visit(p, &v) && linears_visit(p, &v) && attention_visit(p, &v) && exponents_visit(p, &v) &&
         adapters_visit(p, &v) && images_visit(p, &v) &&
         numbers(&v, &p->slab, cuda_slab_most(p->plan, &p->limits), 1) &&
         numbers(&v, &p->last, (size_t)p->limits.seats, sizeof *p->last) &&
         numbers(&v, &p->greatest, (size_t)p->limits.outputs, sizeof *p->greatest) &&
         numbers(&v, &p->frequency, p->plan->n_float, sizeof *p->frequency) &&
         numbers(&v, &p->images.axis, plan_has_axes(p->plan) ? p->plan->n_float : 0, sizeof *p->images.axis) &&
         numbers(&v, &p->room, cuda_room_most(p->plan, &p->limits), sizeof *p->room);
}
