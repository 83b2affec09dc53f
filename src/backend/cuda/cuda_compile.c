/* From a plan to a program on a GPU: all memory is taken here, kernels are loaded and graphs made, nothing of it later.
 */
#include "backend/backends.h"
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"
#include "backend/sampler.h"

#include <stdlib.h>
#include <string.h>

static bool op_of_head(const struct plan *plan, const struct op *op) {
  return op->kind == OP_SAMPLE || plan_values(plan)[op->out].rows == ROWS_OUTPUTS;
}

static bool device_alloc(void *place, size_t bytes, const char *what, struct error *error) {
  return cuda_check(cudaMalloc(place, bytes ? bytes : 1), what, error);
}

/* One allocation for all. */
static bool weights_alloc(struct program *p, struct error *error) {
  size_t used = 0;
  if (!device_alloc(&p->weights, cuda_weights_bytes(p->plan), "allocating weights", error)) return false;
  for (int i = 0; i < p->plan->n_weight; i++) {
    p->weight[i] = p->weights + used;
    used += cuda_weight_room(plan_weights(p->plan) + i);
  }
  return true;
}

/* Graphs fix where they are. */
static bool exponents_alloc(struct program *p, struct error *error) {
  for (int i = 0; p->device->path->exponents && i < p->plan->n_weight; i++) {
    size_t count = cuda_exponents_of(plan_weights(p->plan) + i);
    if (count > 0 && !device_alloc(&p->exponent[i], count * sizeof **p->exponent, "allocating the workspace", error))
      return false;
  }
  return true;
}

static bool values_alloc(struct program *p, struct error *error) {
  struct cuda_linear_needs needs = cuda_linear_most(p->plan, &p->limits);
  for (int i = 0; i < p->plan->n_value; i++) {
    size_t count = cuda_rows_most(p->plan, &p->limits, i) * (size_t)plan_values(p->plan)[i].cols;
    if (!device_alloc(&p->value[i], count * sizeof(float), "allocating the workspace", error)) return false;
  }
  return device_alloc(&p->prepared, needs.prepared * sizeof(float), "allocating the workspace", error) &&
         device_alloc(&p->product, needs.product * sizeof(float), "allocating the workspace", error) &&
         device_alloc(&p->fragments[0], needs.fragments, "allocating the workspace", error) &&
         device_alloc(&p->fragments[1], needs.fragments, "allocating the workspace", error) &&
         device_alloc(&p->squares[0], needs.squares * sizeof(float), "allocating the workspace", error) &&
         device_alloc(&p->squares[1], needs.squares * sizeof(float), "allocating the workspace", error) &&
         device_alloc(&p->arrived, 2 * sizeof *p->arrived, "allocating the workspace", error) &&
         cuda_check(cudaMemsetAsync(p->arrived, 0, 2 * sizeof *p->arrived, p->device->stream), "clearing the workspace",
                    error);
}

static bool caches_alloc(struct program *p, struct error *error) {
  for (int g = 0; g < p->plan->n_group; g++) {
    p->block_bytes[g] = cuda_block_bytes(p->plan, &p->limits, g);
    if (!device_alloc(&p->cache[g], p->block_bytes[g] * p->limits.n_block[g], "allocating the KV cache", error))
      return false;
  }
  return true;
}

/* All blocks of decode attention run at once. */
static bool shares_count(struct program *p, struct error *error) {
  struct cuda_attention *a = &p->attention;
  for (int g = 0; g < p->plan->n_group; g++) {
    a->fast[g] = cuda_attend_fast(p->plan, &p->limits, g, &a->heads[g]);
    if (!a->fast[g]) continue;
    int shares = p->device->path->attend_blocks(plan_groups(p->plan)[g].dim_k) * p->device->multiprocessors;
    a->most_share[g] = shares < ATTEND_SHARES ? shares : ATTEND_SHARES;
    if (shares == 0 && !cuda_check(cudaGetLastError(), "preparing attention", error)) return false;
    if (shares == 0) return error_set(error, ERROR_DEVICE, "The GPU has too little shared memory for attention.");
  }
  return true;
}

static bool attention_alloc(struct program *p, struct error *error) {
  struct cuda_attention *a = &p->attention;
  struct cuda_attend_needs needs = cuda_attend_most(p->plan, &p->limits);
  a->n_angle = needs.angle > 0 ? (int32_t)p->plan->n_float : 0;
  return shares_count(p, error) &&
         device_alloc(&a->angle, needs.angle * sizeof *a->angle, "allocating the workspace", error) &&
         device_alloc(&a->parts, needs.parts * sizeof *a->parts, "allocating the workspace", error) &&
         device_alloc(&a->query, needs.query * sizeof *a->query, "allocating the workspace", error) &&
         device_alloc(&a->arrived, needs.arrived * sizeof *a->arrived, "allocating the workspace", error) &&
         cuda_check(cudaMemsetAsync(a->arrived, 0, needs.arrived * sizeof *a->arrived, p->device->stream),
                    "clearing the workspace", error);
}

