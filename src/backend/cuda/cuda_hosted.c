/* Experts that stay in the host's memory (limits.cpu_experts, docs/adr/0026-experts-in-host-memory.md): it is pinned,
 * once, and the device reads it over the bus. Before an op the experts that it has are copied into the stage, a buffer
 * of the device as large as the largest of these weights, so that each byte crosses once however often kernels read it,
 * and kernels know nothing of all this. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"
#include "base/cpu_share.h"
#include "base/limits.h"
#include "plan/expert_layers.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* The driver's own allocation takes its pages one by one, at 2 GB/s; huge ones, asked for by many threads, come three
 * times as fast (SPEED.md). */
struct pages {
  uint8_t *data;
  size_t bytes;
  pthread_t thread;
  bool started, there;
};

static void *pages_take(void *user) {
  struct pages *pages = user;
  volatile uint8_t *data = pages->data;
  pages->there = true;
#ifdef MADV_POPULATE_WRITE
  if (madvise(pages->data, pages->bytes, MADV_POPULATE_WRITE) == 0) return NULL;
  pages->there = errno == EINVAL; /* older kernels take them as they are written */
#endif
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (size_t at = 0; pages->there && at < pages->bytes; at += page) data[at] = 0;
  return NULL;
}

static bool pages_populate(uint8_t *data, size_t bytes) {
  struct pages part[UPLOAD_THREADS];
  size_t n = (size_t)cpu_share_count();
  if (n > UPLOAD_THREADS) n = UPLOAD_THREADS;
  bool there = true;
  for (size_t i = 0; i < n; i++) {
    size_t first = bytes / HOST_PAGE * i / n * HOST_PAGE, end = bytes / HOST_PAGE * (i + 1) / n * HOST_PAGE;
    part[i] = (struct pages){.data = data + first, .bytes = end - first};
    part[i].started = i > 0 && pthread_create(&part[i].thread, NULL, pages_take, &part[i]) == 0;
    if (!part[i].started) pages_take(&part[i]); /* a thread that cannot be started is done without */
  }
  for (size_t i = 0; i < n; i++) {
    if (part[i].started) pthread_join(part[i].thread, NULL);
    there = there && part[i].there;
  }
  return there;
}

/* A fork would copy what is pinned. */
static uint8_t *pages_map(size_t bytes) {
  uint8_t *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return NULL;
  madvise(data, bytes, MADV_HUGEPAGE);
  madvise(data, bytes, MADV_DONTFORK);
  if (pages_populate(data, bytes)) return data;
  munmap(data, bytes);
  return NULL;
}

static bool host_refuse(const struct program *p, size_t bytes, struct error *error) {
  return error_set(error, ERROR_MEMORY,
                   "The experts of %d layers take %zu MiB of the host's memory, and so much cannot be pinned: free "
                   "some, or keep those of fewer layers there (--cpu-experts).",
                   p->limits.cpu_experts, bytes >> 20);
}

/* Kernels and graphs have one address of it. */
static bool address_check(const struct program *p, struct error *error) {
  void *address = NULL;
  if (!cuda_check(cudaHostGetDevicePointer(&address, p->hosted.memory, 0), "mapping experts for the GPU", error))
    return false;
  return address == p->hosted.memory ||
         error_set(error, ERROR_UNSUPPORTED,
                   "This GPU has other addresses for the host's memory than the host: leave --cpu-experts out.");
}

static bool host_alloc(struct program *p, size_t bytes, struct error *error) {
  p->hosted.bytes = (bytes + HOST_PAGE - 1) / HOST_PAGE * HOST_PAGE;
  p->hosted.memory = pages_map(p->hosted.bytes);
  if (!p->hosted.memory) return host_refuse(p, p->hosted.bytes, error);
  cudaError_t status = cudaHostRegister(p->hosted.memory, p->hosted.bytes, cudaHostRegisterMapped);
  p->hosted.pinned = status == cudaSuccess;
  if (status == cudaErrorMemoryAllocation) return cudaGetLastError(), host_refuse(p, p->hosted.bytes, error);
  return cuda_check(status, "pinning memory of the host for experts", error) && address_check(p, error);
}

