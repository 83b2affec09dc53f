/* Lab: the linear of many tokens, the kernels of the backend themselves, beside cuBLASLt (whose results are bf16, half
 * as long) where it is there. Each shape of tile is checked against a plain kernel. Then the tiles that the backend
 * chooses and the fastest of cuBLASLt's first choices are timed in turn, over weights larger than the second-level
 * cache, each after as long of its own work: power bounds both, so what ran before counts. At last what a prefill of 8B
 * would take of cuBLASLt's linears and of attention at FlashAttention-3's published rate.
 * linear_large [rates|all]: without the checks; all tiles, fewer tokens too, in short runs, for time_of().
 *
 *   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc bench/lab/linear_large.cu \
 *     src/backend/cuda/linear_plain.cu -o linear_large -ldl */
#include "../../src/backend/cuda/linear_many.cu"
#include "../../src/backend/cuda/linear_prepare.cu"
#include "cublaslt.cuh"

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

struct name {
  char text[32];
};
static name name_of(const version &v) {
  name n;
  snprintf(n.text, sizeof n.text, "%dx%d/%d/%d", v.groups * 64, v.cols, v.pair, v.split);
  return n;
}

static many many_of(const struct cuda_linear &a) {
  many m = {.linear = a,
            .tokens = (const uint8_t *)a.fragments,
            .n_strip = (a.matrix.rows + 15) / 16,
            .n_piece = (a.matrix.cols + 63) / 64,
            .fours = a.out_cols % 4 == 0};
  m.finish = finish_of(m);
  return m;
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
  for (auto &version : versions) {
    if (version.split > n_piece) continue;
    CHECK(cudaMemset(out, 0xff, n * 4));
    CHECK(cudaMemset(prepared, 0xff, (size_t)(tokens + 63) / 64 * n_piece * TOKENS_BYTES));
    cuda_linear_prepare(&a, true, 0);
    version.launch(many_of(a), 0);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(g.data(), out, n * 4, cudaMemcpyDeviceToHost));
    double e = 0, s = 0;
    for (size_t i = 0; i < n; i++) e += (g[i] - v[i]) * (double)(g[i] - v[i]), s += (double)v[i] * v[i];
    printf("check %d x %d, %d tokens, %s: error %.1e%s\n", rows, cols, tokens, name_of(version).text, sqrt(e / s),
           verdict(e / s < 1e-9));
  }
  cudaFree(w), cudaFree(packed), cudaFree(x), cudaFree(prepared), cudaFree(out), cudaFree(want);
}

/* --- rates -------------------------------------------------------------------------------------------------------- */

/* LONG_TERA: 10¹² operations before a timing and in it, some 50 ms each: the clock follows power with a delay. GATED:
 * rows of the shape that is made as networks have it, results multiplied and rounded for the next linear. */
enum { MOST_TOKENS = 8192, ROUNDS = 3, CUBLASLT_TRIED = 3, LONG_TERA = 32, GATED = 28672 };

/* Weights of a shape, in several copies, and tokens, in the backend's order and plainly. */
struct operands {
  int rows, cols, n_copy;
  size_t bytes; /* of a copy */
  uint8_t *packed, *tokens;
  __nv_bfloat16 *plain, *plain_tokens;
  float *out;
};

__global__ void tokens_round(const float *x, __nv_bfloat16 *out, size_t n) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    out[i] = __float2bfloat16(x[i]);
}

static struct cuda_linear linear_of(const operands &o, int tokens, int copy) {
  struct cuda_linear a = {};
  a.matrix.data = o.packed + copy % o.n_copy * o.bytes, a.matrix.rows = o.rows, a.matrix.cols = o.cols;
  a.in_cols = o.cols, a.n_row = tokens, a.out = o.out, a.out_cols = a.result_cols = o.rows;
  a.fragments = o.tokens, a.factor = 1;
  if (o.rows == GATED) a.gated = a.act = 1, a.next_fragments = o.out, a.out_cols = a.result_cols = o.rows / 2;
  return a;
}

static operands operands_make(int rows, int cols) {
  operands o = {.rows = rows, .cols = cols};
  float *x;
  size_t n = (size_t)MOST_TOKENS * cols;
  o.bytes = (size_t)rows * cols * 2;
  o.n_copy = (int)std::max<size_t>(2, (200u << 20) / o.bytes + 1);
  CHECK(cudaMalloc(&o.packed, o.bytes * o.n_copy));
  CHECK(cudaMalloc(&o.plain, o.bytes * o.n_copy));
  CHECK(cudaMalloc(&o.tokens, n * 2));
  CHECK(cudaMalloc(&o.plain_tokens, n * 2));
  CHECK(cudaMalloc(&o.out, (size_t)MOST_TOKENS * rows * 4));
  CHECK(cudaMalloc(&x, n * 4));
  for (int i = 0; i < o.n_copy; i++)
    fill_weights<<<1024, 256>>>(o.plain + i * (o.bytes / 2), o.packed + i * o.bytes, rows, cols, cols / 64, i);
  fill<<<1024, 256>>>(x, n, 99);
  tokens_round<<<1024, 256>>>(x, o.plain_tokens, n);
  struct cuda_linear a = linear_of(o, MOST_TOKENS, 0);
  a.in = x;
  cuda_linear_prepare(&a, true, 0);
  CHECK(cudaDeviceSynchronize());
  CHECK(cudaFree(x));
  return o;
}

static void operands_free(operands &o) {
  cudaFree(o.packed), cudaFree(o.plain), cudaFree(o.tokens), cudaFree(o.plain_tokens), cudaFree(o.out);
}

