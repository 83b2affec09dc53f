/* Experts in the host's memory: how fast memory is pinned, and how fast chosen experts come over the bus.
 *
 *   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc -o host_experts bench/lab/host_experts.cu
 *   ./host_experts
 *
 * Versions of the copy of chosen experts into a buffer on the device, by a kernel that reads mapped memory:
 *   copy1   16 bytes a thread at a time
 *   copy4   four loads of 16 bytes before the first store
 *   copy8   eight
 *   bulk    bulk copies by way of shared memory, each block two stages of 16 KiB
 *   few     no copy: 64 bytes of each of eight rows a warp's load, as kernels of few tokens read weights (a sum)
 * Floor: what the copy engine makes of the same bytes. Beside it: the rate at which the host's cores read them. */
#include <cuda_runtime.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <thread>
#include <vector>

#define CHECK(call)                                                                                                    \
  do {                                                                                                                 \
    cudaError_t status = (call);                                                                                       \
    if (status != cudaSuccess) printf("%s: %s\n", #call, cudaGetErrorString(status)), exit(1);                         \
  } while (0)

static double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/* --- the copies --------------------------------------------------------------------------------------------------- */

enum { THREADS = 512, CHUNK = 64 << 10 };

struct chosen {
  const uint8_t *from;
  uint8_t *to;
  size_t bytes; /* of an expert */
  const int *id;
  int n;
};

/* Chunks of all chosen experts in turn. */
template <int LOADS> __global__ void __launch_bounds__(THREADS) copy(chosen c) {
  constexpr size_t unit = (size_t)THREADS * LOADS * 16;
  size_t chunks = (c.bytes + unit - 1) / unit;
  for (size_t i = blockIdx.x; i < chunks * c.n; i += gridDim.x) {
    size_t base = (size_t)c.id[i / chunks] * c.bytes, at = i % chunks * unit + threadIdx.x * 16;
    uint4 x[LOADS];
#pragma unroll
    for (int k = 0; k < LOADS; k++)
      if (at + k * THREADS * 16 < c.bytes)
        asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(x[k].x), "=r"(x[k].y), "=r"(x[k].z), "=r"(x[k].w)
                     : "l"(c.from + base + at + k * THREADS * 16));
#pragma unroll
    for (int k = 0; k < LOADS; k++)
      if (at + k * THREADS * 16 < c.bytes) *(uint4 *)(c.to + base + at + k * THREADS * 16) = x[k];
  }
}

/* A lane's 16 bytes of one of eight rows of 128 bytes, then the other half: no piece is read twice. */
__global__ void __launch_bounds__(256) few(chosen c) {
  size_t pieces = c.bytes / 2048;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  uint32_t sum = 0;
  for (size_t i = blockIdx.x * 8 + warp; i < pieces * c.n; i += (size_t)gridDim.x * 8) {
    const uint8_t *piece = c.from + (size_t)c.id[i / pieces] * c.bytes + i % pieces * 2048;
    uint4 x[4];
#pragma unroll
    for (int k = 0; k < 4; k++)
      asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(x[k].x), "=r"(x[k].y), "=r"(x[k].z), "=r"(x[k].w)
                   : "l"(piece + k / 2 * 1024 + lane / 4 * 128 + ((lane % 4 + k % 2 * 4) ^ lane / 4) * 16));
#pragma unroll
    for (int k = 0; k < 4; k++) sum += x[k].x ^ x[k].y ^ x[k].z ^ x[k].w;
  }
  if (sum == 0x12345678) c.to[threadIdx.x] = 1;
}

__device__ static inline uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

enum { STAGE = 16 << 10 };

__global__ void __launch_bounds__(32) bulk(chosen c) {
  extern __shared__ __align__(128) uint8_t stages[];
  __shared__ __align__(8) uint64_t there[4];
  size_t chunks = (c.bytes + STAGE - 1) / STAGE, all = chunks * c.n;
  if (threadIdx.x) return;
  for (int s = 0; s < 4; s++) asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(there + s)));
  asm volatile("fence.proxy.async;");
  auto place = [&](size_t i, uint32_t *n) {
    size_t at = i % chunks * STAGE;
    *n = (uint32_t)(c.bytes - at < STAGE ? c.bytes - at : STAGE);
    return (size_t)c.id[i / chunks] * c.bytes + at;
  };
  auto ask = [&](size_t i, int s) {
    uint32_t n;
    size_t at = place(i, &n);
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(there + s)), "r"(n));
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(stages + s * STAGE)),
                 "l"(c.from + at), "r"(n), "r"(shared_address(there + s))
                 : "memory");
  };
  size_t asked = blockIdx.x;
  for (int s = 0; s < 4 && asked < all; s++, asked += gridDim.x) ask(asked, s);
  int turn = 0;
  for (size_t i = blockIdx.x; i < all; i += gridDim.x, turn++) {
    int s = turn % 4;
    uint32_t done = 0, n;
    while (!done)
      asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                   : "=r"(done)
                   : "r"(shared_address(there + s)), "r"(turn / 4 % 2)
                   : "memory");
    size_t at = place(i, &n);
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(c.to + at),
                 "r"(shared_address(stages + s * STAGE)), "r"(n)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;");
    if (asked < all) {
      asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
      ask(asked, s);
      asked += gridDim.x;
    }
  }
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

/* --- times -------------------------------------------------------------------------------------------------------- */

