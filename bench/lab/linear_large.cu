/* Lab: the linear of many tokens, the kernels of the backend themselves. Each shape of tile is checked against a plain
 * kernel and timed back to back over weights larger than the second-level cache; bench/lab/linear_large.py prints
 * cuBLASLt's times (by way of torch) for the same products.
 *
 *   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc bench/lab/linear_large.cu \
 *     src/backend/cuda/linear_plain.cu -o linear_large */
#include "../../src/backend/cuda/linear_many.cu"
#include "../../src/backend/cuda/linear_prepare.cu"
#include "lab.cuh"

static int multiprocessors;

__global__ void plain(const __nv_bfloat16 *w, const float *x, float *out, int rows, int cols) {
  int row = blockIdx.x * 8 + threadIdx.x / 32, token = blockIdx.y;
  if (row >= rows) return;
  float sum = 0;
  for (int c = threadIdx.x % 32; c < cols; c += 32)
    sum +=
        __bfloat162float(w[(size_t)row * cols + c]) * __bfloat162float(__float2bfloat16(x[(size_t)token * cols + c]));
  for (int s = 16; s; s /= 2) sum += __shfl_xor_sync(~0u, sum, s);
  if (threadIdx.x % 32 == 0) out[(size_t)token * rows + row] = sum;
}

__device__ float noise(size_t i, uint32_t seed) {
  uint64_t h = (i + seed) * 0x9E3779B97F4A7C15ull;
  h ^= h >> 32;
  h *= 0xD6E8FEB86659FD93ull;
  return (float)((h >> 40) & 0xffff) / 65536.f - 0.5f;
}

__global__ void fill(float *x, size_t n, uint32_t seed) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    x[i] = noise(i, seed);
}

/* Rows × cols weights, plainly (if wanted) and packed. */
__global__ void fill_weights(__nv_bfloat16 *w, uint8_t *out, int rows, int cols, int n_piece, uint32_t seed) {
  size_t n = (size_t)(rows + 15) / 16 * 16 * n_piece * 64;
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    int row = (int)(i / (n_piece * 64)), col = (int)(i % (n_piece * 64)), r = row % 16, within = col % 64;
    bool there = row < rows && col < cols;
    __nv_bfloat16 x = __float2bfloat16(there ? noise((size_t)row * cols + col, seed) : 0);
    if (w && there) w[(size_t)row * cols + col] = x;
    size_t at = ((size_t)(row / 16) * n_piece + col / 64) * PIECE + r / 8 * 1024 + r % 8 * 128 +
                ((within / 8 ^ r % 8) * 16) + within % 8 * 2;
    *(__nv_bfloat16 *)(out + at) = x;
  }
}

/* The backend's and rejected ones. */
#define CANDIDATE(groups, cols, pair, split) VERSION(groups, cols, pair, split, 0)
static const version candidates[] = {CANDIDATE(1, 64, 1, 1),  CANDIDATE(1, 64, 1, 2),  CANDIDATE(1, 128, 1, 4),
                                     CANDIDATE(2, 128, 1, 1), CANDIDATE(2, 128, 1, 2), CANDIDATE(2, 192, 1, 1),
                                     CANDIDATE(2, 192, 1, 2), CANDIDATE(2, 256, 1, 1), CANDIDATE(2, 256, 1, 2),
                                     CANDIDATE(2, 128, 2, 1), CANDIDATE(2, 192, 2, 1), CANDIDATE(2, 256, 2, 1)};

struct name {
  char text[32];
};
static name name_of(const version &v) {
  name n;
  snprintf(n.text, sizeof n.text, "%dx%d/%d/%d", v.groups * 64, v.cols, v.pair, v.split);
  return n;
}

static many many_of(const struct cuda_linear &a) {
  return {.linear = a,
          .tokens = (const uint8_t *)a.fragments,
          .n_strip = (a.matrix.rows + 15) / 16,
          .n_piece = (a.matrix.cols + 63) / 64,
          .fours = a.out_cols % 4 == 0};
}

