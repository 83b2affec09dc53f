/* Limits of any device as kernels: reads by loads of 16 bytes, eight at a time; multiply-adds of FP32; waiting by the
 * clock. Those of the matrix units are each path's (rate_units.cu, portable/rates.cuh). */
#include "backend/cuda/rate_numbers.cuh"

namespace {

enum {
  READ_THREADS = 512,
  LOADS = 8, /* in flight for each thread */
  CHAINS = 16,
  FMA_THREADS = 1024,
};

/* --- memory ------------------------------------------------------------------------------------------------------- */

__global__ void __launch_bounds__(READ_THREADS) read_loads(const uint4 *from, size_t n, uint32_t *sink) {
  uint32_t all = 0;
  size_t step = (size_t)gridDim.x * READ_THREADS, i = blockIdx.x * (size_t)READ_THREADS + threadIdx.x;
  for (; i + (LOADS - 1) * step < n; i += LOADS * step) {
    uint4 v[LOADS];
#pragma unroll
    for (int k = 0; k < LOADS; k++) v[k] = __ldcs(from + i + k * step);
#pragma unroll
    for (int k = 0; k < LOADS; k++) all ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
  }
  for (; i < n; i += step) all ^= from[i].x ^ from[i].y ^ from[i].z ^ from[i].w;
  if (all == 0x5A7E5EED) *sink = all; /* practically never: it keeps the loads */
}

__global__ void __launch_bounds__(READ_THREADS) copy(uint4 *to, const uint4 *from, size_t n) {
  size_t step = (size_t)gridDim.x * READ_THREADS, i = blockIdx.x * (size_t)READ_THREADS + threadIdx.x;
  for (; i + (LOADS - 1) * step < n; i += LOADS * step) {
    uint4 v[LOADS];
#pragma unroll
    for (int k = 0; k < LOADS; k++) v[k] = __ldcs(from + i + k * step);
#pragma unroll
    for (int k = 0; k < LOADS; k++) __stcs(to + i + k * step, v[k]);
  }
  for (; i < n; i += step) to[i] = from[i];
}

__global__ void fill(uint32_t *to, size_t n) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    to[i] = numbers((uint32_t)i);
}

/* --- products ----------------------------------------------------------------------------------------------------- */

__global__ void __launch_bounds__(FMA_THREADS, 1) multiply_fp32(int rounds, uint32_t *sink) {
  float chain[CHAINS], x = 0.999f + 1e-6f * threadIdx.x, y = 1e-3f;
#pragma unroll
  for (int c = 0; c < CHAINS; c++) chain[c] = y * c;
  for (int round = 0; round < rounds; round++)
#pragma unroll
    for (int c = 0; c < CHAINS; c++) chain[c] = chain[c] * x + y;
  float all = 0;
#pragma unroll
  for (int c = 0; c < CHAINS; c++) all += chain[c];
  if (all == 0.123f) *sink = 1;
}

/* --- gaps --------------------------------------------------------------------------------------------------------- */

__global__ void wait(long long cycles) {
  long long start = clock64();
  while (clock64() - start < cycles) {
  }
}

int blocks_of(size_t bytes) {
  size_t most = bytes / (16 * LOADS * READ_THREADS), grid = 132 * 4 * 4;
  return (int)(most < grid ? most : grid);
}

} // namespace

void rate_read_loads(const void *from, size_t bytes, uint32_t *sink, cuda_stream stream) {
  read_loads<<<blocks_of(bytes), READ_THREADS, 0, stream>>>((const uint4 *)from, bytes / 16, sink);
}

void rate_copy(void *to, const void *from, size_t bytes, cuda_stream stream) {
  copy<<<blocks_of(bytes), READ_THREADS, 0, stream>>>((uint4 *)to, (const uint4 *)from, bytes / 16);
}

void rate_fill(void *to, size_t bytes, cuda_stream stream) {
  fill<<<1024, READ_THREADS, 0, stream>>>((uint32_t *)to, bytes / 4);
}

void rate_multiply_fp32(int blocks, int rounds, uint32_t *sink, cuda_stream stream) {
  multiply_fp32<<<blocks, FMA_THREADS, 0, stream>>>(rounds, sink);
}

double rate_operations_fp32(void) { return 2.0 * CHAINS * FMA_THREADS; }

void rate_wait(int blocks, long long cycles, cuda_stream stream) { wait<<<blocks, 32, 0, stream>>>(cycles); }
