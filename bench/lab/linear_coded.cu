/* Lab: the linear of 1 to 8 tokens over weights of 4 and 8 bits. Its floor is their bytes ÷ the read bandwidth, which
 * is measured first. Each version is checked against a plain kernel, and timed whole and with one thing knocked out:
 *
 *   whole     a copying thread brings runs of 8 × PER pieces of a strip, one copy each, into a ring; 8 warps turn the
 *             PER pieces that are their own into bf16 and multiply them (coded_few.cuh), several strips abreast of the
 *             tokens' fragments; at the end of strips the warps' sums are added in a fixed order
 *   copies    the warps wait for the weights and do nothing with them
 *   resident  nothing is copied: the warps multiply what is in shared memory
 *   no ends   the warps' sums do not meet
 *
 * And copies alone: of one size, from so many warps, from multiples of 128 bytes or 64 beyond them.
 *
 *   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc bench/lab/linear_coded.cu -o linear_coded */
#include "backend/cuda/coded_few.cuh"
#include "backend/cuda/matrix_read.cuh"
#include "lab.cuh"

using namespace coded;

enum { THREADS = 288, ROOM = 226 * 1024 };
enum mode { WHOLE, COPIES, RESIDENT, NO_ENDS, MODES };
static const char *const mode_names[] = {"whole", "copies", "resident", "no ends"};

/* --- the kernel --------------------------------------------------------------------------------------------------- */

struct linear {
  struct cuda_matrix m;
  const uint4 *tokens; /* [piece of 64 columns][2][lane] */
  float *out;          /* [token][rows] */
  int n_strip, n_piece, n_half, n_token;
};

template <typename C, int WARPS, int PER, int STRIPS> struct shape {
  static constexpr int run = WARPS * PER * C::slot_bytes;
  static constexpr int sums = STRIPS * 16 * 9; /* floats of a warp */
  static constexpr int stages = (ROOM - 2 * WARPS * sums * 4 - 512) / run;
  static constexpr int bytes = 512 + 2 * WARPS * sums * 4 + stages * run;
};

template <typename C, int WARPS, int PER, int STRIPS, int FLIGHT, int MODE>
__device__ void weights_stream(const linear &a, uint8_t *ring, uint64_t *full, uint64_t *empty) {
  using S = shape<C, WARPS, PER, STRIPS>;
  uint64_t policy = policy_evict_first();
  int head = a.m.bytes ? BYTES_HEAD : 0, at = 0;
  for (int first = blockIdx.x; first < a.n_strip; first += gridDim.x * STRIPS)
    for (int piece = 0; piece < a.n_piece; piece += WARPS * PER)
      for (int i = 0, strip = first; i < STRIPS && strip < a.n_strip; i++, at++, strip += gridDim.x) {
        int slot = at % S::stages;
        uint32_t bytes = min(WARPS * PER, a.n_piece - piece) * a.m.piece_bytes;
        if (at >= FLIGHT) barrier_wait(&full[(at - FLIGHT) % S::stages], (at - FLIGHT) / S::stages & 1);
        barrier_wait(&empty[slot], (at / S::stages & 1) ^ 1);
        if (MODE == RESIDENT) {
          barrier_arrive(&full[slot]);
          continue;
        }
        barrier_expect(&full[slot], bytes);
        bulk_copy(ring + slot * S::run, a.m.data + strip * a.m.strip_bytes + head + (size_t)piece * a.m.piece_bytes,
                  bytes, &full[slot], policy);
      }
}

template <int PER> __device__ __forceinline__ void tokens_load(fragments<1> (&b)[PER], const linear &a, int piece) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int p = 0; p < PER; p++)
#pragma unroll
    for (int i = 0; i < STEPS / 2; i++) {
      int half = (piece + p) * 2 + i / 2;
      bool has = half < a.n_half && lane / 4 < a.n_token;
      b[p].pair[0][i] = has ? a.tokens[(size_t)half * 64 + i % 2 * 32 + lane] : make_uint4(0, 0, 0, 0);
    }
}