static void check(int rows, int cols, int tokens) {
  int n_piece = (cols + 63) / 64;
  __nv_bfloat16 *w;
  uint8_t *packed;
  float *x, *out, *want;
  void *prepared;
  size_t n = (size_t)tokens * rows;
  CHECK(cudaMalloc(&w, (size_t)rows * cols * 2));
  CHECK(cudaMalloc(&packed, (size_t)(rows + 15) / 16 * n_piece * PIECE));
  CHECK(cudaMalloc(&x, (size_t)tokens * cols * 4));
  CHECK(cudaMalloc(&prepared, (size_t)(tokens + 63) / 64 * n_piece * TOKENS_BYTES));
  CHECK(cudaMalloc(&out, n * 4));
  CHECK(cudaMalloc(&want, n * 4));
  fill_weights<<<1024, 256>>>(w, packed, rows, cols, n_piece, 1);
  fill<<<1024, 256>>>(x, (size_t)tokens * cols, 99);
  plain<<<dim3((rows + 7) / 8, tokens), 256>>>(w, x, want, rows, cols);
  struct cuda_linear a = {};
  a.matrix.data = packed, a.matrix.rows = rows, a.matrix.cols = cols;
  a.in = x, a.in_cols = cols, a.n_row = tokens, a.out = out, a.out_cols = rows, a.result_cols = rows;
  a.fragments = prepared, a.factor = 1;
  std::vector<float> g(n), v(n);
  CHECK(cudaMemcpy(v.data(), want, n * 4, cudaMemcpyDeviceToHost));
  for (auto &version : candidates) {
    if (version.split > n_piece) continue;
    CHECK(cudaMemset(out, 0xff, n * 4));
    CHECK(cudaMemset(prepared, 0xff, (size_t)(tokens + 63) / 64 * n_piece * TOKENS_BYTES));
    cuda_linear_prepare(&a, true, 0);
    version.launch(many_of(a), multiprocessors, 0);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(g.data(), out, n * 4, cudaMemcpyDeviceToHost));
    double e = 0, s = 0;
    for (size_t i = 0; i < n; i++) e += (g[i] - v[i]) * (double)(g[i] - v[i]), s += (double)v[i] * v[i];
    printf("check %d x %d, %d tokens, %s: error %.1e%s\n", rows, cols, tokens, name_of(version).text, sqrt(e / s),
           verdict(e / s < 1e-9));
  }
  cudaFree(w), cudaFree(packed), cudaFree(x), cudaFree(prepared), cudaFree(out), cudaFree(want);
}

static void shape_run(int rows, int cols, int most) {
  int n_piece = (cols + 63) / 64;
  size_t bytes = (size_t)rows / 16 * n_piece * PIECE;
  int n_copy = (int)std::max<size_t>(2, (200u << 20) / bytes + 1);
  uint8_t *packed;
  float *x, *out;
  void *prepared;
  CHECK(cudaMalloc(&packed, bytes * n_copy));
  CHECK(cudaMalloc(&x, (size_t)most * cols * 4));
  CHECK(cudaMalloc(&prepared, (size_t)most * n_piece * 128));
  CHECK(cudaMalloc(&out, (size_t)most * rows * 4));
  for (int i = 0; i < n_copy; i++) fill_weights<<<1024, 256>>>(NULL, packed + i * bytes, rows, cols, n_piece, i);
  fill<<<1024, 256>>>(x, (size_t)most * cols, 99);
  for (int tokens : {64, 128, 256, 512, 1024, 2048, 4096}) {
    if (tokens > most) continue;
    struct cuda_linear a = {};
    a.matrix.rows = rows, a.matrix.cols = cols, a.in = x, a.in_cols = cols, a.n_row = tokens;
    a.out = out, a.out_cols = rows, a.result_cols = rows, a.fragments = prepared, a.factor = 1;
    cuda_linear_prepare(&a, true, 0);
    double flops = 2.0 * rows * cols * tokens;
    int chain = (int)std::min(20.0, std::max(3.0, 3e12 / flops));
    std::vector<std::pair<float, const version *>> times;
    for (auto &version : candidates) {
      int tall = (tokens + version.groups * 64 - 1) / (version.groups * 64),
          wide = (rows + version.cols - 1) / version.cols;
      if (version.split > 1 && (tall * wide * version.split > 2 * multiprocessors)) continue;
      if (version.groups == 1 && tokens > 256) continue;
      auto run = [&](int i) {
        a.matrix.data = packed + i % n_copy * bytes;
        version.launch(many_of(a), multiprocessors, 0);
      };
      times.push_back({median_us(run, 5, chain), &version});
    }
    std::sort(times.begin(), times.end());
    printf("%6d x %6d, %4d tokens, us:", rows, cols, tokens);
    for (size_t i = 0; i < times.size() && i < 4; i++)
      printf("  %s %.1f", name_of(*times[i].second).text, times[i].first);
    a.matrix.data = packed;
    printf("; best %.0f TF; chosen %s\n", flops / times[0].first * 1e-6,
           name_of(*version_choose(many_of(a), multiprocessors)).text);
    CHECK(cudaDeviceSynchronize());
    fflush(stdout);
  }
  cudaFree(packed), cudaFree(x), cudaFree(prepared), cudaFree(out);
}

int main() {
  cudaDeviceProp p;
  CHECK(cudaGetDeviceProperties(&p, 0));
  multiprocessors = p.multiProcessorCount;
  printf("%s\n", p.name);
  check(1536, 1088, 700);
  check(1000, 500, 129);
  check(1000, 500, 300);
  check(4096, 4096, 256);
  shape_run(6144, 4096, 4096);
  shape_run(4096, 4096, 4096);
  shape_run(28672, 4096, 4096);
  shape_run(4096, 14336, 4096);
  return wrong > 0;
}
