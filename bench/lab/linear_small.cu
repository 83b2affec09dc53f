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
#include "../../src/backend/cuda/instructions.cuh"
#include "lab.cuh"

#include <cuda_bf16.h>

enum { WARPS = 8, PIECE = 2048, RUN = WARPS * PIECE, THREADS = WARPS * 32 + 32 };

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
  uint64_t policy = policy_evict_first();
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
      multiply_bf16(sum[t], w, x[k % 2 * 2], x[k % 2 * 2 + 1]);
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
    barriers_publish();
  }
  __syncthreads();
  if (DEPENDENT) dependents_launch();
  if (warp == WARPS) {
    if (lane == 0) weights_stream<STRIPS, STAGES>(a, ring, full, empty);
    return;
  }
  if (DEPENDENT) dependencies_wait();
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
           100 * floor_us / us[3], 100 * floor_us / us[4], error, verdict(error < 1e-3));
  }
  cudaFree(w), cudaFree(x), cudaFree(frag), cudaFree(out), cudaFree(want), cudaFree(packed);
}

int main() {
  cudaDeviceProp p;
  CHECK(cudaGetDeviceProperties(&p, 0));
  size_t n = (size_t)4 << 30;
  uint8_t *big;
  CHECK(cudaMalloc(&big, n));
  fill<<<4096, 256>>>((__nv_bfloat16 *)big, n / 2, 5);
  double bandwidth = read_rate(big, n, p.multiProcessorCount);
  printf("%s: read %.0f GB/s\n", p.name, bandwidth);
  cudaFree(big);
  static const int shapes[][2] = {{6144, 4096},   {4096, 4096}, {28672, 4096}, {4096, 14336},
                                  {128256, 4096}, {3072, 2048}, {16384, 2048}};
  for (auto &s : shapes) shape_run(s[0], s[1], bandwidth, p.multiProcessorCount);
  return wrong > 0;
}