bool cuda_hosted_take(struct program *p, struct error *error) {
  size_t bytes = cuda_weights_most(p->plan, &p->limits).host, used = 0;
  if (bytes == 0) return true;
  if (!host_alloc(p, bytes, error)) return false;
  for (int i = 0; i < p->plan->n_weight; i++) {
    if (!plan_weight_on_host(p->plan, i, p->limits.cpu_experts)) continue;
    p->hosted.data[i] = p->hosted.memory + used;
    used += cuda_weight_room(plan_weights(p->plan) + i);
  }
  return true;
}

void cuda_hosted_release(struct program *p) {
  if (p->hosted.pinned) cudaHostUnregister(p->hosted.memory);
  if (p->hosted.memory) munmap(p->hosted.memory, p->hosted.bytes);
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

void cuda_hosted_fetch(struct program *p, int weight, const struct cuda_expert_lists *lists) {
  const struct weight *w = plan_weights(p->plan) + weight;
  size_t bytes = cuda_expert_bytes(w);
  assert(bytes % 16 == 0);
  if (lists)
    cuda_experts_fetch(lists, p->hosted.data[weight], p->hosted.stage, bytes, p->device->stream);
  else
    cudaMemcpyAsync(p->hosted.stage, p->hosted.data[weight], bytes * (size_t)w->n_expert, cudaMemcpyHostToDevice,
                    p->device->stream);
}

/* --- how fast ----------------------------------------------------------------------------------------------------- */

static int largest_hosted(const struct program *p) {
  int largest = -1;
  size_t most = 0;
  for (int i = 0; i < p->plan->n_weight; i++) {
    size_t room = p->hosted.data[i] ? cuda_weight_room(plan_weights(p->plan) + i) : 0;
    if (room > most) most = room, largest = i;
  }
  return largest;
}

/* A list of all experts, where steps have theirs. */
static bool list_all(const struct program *p, int n_expert, struct cuda_expert_lists *lists, struct error *error) {
  static const char *what = "timing experts in the host's memory";
  int32_t words[LIMIT_MODEL_EXPERTS + 1] = {n_expert};
  for (int i = 0; i < n_expert; i++) words[i + 1] = i;
  *lists = (struct cuda_expert_lists){.counts = p->expert_lists, .active = p->expert_lists + 1};
  return cuda_check(cudaMemcpyAsync(p->expert_lists, words, ((size_t)n_expert + 1) * sizeof *words,
                                    cudaMemcpyHostToDevice, p->device->stream),
                    what, error) &&
         cuda_check(cudaStreamSynchronize(p->device->stream), what, error);
}

static bool fetch_once(struct program *p, int weight, const struct cuda_expert_lists *all, cudaEvent_t from,
                       cudaEvent_t to, float *ms, struct error *error) {
  static const char *what = "timing experts in the host's memory";
  cudaStream_t stream = p->device->stream;
  if (!cuda_check(cudaEventRecord(from, stream), what, error)) return false;
  cuda_hosted_fetch(p, weight, all);
  return cuda_check(cudaGetLastError(), what, error) && cuda_check(cudaEventRecord(to, stream), what, error) &&
         cuda_check(cudaEventSynchronize(to), what, error) &&
         cuda_check(cudaEventElapsedTime(ms, from, to), what, error);
}

/* The least of several: the second alone told 33 GB/s of a bus that then brought 48 and more (SPEED.md). */
static bool fetch_time(struct program *p, int weight, cudaEvent_t from, cudaEvent_t to, float *ms,
                       struct error *error) {
  enum { FETCHES = 8 };
  struct cuda_expert_lists all;
  if (!list_all(p, plan_weights(p->plan)[weight].n_expert, &all, error)) return false;
  *ms = 0;
  for (int i = 0; i < FETCHES; i++) {
    float taken;
    if (!fetch_once(p, weight, &all, from, to, &taken, error)) return false;
    if (i == 0 || taken < *ms) *ms = taken;
  }
  return true;
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