/* One that is timed: a version, or a choice of cuBLASLt's. */
struct runner {
  const version *v;
  int choice;
  std::vector<float> times;
};

static void cublaslt_go(const operands &o, const cublaslt &lt, const cublaslt_product &product, int choice, int copy) {
  cublaslt_run(lt, product, choice, o.plain + copy % o.n_copy * (o.bytes / 2), o.plain_tokens, o.out);
}

static bool version_worth(const version &v, const operands &o, int tokens) {
  int tall = (tokens + v.groups * 64 - 1) / (v.groups * 64), wide = (o.rows + v.cols - 1) / v.cols;
  return v.split == 1 || tall * wide * v.split <= 2 * multiprocessors;
}

struct rates {
  float own, cublaslt; /* µs */
};

/* Of cuBLASLt's first choices, the fastest. */
static int choice_find(const operands &o, const cublaslt &lt, const cublaslt_product &product, int chain) {
  int best = 0;
  float least = INFINITY;
  for (int i = 0; i < std::min(product.n_choice, (int)CUBLASLT_TRIED); i++) {
    float us = steady_us([&](int k) { cublaslt_go(o, lt, product, i, k); }, chain);
    if (us < least) least = us, best = i;
  }
  return best;
}

static rates tokens_run(const operands &o, const cublaslt &lt, int tokens, bool all) {
  cublaslt_product product = {};
  std::vector<runner> runners;
  double tera = 2e-6 * o.rows * o.cols * tokens;
  int chain = (int)std::max(4.0, (all ? 2e6 : LONG_TERA * 1e6) / tera);
  const version *chosen = version_choose(many_of(linear_of(o, tokens, 0)));
  if (lt.opened) {
    product = cublaslt_prepare(lt, o.rows, o.cols, tokens);
    runners.push_back({nullptr, choice_find(o, lt, product, chain / 4 + 1), {}});
  }
  for (auto &v : versions)
    if (&v == chosen || (all && version_worth(v, o, tokens) && version_fits(v, many_of(linear_of(o, tokens, 0)))))
      runners.push_back({&v, 0, {}});
  for (int round = 0; round < ROUNDS; round++)
    for (auto &r : runners)
      r.times.push_back(steady_us(
          [&](int i) {
            if (r.v)
              r.v->launch(many_of(linear_of(o, tokens, i)), 0);
            else
              cublaslt_go(o, lt, product, r.choice, i);
          },
          chain));
  rates t = {0, INFINITY};
  for (auto &r : runners) {
    if (!r.v) t.cublaslt = median_of(r.times);
    if (r.v == chosen) t.own = median_of(r.times);
  }
  printf("| %d × %d%s | %d | %s, %.1f | %.0f | %.1f | %.3f |", o.rows, o.cols, o.rows == GATED ? ", gated" : "", tokens,
         name_of(*chosen).text, t.own, tera / t.own, t.cublaslt, t.cublaslt / t.own);
  for (auto &r : runners)
    if (all && r.v) printf(" %s %.1f", name_of(*r.v).text, median_of(r.times));
  printf("\n");
  fflush(stdout);
  return t;
}

/* Prefill of 2,048 tokens of 8B: 32 layers of these linears, and of causal attention of 32 heads of 128 dimensions. */
static void rates_print(const cublaslt &lt, bool all) {
  enum { LAYERS = 32, PREFILL = 2048, HEADS = 32, DIM = 128 };
  const double fa3 = 521e6; /* operations a µs (Shah et al., 2024: H100, causal, 2k) */
  double linears = 0, attention = LAYERS * 4.0 * HEADS * DIM * PREFILL * PREFILL / 2 / fa3;
  std::vector<float> ratios;
  printf("| rows × columns | tokens | tiles, µs | TFLOP/s | cuBLASLt, µs | of its rate |\n|---|---|---|---|---|---|\n");
  const int shapes[][2] = {{6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}};
  for (auto &shape : shapes) {
    operands o = operands_make(shape[0], shape[1]);
    for (int tokens : {64, 128, 256, 512, 1024, 2048, 4096, (int)MOST_TOKENS}) {
      if (tokens < 512 && !all) continue;
      rates t = tokens_run(o, lt, tokens, all);
      if (tokens >= 1024) ratios.push_back(t.cublaslt / t.own);
      if (tokens == PREFILL) linears += LAYERS * t.cublaslt;
    }
    operands_free(o);
  }
  if (!lt.opened) {
    printf("SKIPPED: there is no libcublasLt (CUBLASLT=PATH names one)\n");
    return;
  }
  printf("\nOf cuBLASLt's rate from 1,024 tokens on: median %.3f (wanted 0.95)\n", median_of(ratios));
  printf("8B, %d tokens, cuBLASLt's linears and attention at 521 TFLOP/s: %.1f ms\n", PREFILL,
         (linears + attention) * 1e-3);
}

int main(int argc, char **argv) {
  cudaDeviceProp p;
  cublaslt lt = {};
  CHECK(cudaGetDeviceProperties(&p, 0));
  multiprocessors = p.multiProcessorCount;
  if (argc < 2 || strcmp(argv[1], "rates") != 0) {
    check(1536, 1088, 700);
    check(1000, 500, 129);
    check(1000, 500, 300);
    check(4096, 4096, 256);
  }
  cublaslt_open(&lt);
  rates_print(lt, argc > 1 && strcmp(argv[1], "all") == 0);
  return wrong > 0;
}
