/* What the lab's files share: calls that are checked, median times, and the rate of a plain read, which floors are made
 * of. */
#ifndef SPATE_BENCH_LAB_CUH
#define SPATE_BENCH_LAB_CUH

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define CHECK(call)                                                                                                    \
  do {                                                                                                                 \
    cudaError_t status = (call);                                                                                       \
    if (status != cudaSuccess) {                                                                                       \
      printf("%s: %s\n", #call, cudaGetErrorString(status));                                                           \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

/* Checks that have failed: what a lab returns. */
static int wrong;
static inline const char *verdict(bool right) {
  wrong += !right;
  return right ? "" : "  WRONG";
}

static inline float median_of(std::vector<float> &times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

/* µs of a run(i), once the clock is what this work leaves it: a chain of so many before the one that is timed. */
template <typename F> static float steady_us(F run, int chain) {
  cudaEvent_t a, b;
  float ms;
  CHECK(cudaEventCreate(&a));
  CHECK(cudaEventCreate(&b));
  for (int i = 0; i < chain; i++) run(i);
  CHECK(cudaEventRecord(a));
  for (int i = 0; i < chain; i++) run(chain + i);
  CHECK(cudaEventRecord(b));
  CHECK(cudaEventSynchronize(b));
  CHECK(cudaEventElapsedTime(&ms, a, b));
  CHECK(cudaEventDestroy(a));
  CHECK(cudaEventDestroy(b));
  return ms * 1000 / chain;
}

/* µs of a run(i), the median of `repeat` chains of so many, i counting them all. The first two chains warm up. */
template <typename F> static float median_us(F run, int repeat, int chain = 1) {
  enum { WARM = 2 };
  cudaEvent_t a, b;
  CHECK(cudaEventCreate(&a));
  CHECK(cudaEventCreate(&b));
  std::vector<float> times;
  for (int i = 0; i < repeat + WARM; i++) {
    CHECK(cudaEventRecord(a));
    for (int k = 0; k < chain; k++) run(i * chain + k);
    CHECK(cudaEventRecord(b));
    CHECK(cudaEventSynchronize(b));
    float ms;
    CHECK(cudaEventElapsedTime(&ms, a, b));
    if (i >= WARM) times.push_back(ms * 1000 / chain);
  }
  CHECK(cudaGetLastError());
  CHECK(cudaEventDestroy(a));
  CHECK(cudaEventDestroy(b));
  return median_of(times);
}

static __global__ void read_all(const uint4 *from, size_t n, uint32_t *out) {
  uint32_t x = 0;
  size_t step = (size_t)gridDim.x * blockDim.x, i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
  for (; i + 7 * step < n; i += 8 * step) {
    uint4 v[8];
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] = __ldcs(from + i + k * step);
#pragma unroll
    for (int k = 0; k < 8; k++) x ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
  }
  if (x == 0x12345) *out = x; /* practically never: it keeps the loads */
}

/* GB/s. What is read should look random: zeros are not what memory is slowest at. */
static inline double read_rate(const void *memory, size_t bytes, int multiprocessors) {
  uint32_t *sink;
  CHECK(cudaMalloc(&sink, sizeof *sink));
  auto run = [&](int) { read_all<<<multiprocessors * 8, 512>>>((const uint4 *)memory, bytes / 16, sink); };
  double rate = bytes / median_us(run, 10) * 1e-3;
  CHECK(cudaFree(sink));
  return rate;
}

#endif
