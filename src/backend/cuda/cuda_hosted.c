/* Experts that stay in the host's memory (limits.cpu_experts, docs/adr/0026-experts-in-host-memory.md): it is pinned,
 * once, and the device reads it over the bus. Before an op the experts that it has are copied into the stage, a buffer
 * of the device as large as the largest of these weights, so that each byte crosses once however often kernels read it,
 * and kernels know nothing of all this. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"
#include "plan/expert_layers.h"

#include <assert.h>
#include <inttypes.h>

static bool host_alloc(struct program *p, size_t bytes, struct error *error) {
  cudaError_t status = cudaHostAlloc((void **)&p->host, bytes, cudaHostAllocMapped);
  if (status != cudaErrorMemoryAllocation) return cuda_check(status, "pinning memory of the host for experts", error);
  cudaGetLastError();
  return error_set(error, ERROR_MEMORY,
                   "The experts of %d layers take %zu MiB of the host's memory, and so much cannot be pinned: free "
                   "some, or keep those of fewer layers there (--cpu-experts).",
                   p->limits.cpu_experts, (bytes + (1 << 20) - 1) >> 20);
}

bool cuda_hosted_take(struct program *p, struct error *error) {
  size_t bytes = cuda_weights_most(p->plan, &p->limits).host, used = 0;
  if (bytes == 0) return true;
  if (!host_alloc(p, bytes, error)) return false;
  for (int i = 0; i < p->plan->n_weight; i++) {
    if (!plan_weight_on_host(p->plan, i, p->limits.cpu_experts)) continue;
    p->hosted[i] = p->host + used;
    used += cuda_weight_room(plan_weights(p->plan) + i);
  }
  return true;
}

void cuda_hosted_release(struct program *p) { cudaFreeHost(p->host); }

void cuda_hosted_fetch(struct program *p, int weight, const struct cuda_expert_lists *lists) {
  const struct weight *w = plan_weights(p->plan) + weight;
  size_t bytes = cuda_expert_bytes(w);
  assert(bytes % 16 == 0);
  cuda_experts_fetch(lists, w->n_expert, p->hosted[weight], p->stage, bytes, p->device->stream);
}

/* --- how fast ----------------------------------------------------------------------------------------------------- */

static int largest_hosted(const struct program *p) {
  int largest = -1;
  size_t most = 0;
  for (int i = 0; i < p->plan->n_weight; i++) {
    size_t room = p->hosted[i] ? cuda_weight_room(plan_weights(p->plan) + i) : 0;
    if (room > most) most = room, largest = i;
  }
  return largest;
}

/* The second of two, whose kernel is there. */
static bool fetch_time(struct program *p, int weight, cudaEvent_t from, cudaEvent_t to, float *ms,
                       struct error *error) {
  static const char *what = "timing experts in the host's memory";
  cuda_hosted_fetch(p, weight, NULL);
  return cuda_check(cudaEventRecord(from, p->device->stream), what, error) &&
         (cuda_hosted_fetch(p, weight, NULL), cuda_check(cudaGetLastError(), what, error)) &&
         cuda_check(cudaEventRecord(to, p->device->stream), what, error) &&
         cuda_check(cudaEventSynchronize(to), what, error) &&
         cuda_check(cudaEventElapsedTime(ms, from, to), what, error);
}

bool cuda_host_rate(struct program *p, double *gbs, struct error *error) {
  int weight = largest_hosted(p);
  cudaEvent_t from = NULL, to = NULL;
  float ms = 0;
  *gbs = 0;
  if (weight < 0) return true;
  bool timed = cuda_check(cudaEventCreate(&from), "making an event", error) &&
               cuda_check(cudaEventCreate(&to), "making an event", error) &&
               fetch_time(p, weight, from, to, &ms, error);
  if (from) cudaEventDestroy(from);
  if (to) cudaEventDestroy(to);
  const struct weight *w = plan_weights(p->plan) + weight;
  if (timed && ms > 0) *gbs = (double)cuda_expert_bytes(w) * w->n_expert / ms * 1e-6;
  return timed;
}