template <typename C, int WARPS, int PER, int STRIPS, int FLIGHT, int MODE>
__global__ void __launch_bounds__(WARPS * 32 + 32, 1) multiply(const __grid_constant__ linear a) {
  using S = shape<C, WARPS, PER, STRIPS>;
  extern __shared__ __align__(1024) uint8_t shared[];
  uint64_t *full = (uint64_t *)shared, *empty = full + S::stages;
  float *sums = (float *)(shared + 512);
  uint8_t *ring = shared + 512 + 2 * WARPS * S::sums * 4;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, at = 0, turn = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::stages; i++) barrier_init(&full[i], 1), barrier_init(&empty[i], WARPS);
    barriers_publish();
  }
  if (MODE == RESIDENT)
    for (int i = threadIdx.x; i < S::stages * S::run / 4; i += WARPS * 32 + 32) ((uint32_t *)ring)[i] = 0x12241224;
  __syncthreads();
  dependents_launch();
  if (warp == WARPS) {
    if (lane == 0) weights_stream<C, WARPS, PER, STRIPS, FLIGHT, MODE>(a, ring, full, empty);
    return;
  }
  dependencies_wait();
  fragments<1> b[PER], next[PER];
  tokens_load<PER>(next, a, warp * PER);
  for (int first = blockIdx.x; first < a.n_strip; first += gridDim.x * STRIPS, turn ^= 1) {
    float sum[STRIPS][1][4] = {};
    for (int run = 0; run < a.n_piece; run += WARPS * PER) {
      int piece = run + warp * PER;
      typename C::template helpers<1> help[PER];
#pragma unroll
      for (int p = 0; p < PER; p++) {
        b[p] = next[p];
        if (MODE != COPIES) C::template prepare<1>(help[p], b[p]);
      }
      tokens_load<PER>(next, a, run + WARPS * PER < a.n_piece ? piece + WARPS * PER : warp * PER);
#pragma unroll
      for (int i = 0; i < STRIPS; i++) {
        if (first + i * gridDim.x >= a.n_strip) break;
        int slot = at % S::stages;
        barrier_wait(&full[slot], at / S::stages & 1);
        at++;
        const uint8_t *from = ring + slot * S::run + warp * PER * a.m.piece_bytes;
        if (MODE != COPIES && piece < a.n_piece) {
#pragma unroll
          for (int p = 0; p < PER; p++) {
            const uint8_t *one[1] = {from + p * a.m.piece_bytes};
            C::template multiply<1, 1>(&sum[i], one, a.m.has_min, b[p], help[p], lane);
          }
        }
        warp_arrive(&empty[slot]);
      }
    }
    if (MODE == NO_ENDS) {
      float x = 0;
      for (int i = 0; i < STRIPS * 4; i++) x += sum[i / 4][0][i % 4];
      if (x == 0.12345f) a.out[0] = x;
      continue;
    }
    float *mine = sums + turn * WARPS * S::sums;
#pragma unroll
    for (int i = 0; i < STRIPS * 4; i++)
      mine[warp * S::sums + (i / 4 * 16 + lane / 4 + i % 4 / 2 * 8) * 9 + lane % 4 * 2 + i % 2] = sum[i / 4][0][i % 4];
    asm volatile("bar.sync 1, %0;" ::"n"(WARPS * 32) : "memory");
    for (int i = threadIdx.x; i < STRIPS * 16 * a.n_token; i += WARPS * 32) {
      int within = i % (STRIPS * 16), token = i / (STRIPS * 16), strip = first + within / 16 * gridDim.x;
      if (strip >= a.n_strip) continue;
      float total = 0;
#pragma unroll
      for (int w = 0; w < WARPS; w++) total += mine[w * S::sums + within * 9 + token];
      if (a.m.bytes) total *= ((const float *)(a.m.data + strip * a.m.strip_bytes))[within % 16];
      if (strip * 16 + within % 16 < a.m.rows) a.out[(size_t)token * a.m.rows + strip * 16 + within % 16] = total;
    }
  }
}

/* --- copies alone ------------------------------------------------------------------------------------------------- */