static bool pinned_alloc(void *place, size_t bytes, struct error *error) {
  if (!cuda_check(cudaMallocHost(place, bytes ? bytes : 1), "allocating pinned memory", error)) return false;
  memset(*(void **)place, 0, bytes);
  return true;
}

static bool slot_alloc(struct program *p, struct cuda_slot *slot, struct error *error) {
  size_t outputs = (size_t)p->limits.outputs;
  return pinned_alloc(&slot->slab, p->slab_bytes, error) &&
         pinned_alloc(&slot->results.token, outputs * sizeof *slot->results.token, error) &&
         pinned_alloc(&slot->results.logprob, outputs * sizeof *slot->results.logprob, error) &&
         pinned_alloc(&slot->results.top, outputs * TOP_LOGPROBS * sizeof *slot->results.top, error) &&
         cuda_check(cudaEventCreateWithFlags(&slot->done, cudaEventDisableTiming), "making an event", error);
}

static bool slots_alloc(struct program *p, struct error *error) {
  size_t cols = (size_t)plan_values(p->plan)[plan_result(p->plan)].cols;
  size_t seats = (size_t)p->limits.seats, logits = (size_t)p->limits.outputs * cols;
  p->slab_bytes = cuda_slab_most(p->plan, &p->limits);
  for (int i = 0; i <= CUDA_RUN_AHEAD; i++)
    if (!slot_alloc(p, &p->slot[i], error)) return false;
  return pinned_alloc(&p->logits, logits * sizeof *p->logits, error) &&
         pinned_alloc(&p->last_seen, seats * sizeof *p->last_seen, error) &&
         device_alloc(&p->slab, p->slab_bytes, "allocating the batch", error) &&
         device_alloc(&p->last, seats * sizeof *p->last, "allocating the seats", error) &&
         cuda_check(cudaMemsetAsync(p->last, 0, seats * sizeof *p->last, p->device->stream), "clearing the seats",
                    error);
}

static bool sampler_init(struct program *p, struct error *error) {
  const struct cuda_path *path = p->device->path;
  size_t room = path->draws_in_room ? cuda_room_most(p->plan, &p->limits) : 0;
  p->chunks = path->sample_chunks(p->plan->vocab);
  p->rules = path->sample_rules(p->plan->vocab);
  if (p->chunks > 0 && !path->sample_prepare(p->plan->vocab))
    return cuda_check(cudaGetLastError(), "preparing to draw tokens", error);
  return device_alloc(&p->room, room * sizeof *p->room, "allocating the workspace", error);
}

/* In the order of the stream that steps run in: a plain cudaMemcpy returns when pageable bytes are staged, before they
 * have arrived, and a stream of one's own does not wait for it. */
static bool device_copy(const struct program *p, void *to, const void *from, size_t bytes, const char *what,
                        struct error *error) {
  return cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, p->device->stream), what, error) &&
         cuda_check(cudaStreamSynchronize(p->device->stream), what, error);
}

static bool floats_copy(struct program *p, struct error *error) {
  size_t bytes = p->plan->n_float * sizeof(float);
  return device_alloc(&p->frequency, bytes, "allocating the rope's frequencies", error) &&
         device_copy(p, p->frequency, plan_floats(p->plan), bytes, "copying the rope's frequencies", error);
}

static bool host_alloc(struct program *p, struct error *error) {
  size_t seats = (size_t)p->limits.seats;
  p->weight = calloc((size_t)p->plan->n_weight + 1, sizeof *p->weight);
  p->loaded = calloc((size_t)p->plan->n_weight + 1, sizeof *p->loaded);
  p->upload = calloc((size_t)p->plan->n_weight + 1, sizeof *p->upload);
  p->exponent = calloc((size_t)p->plan->n_weight + 1, sizeof *p->exponent);
  p->value = calloc((size_t)p->plan->n_value + 1, sizeof *p->value);
  p->sampler = malloc(sampler_scratch_bytes(p->plan->vocab));
  p->history = calloc((size_t)p->limits.length + 1, sizeof *p->history);
  p->seat_token = malloc((seats + 1) * sizeof *p->seat_token);
  if (!p->weight || !p->loaded || !p->upload || !p->exponent || !p->value || !p->sampler || !p->history ||
      !p->seat_token)
    return error_set(error, ERROR_MEMORY, "There is no memory for the tables of a plan of %d ops.", p->plan->n_op);
  for (size_t i = 0; i < seats; i++) p->seat_token[i] = -1;
  return true;
}

