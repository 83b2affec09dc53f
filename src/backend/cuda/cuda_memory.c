/* A program's memory: buffers and the KV cache on the device, pinned buffers of the host, tables. All of it is taken
 * here, before the first step. */
#include "backend/cuda/cuda_adapted.h"
#include "backend/cuda/cuda_check.h"
#include "backend/sampler.h"

#include <stdlib.h>
#include <string.h>

static bool buffer_alloc(void *user, void *place, size_t bytes) {
  return bytes == 0 || cuda_check(cudaMalloc(place, bytes), "allocating the workspace", user);
}

static bool buffer_free(void *user, void *place, size_t bytes) {
  (void)user, (void)bytes;
  cudaFree(*(void **)place);
  return true;
}

static bool zeros(const struct program *p, void *to, size_t bytes, struct error *error) {
  return cuda_check(cudaMemsetAsync(to, 0, bytes, p->device->stream), "clearing the workspace", error);
}

static bool between_clear(struct program *p, struct error *error) {
  struct cuda_between *b = &p->between;
  size_t bytes = 2 * (size_t)b->units * BETWEEN_UNIT;
  return zeros(p, b->state, BETWEEN_WORDS * sizeof *b->state, error) &&
         cuda_check(cudaMemsetAsync(b->sets, 0xff, bytes, p->device->stream), "clearing the workspace", error);
}

static bool device_alloc(struct program *p, struct error *error) {
  size_t used = 0;
  if (!cuda_buffers_visit(p, buffer_alloc, error)) return false;
  for (int i = 0; i < p->plan->n_weight; i++) {
    bool hosted = p->hosted.data[i];
    p->weight[i] = hosted ? p->hosted.stage : p->weights + used;
    if (!hosted) used += cuda_weight_room(plan_weights(p->plan) + i);
  }
  struct cuda_linear_needs linears = cuda_linear_most(p->plan, &p->limits);
  p->between.units = linears.between, p->n_product = linears.product;
  struct cuda_attend_needs needs = cuda_attend_most(p->device->path, p->plan, &p->limits);
  struct cuda_image_needs images = cuda_image_most(p->plan, &p->limits);
  return between_clear(p, error) &&
         (needs.arrived == 0 || zeros(p, p->attention.arrived, needs.arrived * sizeof *p->attention.arrived, error)) &&
         (images.cache == 0 || zeros(p, p->images.cache, images.cache, error)) &&
         (images.query == 0 || zeros(p, p->images.query, images.query * sizeof *p->images.query, error)) &&
         zeros(p, p->greatest, (size_t)p->limits.outputs * sizeof *p->greatest, error) &&
         zeros(p, p->last, (size_t)p->limits.seats * sizeof *p->last, error);
}

static bool caches_open(struct program *p, struct error *error) {
  const struct limits *limits = &p->limits;
  uint64_t sequence = (uint64_t)((limits->length + limits->block_size - 1) / limits->block_size);
  for (int g = 0; g < p->plan->n_group; g++) {
    uint64_t block = p->block_bytes[g] = cuda_block_bytes(p->plan, limits, g);
    uint64_t wanted = block * sequence * (uint64_t)limits->seats;
    if (!cuda_pool_open(&p->cache[g], p->device->ordinal, block * limits->n_block[g], wanted, error)) return false;
  }
  return true;
}

static bool pinned_alloc(void *place, size_t bytes, struct error *error) {
  if (!cuda_pin(place, bytes ? bytes : 1, error)) return false;
  memset(*(void **)place, 0, bytes);
  return true;
}

