/* What the GPU can do at most, measured: each rate is the median of several runs on one stream, timed by the device. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"
#include "backend/cuda/rate_kernels.h"

#include <stdlib.h>

enum {
  RUNS = 7,
  CHAIN = 64,              /* kernels that follow each other */
  MULTIPLY_ROUNDS = 40000, /* some 20 ms */
  FMA_ROUNDS = 400000,
  WAIT_CYCLES = 16000, /* of one kernel of the chain, longer than a launch takes the host */
  LINK_BYTES = 256 << 20,
};

static const uint64_t read_sizes[] = {16 << 20, 32 << 20, 64 << 20, 256 << 20, 1u << 30, 4ull << 30};
enum { N_READ = sizeof read_sizes / sizeof *read_sizes };
_Static_assert((int)N_READ <= (int)RATE_SIZES, "as many sizes as rates have room for");

struct measuring {
  const struct device *device;
  cudaEvent_t start, end;
  uint8_t *memory; /* [bytes] on the device */
  uint64_t bytes;
  uint32_t *sink;
  void *pinned; /* [LINK_BYTES] */
  cudaGraphExec_t graph;
};

/* --- times -------------------------------------------------------------------------------------------------------- */

typedef void work(const struct measuring *m, uint64_t argument);

static int ascending(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* Seconds; the first run is not counted. 0 after an error. */
static double work_time(const struct measuring *m, work *run, uint64_t argument) {
  float ms[RUNS + 1];
  cudaStream_t stream = m->device->stream;
  for (int i = 0; i <= RUNS; i++) {
    cudaEventRecord(m->start, stream);
    run(m, argument);
    cudaEventRecord(m->end, stream);
    if (cudaEventSynchronize(m->end) != cudaSuccess || cudaEventElapsedTime(&ms[i], m->start, m->end) != cudaSuccess)
      return 0;
  }
  qsort(ms + 1, RUNS, sizeof *ms, ascending);
  return (double)ms[1 + RUNS / 2] * 1e-3;
}

static double rate(double amount, double seconds) { return seconds > 0 ? amount / seconds * 1e-9 : 0; }

/* --- memory and the link ------------------------------------------------------------------------------------------ */

/* What the caches hold is read several times, so that a launch does not count. */
enum { READ_LEAST = 256 << 20 };

static uint64_t passes_of(uint64_t bytes) { return bytes < READ_LEAST ? READ_LEAST / bytes : 1; }

static void read_by_loads(const struct measuring *m, uint64_t bytes) {
  for (uint64_t i = 0; i < passes_of(bytes); i++) rate_read_loads(m->memory, bytes, m->sink, m->device->stream);
}

static void read_by_bulk(const struct measuring *m, uint64_t bytes) {
  for (uint64_t i = 0; i < passes_of(bytes); i++)
    m->device->path->rate_read_bulk(m->memory, bytes, m->device->multiprocessors, m->device->stream);
}

static void copy_half(const struct measuring *m, uint64_t half) {
  rate_copy(m->memory + half, m->memory, half, m->device->stream);
}

static void link_copy(const struct measuring *m, uint64_t bytes) {
  cudaMemcpyAsync(m->memory, m->pinned, bytes, cudaMemcpyHostToDevice, m->device->stream);
}

static void memory_measure(const struct measuring *m, struct machine_rates *rates) {
  for (int i = 0; i < N_READ && read_sizes[i] <= m->bytes; i++) {
    double amount = (double)(read_sizes[i] * passes_of(read_sizes[i]));
    double loads = rate(amount, work_time(m, read_by_loads, read_sizes[i]));
    double bulk = m->device->path->rate_read_bulk ? rate(amount, work_time(m, read_by_bulk, read_sizes[i])) : 0;
    rates->read[i].bytes = read_sizes[i];
    rates->read[i].gbs = loads > bulk ? loads : bulk;
    rates->n_size = i + 1;
  }
  rates->copy_gbs = rate((double)m->bytes, work_time(m, copy_half, m->bytes / 2));
  rates->link_gbs = rate(LINK_BYTES, work_time(m, link_copy, LINK_BYTES));
}

/* --- arithmetic --------------------------------------------------------------------------------------------------- */

static void unit_run(const struct measuring *m, uint64_t unit) {
  int rounds = unit == RATE_FP32 ? FMA_ROUNDS : MULTIPLY_ROUNDS;
  m->device->path->rate_multiply((enum rate_unit)unit, m->device->multiprocessors, rounds, m->sink, m->device->stream);
}

static double unit_rate(const struct measuring *m, enum rate_unit unit) {
  double rounds = unit == RATE_FP32 ? FMA_ROUNDS : MULTIPLY_ROUNDS;
  return rate(m->device->path->rate_operations(unit) * rounds * m->device->multiprocessors,
              work_time(m, unit_run, unit));
}

/* --- gaps --------------------------------------------------------------------------------------------------------- */

static void wait_once(const struct measuring *m, uint64_t cycles) {
  rate_wait(m->device->multiprocessors, (long long)cycles, m->device->stream);
}

static void wait_chain(const struct measuring *m, uint64_t cycles) {
  for (int i = 0; i < CHAIN; i++) wait_once(m, cycles);
}

static void graph_run(const struct measuring *m, uint64_t unused) {
  (void)unused;
  cudaGraphLaunch(m->graph, m->device->stream);
}

static bool graph_make(struct measuring *m, struct error *error) {
  cudaStream_t stream = m->device->stream;
  cudaGraph_t graph = NULL;
  bool done = cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing a graph", error);
  if (!done) return false;
  wait_chain(m, WAIT_CYCLES);
  done = cuda_check(cudaStreamEndCapture(stream, &graph), "capturing a graph", error) &&
         cuda_check(cudaGraphInstantiate(&m->graph, graph, 0), "making a graph", error);
  if (graph) cudaGraphDestroy(graph);
  return done;
}

/* A chain of kernels against one that waits as long as all of them together: what lies between two. */
static void gaps_measure(const struct measuring *m, struct machine_rates *rates) {
  double alone = work_time(m, wait_once, (uint64_t)CHAIN * WAIT_CYCLES);
  rates->launch_gap_us = (work_time(m, wait_chain, WAIT_CYCLES) - alone) / (CHAIN - 1) * 1e6;
  rates->graph_gap_us = (work_time(m, graph_run, 0) - alone) / (CHAIN - 1) * 1e6;
}

/* --- all ---------------------------------------------------------------------------------------------------------- */

/* The largest size that half of what is free holds: an engine may be open. */
static bool memory_take(struct measuring *m, struct error *error) {
  size_t available = 0, total = 0;
  if (!cuda_check(cudaMemGetInfo(&available, &total), "asking for the device's memory", error)) return false;
  for (int i = 0; i < N_READ; i++)
    if (read_sizes[i] <= available / 2) m->bytes = read_sizes[i];
  if (m->bytes < LINK_BYTES)
    return error_set(error, ERROR_MEMORY, "Measuring needs %d MiB of the GPU's memory, and %zu MiB are free.",
                     2 * LINK_BYTES >> 20, available >> 20);
  return cuda_check(cudaMalloc((void **)&m->memory, m->bytes), "allocating memory to measure", error) &&
         cuda_check(cudaMalloc((void **)&m->sink, sizeof *m->sink), "allocating memory to measure", error) &&
         cuda_pin(&m->pinned, LINK_BYTES, error);
}

static bool measuring_init(struct measuring *m, struct error *error) {
  return memory_take(m, error) && cuda_check(cudaEventCreate(&m->start), "making an event", error) &&
         cuda_check(cudaEventCreate(&m->end), "making an event", error) && graph_make(m, error);
}

static void measuring_release(struct measuring *m) {
  if (m->graph) cudaGraphExecDestroy(m->graph);
  if (m->start) cudaEventDestroy(m->start);
  if (m->end) cudaEventDestroy(m->end);
  cudaFreeHost(m->pinned);
  cudaFree(m->sink);
  cudaFree(m->memory);
}

bool cuda_rates(struct device *device, struct machine_rates *rates, struct error *error) {
  struct measuring m = {.device = device};
  *rates = (struct machine_rates){0};
  bool done = measuring_init(&m, error);
  if (done) {
    rate_fill(m.memory, m.bytes, device->stream);
    memory_measure(&m, rates);
    gaps_measure(&m, rates);
    rates->int8_gops = unit_rate(&m, RATE_INT8);
    rates->bf16_gflops = rates->linear_gflops = unit_rate(&m, RATE_BF16);
    rates->fp16_gflops = unit_rate(&m, RATE_FP16);
    rates->fp32_gflops = unit_rate(&m, RATE_FP32);
    done = cuda_check(cudaStreamSynchronize(device->stream), "measuring", error) &&
           cuda_check(cudaGetLastError(), "measuring", error);
  }
  measuring_release(&m);
  return done;
}
