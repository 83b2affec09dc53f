/* Lab: the linear of few tokens. Weights stream once from device memory, so its floor is their bytes ÷ the read
 * bandwidth, which is measured first. Versions, each checked against a plain kernel:
 *
 *   1  swap-AB on the tensor cores: a block per multiprocessor takes strips of 16 weight rows in turn; one thread keeps
 *      bulk copies of 16 KiB in flight into a ring; each of 8 warps multiplies the piece of 64 columns that is its own
 *      (m16n8k16, weights as A by ldmatrix from the swizzled piece, tokens as B from registers); at a strip's end the
 *      warps' sums are added in a fixed order
 *   2  the same, and a warp takes its tokens' fragments of a stage before it waits for the weights
 *   3  the same as a dependent launch: weights are asked for before the kernel before has ended
 *   4  the same with two strips side by side, which share the tokens' fragments
 *
 *   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a bench/lab/linear_small.cu -o linear_small */
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define CHECK(call)                                                                                                    \
  do {                                                                                                                 \
    cudaError_t status = (call);                                                                                       \
    if (status != cudaSuccess) {                                                                                       \
      printf("%s: %s\n", #call, cudaGetErrorString(status));                                                           \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

enum { WARPS = 8, PIECE = 2048, RUN = WARPS * PIECE, THREADS = WARPS * 32 + 32 };

/* --- one instruction each ----------------------------------------------------------------------------------------- */

__device__ __forceinline__ uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void barrier_init(uint64_t *bar, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(bar)), "r"(count));
}

__device__ __forceinline__ void barrier_expect(uint64_t *bar, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(bar)), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void barrier_arrive(uint64_t *bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(bar)) : "memory");
}

__device__ __forceinline__ void barrier_wait(uint64_t *bar, uint32_t phase) {
  asm volatile("{\n.reg .pred p;\nWAIT: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\nbra "
               "WAIT;\nDONE:\n}" ::"r"(shared_address(bar)),
               "r"(phase)
               : "memory");
}

/* Weights are read once: they leave the second-level cache first. */
__device__ __forceinline__ void bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *bar, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(bar)), "l"(policy)
      : "memory");
}

__device__ __forceinline__ uint64_t evict_first() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

__device__ __forceinline__ void matrices_load(uint32_t a[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address));
}

__device__ __forceinline__ void multiply(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* --- the kernel --------------------------------------------------------------------------------------------------- */

struct linear {
  const uint8_t *weights; /* [strip][piece][2048] */
  const uint4 *tokens;    /* [tile of 8 tokens][piece][2][lane]: B fragments */
  float *out;             /* [token][rows] */
  int n_strip, n_piece, n_token, rows;
};

/* Of a strip, the bytes of stage s: the last one may be short. */
__device__ __forceinline__ uint32_t run_bytes(const linear &a, int s) {
  return (uint32_t)min(RUN, a.n_piece * PIECE - s * RUN);
}

/* Units are STRIPS strips; a stage has a run of pieces of each. */
template <int STRIPS, int STAGES>
__device__ void weights_stream(const linear &a, uint8_t *ring, uint64_t *full, uint64_t *empty) {
  uint64_t policy = evict_first();
  int n_stage = (a.n_piece + WARPS - 1) / WARPS, at = 0;
  for (int unit = blockIdx.x; unit * STRIPS < a.n_strip; unit += gridDim.x) {
    int n = min(STRIPS, a.n_strip - unit * STRIPS);
    const uint8_t *from = a.weights + (size_t)unit * STRIPS * a.n_piece * PIECE;
    for (int s = 0; s < n_stage; s++, at++) {
      int slot = at % STAGES;
      if (at >= STAGES) barrier_wait(&empty[slot], (at / STAGES - 1) & 1);
      uint32_t bytes = run_bytes(a, s);
      barrier_expect(&full[slot], bytes * n);
      for (int i = 0; i < n; i++)
        bulk_copy(ring + (slot * STRIPS + i) * RUN, from + ((size_t)i * a.n_piece + s * WARPS) * PIECE, bytes,
                  &full[slot], policy);
    }
  }
}

template <int TILES> struct fragments { uint4 low[TILES], high[TILES]; };

template <int TILES>
__device__ __forceinline__ void tokens_load(fragments<TILES> &b, const linear &a, int piece, int lane) {
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    const uint4 *from = a.tokens + ((size_t)t * a.n_piece + piece) * 64;
    b.low[t] = __ldg(from + lane);
    b.high[t] = __ldg(from + 32 + lane);
  }
}