/* Of `count` copies of `bytes`, every gridDim-th run of `warps`; each warp has `slots` on their way. */
__global__ void __launch_bounds__(THREADS, 1)
    copies(const uint8_t *from, int bytes, int pitch, int warps, int slots, int count) {
  extern __shared__ __align__(1024) uint8_t shared[];
  int warp = threadIdx.x / 32;
  if (threadIdx.x % 32 || warp >= warps) return;
  uint64_t *full = (uint64_t *)shared + warp * 32, policy = policy_evict_first();
  uint8_t *ring = shared + 4096 + warp * slots * pitch;
  for (int i = 0; i < slots; i++) barrier_init(&full[i], 1);
  barriers_publish();
  int step = gridDim.x * warps;
  /* a block's copies lie side by side, as those of a strip do */
  for (int k = 0, i = blockIdx.x * warps + warp; i - slots * step < count; k++, i += step) {
    if (k >= slots) barrier_wait(&full[k % slots], (k / slots - 1) & 1);
    if (i >= count) continue;
    barrier_expect(&full[k % slots], bytes);
    bulk_copy(ring + k % slots * pitch, from + (size_t)i * pitch, bytes, &full[k % slots], policy);
  }
}

static void copies_time(const uint8_t *big, double bandwidth, int blocks) {
  static const struct {
    int bytes, pitch, offset, warps, slots;
  } of[] = {{1088, 1088, 0, 8, 12},   {1088, 1152, 0, 8, 12},  {1024, 1024, 0, 8, 12},   {1024, 1024, 64, 8, 12},
            {2048, 2048, 0, 8, 12},   {2048, 2048, 64, 8, 12}, {4352, 4352, 0, 8, 5},    {8704, 8704, 0, 1, 12},
            {8704, 8704, 0, 1, 6},    {8704, 8704, 0, 1, 24},  {17408, 17408, 0, 1, 3},  {17408, 17408, 0, 1, 6},
            {17408, 17408, 0, 1, 12}, {16384, 16384, 0, 1, 3}, {16384, 16384, 64, 1, 3}, {16384, 16384, 64, 1, 12},
            {2176, 2176, 0, 8, 12},   {2048, 2048, 0, 1, 24}};
  CHECK(cudaFuncSetAttribute(copies, cudaFuncAttributeMaxDynamicSharedMemorySize, ROOM));
  for (auto &c : of) {
    size_t total = (size_t)512 << 20;
    int count = (int)(total / c.pitch);
    float us = median_us(
        [&](int i) {
          copies<<<blocks, THREADS, ROOM>>>(big + (size_t)(i % 4) * total + c.offset, c.bytes, c.pitch, c.warps,
                                            c.slots, count);
        },
        9);
    double gb = (double)count * c.bytes / us * 1e-3;
    printf("copies of %5d bytes every %5d from + %2d, %d warps x %2d: %5.0f GB/s %3.0f %%\n", c.bytes, c.pitch,
           c.offset, c.warps, c.slots, gb, 100 * gb / bandwidth);
  }
}

/* --- what it is checked against ----------------------------------------------------------------------------------- */

__device__ uint32_t noise(uint64_t i, uint32_t seed) {
  uint64_t h = (i + seed) * 0x9E3779B97F4A7C15ull;
  h ^= h >> 32;
  h *= 0xD6E8FEB86659FD93ull;
  return (uint32_t)(h >> 32);
}

/* Codes and scales of whole strips, four bytes at a time. */
__global__ void weights_fill(struct cuda_matrix m, uint32_t *out, size_t bytes, uint32_t seed) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < bytes / 4; i += (size_t)gridDim.x * blockDim.x) {
    size_t at = i * 4 % m.strip_bytes;
    uint32_t x = noise(i, seed);
    if (m.bytes && at < BYTES_HEAD) x = at < 64 ? __float_as_uint((1 + x % 4) * 0.001f) : 0;
    if (m.nibbles && at % m.piece_bytes >= NIBBLES_CODES) {
      float scale = (1 + x % 4) * 0.01f;
      __half2 pair = m.has_min ? __floats2half2_rn(scale, -7.5f * scale) : __floats2half2_rn(scale, 2 * scale);
      x = *(uint32_t *)&pair;
    }
    out[i] = x;
  }
}