struct program *cuda_compile(struct device *device, const struct plan *plan, const struct limits *limits,
                             struct error *error) {
  struct program *p = calloc(1, sizeof *p);
  if (!p) {
    error_set(error, ERROR_MEMORY, "There is no memory for a program.");
    return NULL;
  }
  *p = (struct program){.device = device, .plan = plan, .limits = *limits};
  while (p->n_body < plan->n_op && !op_of_head(plan, plan_ops(plan) + p->n_body)) p->n_body++;
  if (host_alloc(p, error) && weights_alloc(p, error) && exponents_alloc(p, error) && values_alloc(p, error) &&
      caches_alloc(p, error) && attention_alloc(p, error) && slots_alloc(p, error) && floats_copy(p, error) &&
      sampler_init(p, error) && cuda_graphs_make(p, error))
    return p;
  cuda_release(p);
  return NULL;
}

/* Most of a model is in large matrices, which wait for the last weight: their bytes outlive the program. A weight that
 * is there already gets other numbers, as calibration does. */
static bool weight_copy(struct program *p, int weight, struct slice packed, struct error *error) {
  uint8_t *to = p->weight[weight];
  struct upload_job job = {.to = to, .from = packed};
  if (packed.size <= UPLOAD_BYTES)
    return device_copy(p, to, packed.data, packed.size, "copying weights to the GPU", error);
  if (!p->upload || p->loaded[weight]) return cuda_upload(p->device, &job, 1, error);
  p->upload[p->n_upload++] = job;
  return true;
}

/* What the path's linears want to know of a weight that is there. */
static bool exponents_find(struct program *p, int weight, struct error *error) {
  size_t count = cuda_exponents_of(plan_weights(p->plan) + weight);
  struct cuda_matrix matrix = cuda_matrix_of(p, weight);
  if (!p->device->path->exponents || count == 0) return true;
  p->device->path->exponents(&matrix, p->exponent[weight], p->device->stream);
  return cuda_check(cudaGetLastError(), "looking through weights", error);
}

bool cuda_load(struct program *p, int weight, struct slice packed, struct error *error) {
  const struct weight *w = plan_weights(p->plan) + weight;
  size_t expected = backend_packed_bytes(&backend_cuda, w);
  if (packed.size != expected)
    return error_set(error, ERROR_FORMAT, "Weight %s has %zu packed bytes, expected %zu: build the engine again.",
                     plan_name(p->plan, w->name), packed.size, expected);
  bool again = p->loaded[weight];
  return weight_copy(p, weight, packed, error) &&
         (again ? exponents_find(p, weight, error) : cuda_loaded(p, weight, error));
}

bool cuda_loaded(struct program *p, int weight, struct error *error) {
  if (p->loaded[weight]) return true;
  p->loaded[weight] = true;
  if (++p->n_loaded < p->plan->n_weight) return true;
  bool there = p->n_upload == 0 || cuda_upload(p->device, p->upload, p->n_upload, error);
  free(p->upload);
  p->upload = NULL;
  for (int i = 0; there && i < p->plan->n_weight; i++) there = exponents_find(p, i, error);
  return there;
}

static void slot_release(struct cuda_slot *slot) {
  cudaFreeHost(slot->slab);
  cudaFreeHost(slot->results.token);
  cudaFreeHost(slot->results.logprob);
  cudaFreeHost(slot->results.top);
  if (slot->done) cudaEventDestroy(slot->done);
}

static void weights_release(struct program *p) {
  cudaFree(p->weights);
  for (int i = 0; p->exponent && i < p->plan->n_weight; i++) cudaFree(p->exponent[i]);
  free(p->weight);
  free(p->exponent);
}

/* Steps may still be out where the engine has stopped. */
void cuda_release(struct program *p) {
  if (!p) return;
  cudaStreamSynchronize(p->device->stream);
  cuda_graphs_release(p);
  weights_release(p);
  for (int i = 0; p->value && i < p->plan->n_value; i++) cudaFree(p->value[i]);
  for (int g = 0; g < PLAN_GROUPS; g++) cudaFree(p->cache[g]);
  for (int i = 0; i <= CUDA_RUN_AHEAD; i++) slot_release(&p->slot[i]);
  cudaFree(p->prepared);
  cudaFree(p->product);
  for (int i = 0; i < 2; i++) cudaFree(p->fragments[i]), cudaFree(p->squares[i]);
  cudaFree(p->arrived);
  cudaFree(p->frequency);
  cudaFree(p->slab);
  cudaFree(p->last);
  cudaFree(p->room);
  cudaFree(p->attention.angle);
  cudaFree(p->attention.parts);
  cudaFree(p->attention.query);
  cudaFree(p->attention.arrived);
  cudaFreeHost(p->logits);
  cudaFreeHost(p->last_seen);
  free(p->loaded);
  free(p->upload);
  free(p->value);
  free(p->sampler);
  free(p->history);
  free(p->seat_token);
  free(p);
}