template <int TILES>
__device__ __forceinline__ void piece_multiply(float sum[TILES][4], const uint8_t *piece, const fragments<TILES> &b,
                                               int lane) {
  int row = lane % 16, half = lane / 16;
  uint32_t base = shared_address(piece) + row / 8 * 1024 + row % 8 * 128;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    uint32_t w[4];
    matrices_load(w, base + (((2 * k + half) ^ (row % 8)) << 4));
#pragma unroll
    for (int t = 0; t < TILES; t++) {
      const uint32_t *x = k < 2 ? &b.low[t].x : &b.high[t].x;
      multiply(sum[t], w, x[k % 2 * 2], x[k % 2 * 2 + 1]);
    }
  }
}

template <int TILES, int STRIPS, int STAGES, bool EARLY, bool DEPENDENT>
__global__ void __launch_bounds__(THREADS, 1) linear_small(linear a) {
  extern __shared__ __align__(1024) uint8_t shared[];
  uint8_t *ring = shared;
  float *sums = (float *)(ring + STAGES * STRIPS * RUN); /* [WARPS][STRIPS][TILES][32][4] */
  uint64_t *full = (uint64_t *)(sums + WARPS * STRIPS * TILES * 128), *empty = full + STAGES;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) barrier_init(&full[i], 1), barrier_init(&empty[i], WARPS);
    asm volatile("fence.mbarrier_init.release.cluster;");
  }
  __syncthreads();
  if (DEPENDENT) asm volatile("griddepcontrol.launch_dependents;");
  if (warp == WARPS) {
    if (lane == 0) weights_stream<STRIPS, STAGES>(a, ring, full, empty);
    return;
  }
  if (DEPENDENT) asm volatile("griddepcontrol.wait;" ::: "memory");
  int n_stage = (a.n_piece + WARPS - 1) / WARPS, at = 0;
  for (int unit = blockIdx.x; unit * STRIPS < a.n_strip; unit += gridDim.x) {
    float sum[STRIPS][TILES][4] = {};
    for (int s = 0; s < n_stage; s++, at++) {
      int slot = at % STAGES, piece = s * WARPS + warp;
      bool has = piece < a.n_piece;
      fragments<TILES> b;
      if (EARLY && has) tokens_load<TILES>(b, a, piece, lane);
      barrier_wait(&full[slot], at / STAGES & 1);
      if (!EARLY && has) tokens_load<TILES>(b, a, piece, lane);
#pragma unroll
      for (int i = 0; i < STRIPS; i++)
        if (has) piece_multiply<TILES>(sum[i], ring + (slot * STRIPS + i) * RUN + warp * PIECE, b, lane);
      __syncwarp();
      if (lane == 0) barrier_arrive(&empty[slot]);
    }
    /* The warps' sums, always added in the order of the warps. */
#pragma unroll
    for (int i = 0; i < STRIPS; i++)
#pragma unroll
      for (int t = 0; t < TILES; t++)
        *(float4 *)(sums + (((warp * STRIPS + i) * TILES + t) * 32 + lane) * 4) = *(float4 *)sum[i][t];
    asm volatile("bar.sync 1, %0;" ::"n"(WARPS * 32));
    for (int i = warp * 32 + lane; i < STRIPS * TILES * 128; i += WARPS * 32) {
      float total = 0;
#pragma unroll
      for (int w = 0; w < WARPS; w++) total += sums[w * STRIPS * TILES * 128 + i];
      int strip = unit * STRIPS + i / (TILES * 128), tile = i / 128 % TILES, l = i / 4 % 32, e = i % 4;
      int token = tile * 8 + l % 4 * 2 + e % 2, row = strip * 16 + l / 4 + e / 2 * 8;
      if (token < a.n_token && row < a.rows) a.out[(size_t)token * a.rows + row] = total;
    }
    asm volatile("bar.sync 1, %0;" ::"n"(WARPS * 32));
  }
}

/* --- what it is checked against, and what bounds it --------------------------------------------------------------- */

__global__ void plain(const __nv_bfloat16 *w, const __nv_bfloat16 *x, float *out, int rows, int cols) {
  int row = blockIdx.x * 8 + threadIdx.x / 32, token = blockIdx.y;
  if (row >= rows) return;
  float sum = 0;
  for (int c = threadIdx.x % 32; c < cols; c += 32)
    sum += __bfloat162float(w[(size_t)row * cols + c]) * __bfloat162float(x[(size_t)token * cols + c]);
  for (int s = 16; s; s /= 2) sum += __shfl_xor_sync(~0u, sum, s);
  if (threadIdx.x % 32 == 0) out[(size_t)token * rows + row] = sum;
}