/* Lane l of fragments has of token l / 4 columns l % 4 × 2, + 1, + 8, + 9 of each 16. */
__global__ void tokens_fill(__nv_bfloat16 *plain, __nv_bfloat16 *out, int cols) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < 8 * cols; i += gridDim.x * blockDim.x) {
    int token = i / cols, col = i % cols, within = col % 16, step = col % 64 / 16;
    int lane = token * 4 + within % 8 / 2;
    __nv_bfloat16 x = __float2bfloat16((float)(noise(i, 7) & 0xffff) / 65536.f - 0.5f);
    plain[i] = x;
    out[((size_t)(col / 64 * 2 + step / 2) * 32 + lane) * 8 + step % 2 * 4 + within / 8 * 2 + col % 2] = x;
  }
}

__global__ void plain(struct cuda_matrix m, const __nv_bfloat16 *x, float *out) {
  int row = blockIdx.x * 8 + threadIdx.x / 32, token = blockIdx.y;
  if (row >= m.rows) return;
  float sum = 0;
  for (int c = threadIdx.x % 32; c < m.cols; c += 32)
    sum += matrix_at(m, row, c) * __bfloat162float(x[(size_t)token * m.cols + c]);
  for (int s = 16; s; s /= 2) sum += __shfl_xor_sync(~0u, sum, s);
  if (threadIdx.x % 32 == 0) out[(size_t)token * m.rows + row] = sum;
}

static double worst(const float *got, const float *want, size_t n) {
  std::vector<float> g(n), w(n);
  CHECK(cudaMemcpy(g.data(), got, n * 4, cudaMemcpyDeviceToHost));
  CHECK(cudaMemcpy(w.data(), want, n * 4, cudaMemcpyDeviceToHost));
  double e = 0, s = 0;
  for (size_t i = 0; i < n; i++) e += (g[i] - w[i]) * (double)(g[i] - w[i]), s += (double)w[i] * w[i];
  return std::sqrt(e / s);
}

/* --- times -------------------------------------------------------------------------------------------------------- */

struct work {
  std::vector<linear> copies;
  float *out, *want;
  double floor_us;
  int blocks;
};

template <typename C, int WARPS, int PER, int STRIPS, int FLIGHT, int MODE> static float mode_time(const work &w) {
  auto kernel = multiply<C, WARPS, PER, STRIPS, FLIGHT, MODE>;
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shape<C, WARPS, PER, STRIPS>::bytes));
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = w.blocks, config.blockDim = WARPS * 32 + 32,
  config.dynamicSmemBytes = shape<C, WARPS, PER, STRIPS>::bytes;
  config.attrs = &attribute, config.numAttrs = 1;
  return median_us([&](int i) { CHECK(cudaLaunchKernelEx(&config, kernel, w.copies[i % w.copies.size()])); }, 9, 8);
}

template <typename C, int WARPS, int PER, int STRIPS, int FLIGHT>
static void version_time(const char *name, const work &w) {
  const linear &a = w.copies[0];
  size_t n = (size_t)a.n_token * a.m.rows;
  CHECK(cudaMemset(w.out, 0xff, n * 4));
  float us[MODES] = {mode_time<C, WARPS, PER, STRIPS, FLIGHT, WHOLE>(w)};
  double error = worst(w.out, w.want, n);
  us[COPIES] = mode_time<C, WARPS, PER, STRIPS, FLIGHT, COPIES>(w);
  us[RESIDENT] = mode_time<C, WARPS, PER, STRIPS, FLIGHT, RESIDENT>(w);
  us[NO_ENDS] = mode_time<C, WARPS, PER, STRIPS, FLIGHT, NO_ENDS>(w);
  printf("  %s, %d warps x %d pieces, %d strips, %2d of %2d runs in flight:", name, WARPS, PER, STRIPS, FLIGHT,
         shape<C, WARPS, PER, STRIPS>::stages);
  for (int i = 0; i < MODES; i++) printf(" %s %.1f us (%.0f %%)", mode_names[i], us[i], 100 * w.floor_us / us[i]);
  printf("; error %.1e%s\n", error, verdict(error < 3e-3));
  fflush(stdout);
}