template <typename F> static double device_seconds(F run) {
  cudaEvent_t a, b;
  float best = 1e9f, ms;
  CHECK(cudaEventCreate(&a));
  CHECK(cudaEventCreate(&b));
  for (int i = 0; i < 4; i++) {
    CHECK(cudaEventRecord(a));
    run();
    CHECK(cudaEventRecord(b));
    CHECK(cudaEventSynchronize(b));
    CHECK(cudaEventElapsedTime(&ms, a, b));
    if (i && ms < best) best = ms;
  }
  CHECK(cudaGetLastError());
  return best * 1e-3;
}

static void threads_run(int n, void (*part)(uint8_t *, size_t), uint8_t *p, size_t bytes) {
  std::vector<std::thread> all;
  size_t each = bytes / n;
  for (int i = 0; i < n; i++) all.emplace_back(part, p + i * each, each);
  for (auto &t : all) t.join();
}

static void populate(uint8_t *p, size_t bytes) {
  if (madvise(p, bytes, 23 /* MADV_POPULATE_WRITE */) != 0)
    for (size_t i = 0; i < bytes; i += 4096) p[i] = 1;
}

static void fill(uint8_t *p, size_t bytes) { memset(p, 1, bytes); }

static volatile uint64_t seen;

static void read_all(uint8_t *p, size_t bytes) {
  const uint64_t *x = (const uint64_t *)p;
  uint64_t sum[8] = {};
  for (size_t i = 0; i < bytes / 8; i += 8)
    for (int k = 0; k < 8; k++) sum[k] += x[i + k];
  for (int k = 0; k < 8; k++) seen = seen + sum[k];
}

static uint8_t *mapped(size_t bytes, bool huge, int threads) {
  double start = now();
  uint8_t *p = (uint8_t *)mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (huge) madvise(p, bytes, MADV_HUGEPAGE);
  threads_run(threads, populate, p, bytes);
  double there = now();
  cudaError_t status = cudaHostRegister(p, bytes, cudaHostRegisterMapped | cudaHostRegisterPortable);
  printf("| mmap, %s pages, %d threads | %.2f + %.2f (%s) |\n", huge ? "huge" : "small", threads,
         bytes / (there - start) * 1e-9, bytes / (now() - there) * 1e-9, cudaGetErrorString(status));
  cudaGetLastError();
  return p;
}

int main() {
  const size_t bytes = (size_t)6 << 30;
  const int cores = (int)std::thread::hardware_concurrency(), threads = cores < 16 ? cores : 16;
  uint8_t *device, *pinned;
  int *id;
  CHECK(cudaFree(0));
  int direct = 0;
  cudaDeviceGetAttribute(&direct, cudaDevAttrCanUseHostPointerForRegisteredMem, 0);
  printf("%d cores; registered memory has its own address on the device: %d\n| pinning | GB/s |\n|---|---|\n", cores,
         direct);
  double start = now();
  CHECK(cudaHostAlloc((void **)&pinned, bytes / 2, cudaHostAllocMapped));
  printf("| cudaHostAlloc | %.2f |\n", bytes / 2 / (now() - start) * 1e-9);
  start = now();
  CHECK(cudaFreeHost(pinned));
  printf("| cudaFreeHost | %.2f |\n", bytes / 2 / (now() - start) * 1e-9);
  pinned = mapped(bytes / 2, false, threads);
  start = now();
  cudaHostUnregister(pinned);
  munmap(pinned, bytes / 2);
  printf("| unregister, munmap | %.2f |\n", bytes / 2 / (now() - start) * 1e-9);
  pinned = mapped(bytes, true, threads);
  threads_run(threads, fill, pinned, bytes);
  fflush(stdout);

  CHECK(cudaMalloc(&device, bytes / 2));
  CHECK(cudaMalloc(&id, 256 * sizeof *id));
  int ids[256];
  for (int i = 0; i < 256; i++) ids[i] = i * 37 % 256;
  CHECK(cudaMemcpy(id, ids, sizeof ids, cudaMemcpyHostToDevice));
  const struct {
    size_t bytes;
    int n;
  } shapes[] = {{6291456, 8}, {3145728, 8}, {884736, 4}, {3145728, 128}};
  printf("| experts | copy engine | copy1 | copy4 | copy8 | bulk | few | by blocks "
         "|\n|---|---|---|---|---|---|---|---|\n");
  CHECK(cudaFuncSetAttribute(bulk, cudaFuncAttributeMaxDynamicSharedMemorySize, 4 * STAGE));
  for (auto &s : shapes)
    for (int blocks : {16, 33, 66, 132, 264}) {
      chosen c = {pinned, device, s.bytes, id, s.n};
      double all = (double)s.bytes * s.n * 1e-9;
      double engine = device_seconds([&] { cudaMemcpyAsync(device, pinned, s.bytes * s.n, cudaMemcpyHostToDevice); });
      double one = device_seconds([&] { copy<1><<<blocks, THREADS>>>(c); });
      double four = device_seconds([&] { copy<4><<<blocks, THREADS>>>(c); });
      double eight = device_seconds([&] { copy<8><<<blocks, THREADS>>>(c); });
      double by_bulk = device_seconds([&] { bulk<<<blocks, 32, 4 * STAGE>>>(c); });
      double by_few = device_seconds([&] { few<<<blocks * 4, 256>>>(c); });
      printf("| %d of %zu | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f | %d |\n", s.n, s.bytes, all / engine, all / one,
             all / four, all / eight, all / by_bulk, all / by_few, blocks);
      fflush(stdout);
    }
  for (int n : {1, 4, 8, 16}) {
    double least = 1e9;
    for (int i = 0; i < 3 && n <= threads; i++) {
      start = now();
      threads_run(n, read_all, pinned, bytes / 2);
      least = now() - start < least ? now() - start : least;
    }
    printf("host: %d threads read %.1f GB/s\n", n, bytes / 2 / least * 1e-9);
  }
  return 0;
}