static bool slot_alloc(struct program *p, struct cuda_slot *slot, struct error *error) {
  size_t outputs = (size_t)p->limits.outputs;
  size_t patches = (size_t)p->limits.tokens * cuda_patch_numbers(p->plan) * sizeof(float);
  size_t cols = (size_t)plan_values(p->plan)[plan_result(p->plan)].cols, vectors = outputs * cols * sizeof(float);
  if (patches > 0 && !pinned_alloc(&slot->patches, patches, error)) return false;
  if (p->plan->role == PLAN_ENCODER &&
      !(pinned_alloc(&slot->vectors, vectors, error) && cuda_marks_take(&slot->marks, error)))
    return false;
  return pinned_alloc(&slot->slab, p->slab_bytes, error) &&
         pinned_alloc(&slot->results.token, outputs * sizeof *slot->results.token, error) &&
         pinned_alloc(&slot->results.logprob, outputs * sizeof *slot->results.logprob, error) &&
         pinned_alloc(&slot->results.top, outputs * TOP_LOGPROBS * sizeof *slot->results.top, error) &&
         cuda_check(cudaEventCreateWithFlags(&slot->done, cudaEventDisableTiming), "making an event", error);
}

static bool slots_alloc(struct program *p, struct error *error) {
  p->slab_bytes = cuda_slab_most(p->plan, &p->limits);
  for (int i = 0; i <= CUDA_RUN_AHEAD; i++)
    if (!slot_alloc(p, &p->slot[i], error)) return false;
  return pinned_alloc(&p->last_seen, (size_t)p->limits.seats * sizeof *p->last_seen, error);
}

/* Logits of all outputs are many bytes that few engines ever read: pages of the host that come when they are written,
 * not pinned. */
static bool tables_alloc(struct program *p, struct error *error) {
  size_t seats = (size_t)p->limits.seats, cols = (size_t)plan_values(p->plan)[plan_result(p->plan)].cols;
  p->weight = calloc((size_t)p->plan->n_weight + 1, sizeof *p->weight);
  p->hosted.data = calloc((size_t)p->plan->n_weight + 1, sizeof *p->hosted.data);
  p->loaded = calloc((size_t)p->plan->n_weight + 1, sizeof *p->loaded);
  p->upload = calloc((size_t)p->plan->n_weight + 1, sizeof *p->upload);
  p->exponent = calloc((size_t)p->plan->n_weight + 1, sizeof *p->exponent);
  p->value = calloc((size_t)p->plan->n_value + 1, sizeof *p->value);
  p->sampler = malloc(sampler_scratch_bytes(p->plan->vocab) + 1);
  p->history = calloc((size_t)p->limits.length + 1, sizeof *p->history);
  p->seat_token = malloc((seats + 1) * sizeof *p->seat_token);
  p->logits = malloc((size_t)p->limits.outputs * cols * sizeof *p->logits);
  if (!p->weight || !p->hosted.data || !p->loaded || !p->upload || !p->exponent || !p->value || !p->sampler ||
      !p->history || !p->seat_token || !p->logits)
    return error_set(error, ERROR_MEMORY, "There is no memory for the tables of a plan of %d ops.", p->plan->n_op);
  for (size_t i = 0; i < seats; i++) p->seat_token[i] = -1;
  return true;
}

bool cuda_memory_take(struct program *p, struct error *error) {
  return tables_alloc(p, error) && cuda_hosted_take(p, error) && device_alloc(p, error) && slots_alloc(p, error) &&
         cuda_adapters_take(p, error) && caches_open(p, error);
}

static void slot_release(struct cuda_slot *slot) {
  cudaFreeHost(slot->slab);
  cudaFreeHost(slot->patches);
  cudaFreeHost(slot->vectors);
  cudaFreeHost(slot->results.token);
  cudaFreeHost(slot->results.logprob);
  cudaFreeHost(slot->results.top);
  if (slot->done) cudaEventDestroy(slot->done);
  cuda_marks_release(&slot->marks);
}

void cuda_memory_release(struct program *p) {
  cuda_adapters_release(p);
  cuda_hosted_release(p);
  if (p->value && p->exponent) cuda_buffers_visit(p, buffer_free, NULL);
  for (int g = 0; g < PLAN_GROUPS; g++) cuda_pool_close(&p->cache[g]);
  for (int i = 0; i <= CUDA_RUN_AHEAD; i++) slot_release(&p->slot[i]);
  cudaFreeHost(p->last_seen);
  free(p->weight);
  free(p->hosted.data);
  free(p->loaded);
  free(p->upload);
  free(p->exponent);
  free(p->value);
  free(p->sampler);
  free(p->history);
  free(p->seat_token);
  free(p->logits);
}