static void shape_run(int rows, int cols, bool nibbles_, double bandwidth, int blocks, int n_token) {
  struct cuda_matrix m = {};
  m.rows = rows, m.cols = cols, m.kind = KIND_INT;
  m.nibbles = nibbles_, m.bytes = !nibbles_, m.bits = nibbles_ ? 4 : 8, m.has_min = nibbles_,
  m.group = nibbles_ ? 128 : 0;
  m.piece_bytes = nibbles_ ? 1088 : 2048;
  int n_strip = (rows + 15) / 16, n_piece = (cols + 127) / 128;
  m.strip_bytes = nibbles_ ? (n_piece + 1) / 2 * 2176 : BYTES_HEAD + n_piece * 2048;
  size_t bytes = n_strip * m.strip_bytes;
  int n_copy = (int)std::max<size_t>(2, (256u << 20) / bytes + 1);
  work w = {};
  uint8_t *packed;
  __nv_bfloat16 *x, *fragment;
  CHECK(cudaMalloc(&packed, bytes * n_copy));
  CHECK(cudaMalloc(&x, (size_t)8 * cols * 2));
  CHECK(cudaMalloc(&fragment, (size_t)(cols + 255) / 256 * 256 * 16));
  CHECK(cudaMemset(fragment, 0, (size_t)(cols + 255) / 256 * 256 * 16));
  CHECK(cudaMalloc(&w.out, (size_t)8 * rows * 4));
  CHECK(cudaMalloc(&w.want, (size_t)8 * rows * 4));
  for (int i = 0; i < n_copy; i++) weights_fill<<<1024, 256>>>(m, (uint32_t *)(packed + i * bytes), bytes, 1);
  tokens_fill<<<256, 256>>>(x, fragment, cols);
  m.data = packed;
  plain<<<dim3((rows + 7) / 8, n_token), 256>>>(m, x, w.want);
  CHECK(cudaDeviceSynchronize());
  for (int i = 0; i < n_copy; i++) {
    m.data = packed + i * bytes;
    w.copies.push_back({m, (const uint4 *)fragment, w.out, n_strip, n_piece, (cols + 63) / 64, n_token});
  }
  w.floor_us = bytes / bandwidth * 1e-3, w.blocks = blocks;
  printf("%d bits, %d x %d, %d tokens: floor %.1f us\n", m.bits, rows, cols, n_token, w.floor_us);
  if (nibbles_) {
    version_time<nibbles<1>, 8, 2, 4, 3>("int4", w);
    version_time<nibbles<1>, 8, 2, 4, 6>("int4", w);
    version_time<nibbles<1>, 8, 2, 2, 3>("int4", w);
    version_time<nibbles<1>, 8, 1, 4, 6>("int4", w);
    version_time<nibbles<1>, 16, 1, 4, 3>("int4", w);
  } else {
    version_time<coded::bytes<int8>, 8, 1, 4, 3>("int8", w);
    version_time<coded::bytes<int8>, 8, 1, 2, 3>("int8", w);
    version_time<coded::bytes<int8>, 8, 1, 4, 6>("int8", w);
    version_time<coded::bytes<int8>, 8, 1, 4, 12>("int8", w);
  }
  cudaFree(packed), cudaFree(x), cudaFree(fragment), cudaFree(w.out), cudaFree(w.want);
}

int main() {
  cudaDeviceProp p;
  CHECK(cudaGetDeviceProperties(&p, 0));
  size_t n = ((size_t)2 << 30) + 4096;
  uint8_t *big;
  CHECK(cudaMalloc(&big, n));
  struct cuda_matrix none = {};
  none.strip_bytes = 1;
  weights_fill<<<4096, 256>>>(none, (uint32_t *)big, n, 5);
  double bandwidth = read_rate(big, n, p.multiProcessorCount);
  printf("%s: read %.0f GB/s\n", p.name, bandwidth);
  copies_time(big, bandwidth, p.multiProcessorCount);
  cudaFree(big);
  static const int shapes[][2] = {{6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}, {128256, 4096}};
  for (int bits = 0; bits < 2; bits++)
    for (auto &s : shapes) shape_run(s[0], s[1], bits == 0, bandwidth, p.multiProcessorCount, 1);
  for (int bits = 0; bits < 2; bits++) shape_run(128256, 4096, bits == 0, bandwidth, p.multiProcessorCount, 8);
  return wrong > 0;
}