__global__ void fill(__nv_bfloat16 *x, size_t n, uint32_t seed) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    uint64_t h = (i + seed) * 0x9E3779B97F4A7C15ull;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93ull;
    x[i] = __float2bfloat16((float)((h >> 40) & 0xffff) / 65536.f - 0.5f);
  }
}

__global__ void pack(const __nv_bfloat16 *w, uint8_t *out, int rows, int cols, int n_piece) {
  size_t n = (size_t)rows * cols;
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    int row = (int)(i / cols), col = (int)(i % cols), r = row % 16, within = col % 64;
    size_t at = ((size_t)(row / 16) * n_piece + col / 64) * PIECE + r / 8 * 1024 + r % 8 * 128 +
                ((within / 8 ^ r % 8) * 16) + within % 8 * 2;
    *(__nv_bfloat16 *)(out + at) = w[i];
  }
}

/* Token t's fragments: lane l of a tile has token l / 4 and columns l % 4 · 2, + 1, + 8, + 9 of each 16. */
__global__ void pack_tokens(const __nv_bfloat16 *x, __nv_bfloat16 *out, int n_token, int cols, int n_piece, int tiles) {
  int n = tiles * n_piece * 64 * 8;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    int element = i % 8, lane = i / 8 % 32, half = i / 256 % 2, piece = i / 512 % n_piece, tile = i / 512 / n_piece;
    int k = half * 2 + element / 4, pair = element / 2 % 2, token = tile * 8 + lane / 4;
    int col = piece * 64 + k * 16 + lane % 4 * 2 + pair * 8 + element % 2;
    out[i] = token < n_token && col < cols ? x[(size_t)token * cols + col] : __float2bfloat16(0);
  }
}

__global__ void read_all(const uint4 *from, size_t n, uint32_t *out) {
  uint32_t x = 0;
  size_t step = (size_t)gridDim.x * blockDim.x, i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
  for (; i + 7 * step < n; i += 8 * step) {
    uint4 v[8];
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] = __ldcs(from + i + k * step);
#pragma unroll
    for (int k = 0; k < 8; k++) x ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
  }
  if (x == 0x12345) *out = x;
}

