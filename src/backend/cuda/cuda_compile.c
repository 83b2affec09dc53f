/* From a plan to a program on a GPU: all memory is taken here, none later. */
#include "backend/backends.h"
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"
#include "backend/sampler.h"

#include <stdlib.h>

static bool op_of_head(const struct plan *plan, const struct op *op) {
  return op->kind == OP_SAMPLE || plan_values(plan)[op->out].rows == ROWS_OUTPUTS;
}

static bool device_alloc(void *place, size_t bytes, const char *what, struct error *error) {
  return cuda_check(cudaMalloc(place, bytes ? bytes : 1), what, error);
}

static bool values_alloc(struct program *p, struct error *error) {
  struct cuda_linear_needs needs = cuda_linear_most(p->plan, &p->limits);
  for (int i = 0; i < p->plan->n_value; i++) {
    size_t count = cuda_rows_most(p->plan, &p->limits, i) * (size_t)plan_values(p->plan)[i].cols;
    if (!device_alloc(&p->value[i], count * sizeof(float), "allocating the workspace", error)) return false;
  }
  return device_alloc(&p->prepared, needs.prepared * sizeof(float), "allocating the workspace", error) &&
         device_alloc(&p->product, needs.product * sizeof(float), "allocating the workspace", error) &&
         device_alloc(&p->fragments, needs.fragments, "allocating the workspace", error);
}

static bool caches_alloc(struct program *p, struct error *error) {
  for (int g = 0; g < p->plan->n_group; g++) {
    p->block_bytes[g] = cuda_block_bytes(p->plan, &p->limits, g);
    if (!device_alloc(&p->cache[g], p->block_bytes[g] * p->limits.n_block[g], "allocating the KV cache", error))
      return false;
  }
  return true;
}

static bool slab_alloc(struct program *p, struct error *error) {
  struct cuda_batch largest;
  p->slab.bytes = cuda_slab_lay(p->plan, &p->limits, NULL, &largest);
  if (!device_alloc(&p->slab.device, p->slab.bytes, "allocating the batch", error) ||
      !cuda_check(cudaMallocHost((void **)&p->slab.host, p->slab.bytes), "allocating pinned memory", error))
    return false;
  cuda_slab_lay(p->plan, &p->limits, p->slab.device, &p->on_device);
  return true;
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
  size_t outputs = (size_t)p->limits.outputs;
  p->weight = calloc((size_t)p->plan->n_weight + 1, sizeof *p->weight);
  p->value = calloc((size_t)p->plan->n_value + 1, sizeof *p->value);
  p->sampler = malloc(sampler_scratch_bytes(p->plan->vocab));
  p->token = calloc(outputs + 1, sizeof *p->token);
  p->logprob = calloc(outputs + 1, sizeof *p->logprob);
  p->top = calloc(outputs * TOP_LOGPROBS + 1, sizeof *p->top);
  if (!p->weight || !p->value || !p->sampler || !p->token || !p->logprob || !p->top)
    return error_set(error, ERROR_MEMORY, "There is no memory for the tables of a plan of %d ops.", p->plan->n_op);
  return cuda_check(cudaMallocHost((void **)&p->logits, (outputs + 1) * (size_t)p->plan->vocab * sizeof(float)),
                    "allocating pinned memory for logits", error);
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
  p->table_size = (limits->length + limits->block_size - 1) / limits->block_size;
  if (host_alloc(p, error) && values_alloc(p, error) && caches_alloc(p, error) && slab_alloc(p, error) &&
      floats_copy(p, error))
    return p;
  cuda_release(p);
  return NULL;
}

bool cuda_load(struct program *p, int weight, struct slice packed, struct error *error) {
  const struct weight *w = plan_weights(p->plan) + weight;
  size_t expected = backend_packed_bytes(&backend_cuda, w);
  if (packed.size != expected)
    return error_set(error, ERROR_FORMAT, "Weight %s has %zu packed bytes, expected %zu: build the engine again.",
                     plan_name(p->plan, w->name), packed.size, expected);
  return device_alloc(&p->weight[weight], packed.size, "allocating weights", error) &&
         device_copy(p, p->weight[weight], packed.data, packed.size, "copying weights to the GPU", error);
}

void cuda_release(struct program *p) {
  if (!p) return;
  for (int i = 0; p->weight && i < p->plan->n_weight; i++) cudaFree(p->weight[i]);
  for (int i = 0; p->value && i < p->plan->n_value; i++) cudaFree(p->value[i]);
  for (int g = 0; g < PLAN_GROUPS; g++) cudaFree(p->cache[g]);
  cudaFree(p->prepared);
  cudaFree(p->product);
  cudaFree(p->fragments);
  cudaFree(p->frequency);
  cudaFree(p->slab.device);
  cudaFreeHost(p->slab.host);
  cudaFreeHost(p->logits);
  free(p->weight);
  free(p->value);
  free(p->sampler);
  free(p->token);
  free(p->logprob);
  free(p->top);
  free(p);
}