template <typename F> static float median_us(F run, int repeat) {
  cudaEvent_t a, b;
  CHECK(cudaEventCreate(&a));
  CHECK(cudaEventCreate(&b));
  std::vector<float> times;
  for (int i = 0; i < repeat + 3; i++) {
    CHECK(cudaEventRecord(a));
    run(i);
    CHECK(cudaEventRecord(b));
    CHECK(cudaEventSynchronize(b));
    float ms;
    CHECK(cudaEventElapsedTime(&ms, a, b));
    if (i >= 3) times.push_back(ms * 1000);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

template <int TILES, int STRIPS, int STAGES, bool EARLY, bool DEPENDENT>
static float launch_time(const std::vector<linear> &copies, int blocks, int chain) {
  auto kernel = linear_small<TILES, STRIPS, STAGES, EARLY, DEPENDENT>;
  size_t bytes = STAGES * STRIPS * RUN + WARPS * STRIPS * TILES * 512 + 2 * STAGES * 8;
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks, config.blockDim = THREADS, config.dynamicSmemBytes = bytes;
  config.attrs = &attribute, config.numAttrs = DEPENDENT;
  float us = median_us(
      [&](int i) {
        for (int k = 0; k < chain; k++)
          CHECK(cudaLaunchKernelEx(&config, kernel, copies[(i * chain + k) % copies.size()]));
      },
      30);
  CHECK(cudaGetLastError());
  return us / chain;
}

/* Of each version back to back, and of the first alone. */
template <int TILES, int DEEP, int DEEP2>
static void versions_time(const std::vector<linear> &copies, int blocks, float us[5]) {
  us[0] = launch_time<TILES, 1, DEEP, false, false>(copies, blocks, 1);
  us[1] = launch_time<TILES, 1, DEEP, false, false>(copies, blocks, 16);
  us[2] = launch_time<TILES, 1, DEEP, true, false>(copies, blocks, 16);
  us[3] = launch_time<TILES, 1, DEEP, true, true>(copies, blocks, 16);
  us[4] = launch_time<TILES, 2, DEEP2, true, true>(copies, blocks, 16);
}

static double worst(const float *got, const float *want, size_t n) {
  std::vector<float> g(n), w(n);
  CHECK(cudaMemcpy(g.data(), got, n * 4, cudaMemcpyDeviceToHost));
  CHECK(cudaMemcpy(w.data(), want, n * 4, cudaMemcpyDeviceToHost));
  double e = 0, s = 0;
  for (size_t i = 0; i < n; i++) e += (g[i] - w[i]) * (double)(g[i] - w[i]), s += (double)w[i] * w[i];
  return std::sqrt(e / s);
}

static void shape_run(int rows, int cols, double bandwidth, int blocks) {
  int n_piece = (cols + 63) / 64, n_strip = (rows + 15) / 16;
  size_t bytes = (size_t)n_strip * n_piece * PIECE;
  int n_copy = (int)std::max<size_t>(2, (256u << 20) / bytes + 1);
  __nv_bfloat16 *w, *x, *frag;
  float *out, *want;
  uint8_t *packed;
  CHECK(cudaMalloc(&w, (size_t)rows * cols * 2));
  CHECK(cudaMalloc(&x, (size_t)64 * cols * 2));
  CHECK(cudaMalloc(&frag, (size_t)8 * n_piece * 1024));
  CHECK(cudaMalloc(&out, (size_t)64 * rows * 4));
  CHECK(cudaMalloc(&want, (size_t)64 * rows * 4));
  CHECK(cudaMalloc(&packed, bytes * n_copy));
  fill<<<1024, 256>>>(w, (size_t)rows * cols, 1);
  fill<<<1024, 256>>>(x, (size_t)64 * cols, 99);
  for (int i = 0; i < n_copy; i++) pack<<<1024, 256>>>(w, packed + i * bytes, rows, cols, n_piece);
  plain<<<dim3((rows + 7) / 8, 64), 256>>>(w, x, want, rows, cols);
  CHECK(cudaDeviceSynchronize());
  static const int counts[] = {1, 8, 16, 32, 64};
  for (int count : counts) {
    int tiles = (count + 7) / 8;
    pack_tokens<<<1024, 256>>>(x, frag, count, cols, n_piece, tiles);
    std::vector<linear> copies;
    for (int i = 0; i < n_copy; i++)
      copies.push_back({packed + i * bytes, (const uint4 *)frag, out, n_strip, n_piece, count, rows});
    CHECK(cudaMemset(out, 0xff, (size_t)64 * rows * 4));
    float us[5] = {};
    if (tiles == 1) versions_time<1, 12, 6>(copies, blocks, us);
    if (tiles == 2) versions_time<2, 12, 6>(copies, blocks, us);
    if (tiles == 4) versions_time<4, 12, 5>(copies, blocks, us);
    if (tiles == 8) versions_time<8, 10, 5>(copies, blocks, us);
    CHECK(cudaDeviceSynchronize());
    double error = worst(out, want, (size_t)count * rows), floor_us = bytes / bandwidth * 1e-3;
    printf("%6d x %6d, %2d tokens: floor %6.1f us; 1 alone %3.0f %%; back to back 1 %3.0f %%, 2 %3.0f %%, 3 %3.0f %%, "
           "4 %3.0f %%; error %.1e%s\n",
           rows, cols, count, floor_us, 100 * floor_us / us[0], 100 * floor_us / us[1], 100 * floor_us / us[2],
           100 * floor_us / us[3], 100 * floor_us / us[4], error, error < 1e-3 ? "" : "  WRONG");
  }
  cudaFree(w), cudaFree(x), cudaFree(frag), cudaFree(out), cudaFree(want), cudaFree(packed);
}

int main() {
  cudaDeviceProp p;
  CHECK(cudaGetDeviceProperties(&p, 0));
  size_t n = (size_t)4 << 30;
  uint8_t *big;
  uint32_t *sink;
  CHECK(cudaMalloc(&big, n));
  CHECK(cudaMalloc(&sink, 4));
  fill<<<4096, 256>>>((__nv_bfloat16 *)big, n / 2, 5);
  float us =
      median_us([&](int) { read_all<<<p.multiProcessorCount * 8, 512>>>((const uint4 *)big, n / 16, sink); }, 10);
  double bandwidth = n / us * 1e-3;
  printf("%s: read %.0f GB/s\n", p.name, bandwidth);
  cudaFree(big);
  static const int shapes[][2] = {{6144, 4096},   {4096, 4096}, {28672, 4096}, {4096, 14336},
                                  {128256, 4096}, {3072, 2048}, {16384, 2048}};
  for (auto &s : shapes) shape_run(s[0], s[1], bandwidth, p.multiProcessorCount);
  return 0;
}
