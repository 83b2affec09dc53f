/* Lab: linears of many tokens in eight bits, E4M3 and int8, the kernels of the backend themselves, beside cuBLASLt's
 * (E4M3 with and without its fast accumulation; results bf16, half as long; int8 to int32). Tiles are checked against a
 * plain kernel in double; then timed in turn over weights larger than the second-level cache, each after as long of its
 * own work: power bounds all of them. At last what preparing tokens takes.
 *
 *   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc bench/lab/linear_fp8.cu -o linear_fp8 -ldl */
#include "../../src/backend/cuda/bytes_prepare.cu"
#include "../../src/backend/cuda/bytes_tiles.cuh"
#include "cublaslt.cuh"

struct version {
  const char *name;
  bool e4m3;
  void (*launch)(many, cuda_stream);
};

#define BYTES(groups, cols, pair, split)                                                                               \
  {#groups "x" #cols "/" #pair "/" #split, true, tiles_launch<byte_worker<float, groups, cols, pair, split>>}, {       \
#groups "x" #cols "/" #pair "/" #split, false, tiles_launch < byte_worker < int, groups, cols, pair, split>>       \
  }
static const version versions[] = {BYTES(1, 64, 1, 1),  BYTES(1, 64, 1, 2),  BYTES(1, 96, 1, 2),
                                   BYTES(1, 144, 1, 4), BYTES(1, 224, 1, 1), BYTES(2, 128, 1, 1),
                                   BYTES(2, 128, 1, 2), BYTES(2, 144, 1, 4), BYTES(2, 256, 2, 1)};

__device__ float noise(size_t i, uint32_t seed) {
  uint64_t h = (i + seed * 0x51ed270bull) * 0x9E3779B97F4A7C15ull;
  h ^= h >> 32;
  h *= 0xD6E8FEB86659FD93ull;
  float x = 0; /* nearly normal */
  for (int k = 0; k < 4; k++) x += (float)(h >> (k * 16) & 0xffff) / 65536.f - 0.5f;
  return x;
}

__global__ void fill(float *x, size_t n, uint32_t seed) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    x[i] = noise(i, seed);
}

/* A code of noise, up to ±2: of E4M3 ±448, of int8 ±127. */
__device__ uint8_t code_of(float x, bool e4m3) {
  return e4m3 ? (uint8_t)e4m3_pair(x * 224, 0) : (uint8_t)int8_pair(x * 63.5f, 0);
}

__device__ double value_of(uint8_t code, bool e4m3) {
  __nv_fp8_e4m3 x;
  x.__x = code;
  return e4m3 ? (double)(float)x : (double)(int8_t)code;
}

__device__ size_t place_in(int row, int col, size_t strip_bytes, int head) {
  int r = row % 16, within = col % 128, c = within % 16, q = c % 8 / 2;
  int byte = 4 * q + c % 2 * 2 + c / 8;
  return row / 16 * strip_bytes + head + (size_t)(col / 128) * PIECE + r / 8 * 1024 + r % 8 * 128 +
         (within / 16 ^ r % 8) * 16 + byte;
}

/* Rows × cols codes, plainly and packed, with scales of rows. */
__global__ void fill_weights(uint8_t *plain, uint8_t *packed, int rows, int cols, bool e4m3, uint32_t seed) {
  size_t n = (size_t)rows * cols, strip = BYTES_HEAD + (size_t)((cols + 127) / 128) * PIECE;
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    int row = (int)(i / cols), col = (int)(i % cols);
    plain[i] = packed[place_in(row, col, strip, BYTES_HEAD)] = code_of(noise(i, seed), e4m3);
    if (col == 0) ((float *)(packed + row / 16 * strip))[row % 16] = 0.001f * (row % 7 + 1);
  }
}

/* Prepared tokens plainly. */
__global__ void tokens_unpack(const uint8_t *tiles, uint8_t *plain, int tokens, int cols) {
  size_t n = (size_t)tokens * cols, tile = (size_t)((cols + 127) / 128) * TOKENS_BYTES;
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    int token = (int)(i / cols), col = (int)(i % cols), t = token % 64;
    size_t there = place_in(t % 16, col, 0, 0) % PIECE + t / 16 * PIECE;
    plain[i] = tiles[token / 64 * tile + (size_t)(col / 128) * TOKENS_BYTES + there];
  }
}

__global__ void plain_multiply(const uint8_t *w, const uint8_t *packed, const uint8_t *x, const float *scales,
                               double *out, int rows, int cols, bool e4m3) {
  int row = blockIdx.x * 8 + threadIdx.x / 32, token = blockIdx.y;
  if (row >= rows) return;
  double sum = 0;
  for (int c = threadIdx.x % 32; c < cols; c += 32)
    sum += value_of(w[(size_t)row * cols + c], e4m3) * value_of(x[(size_t)token * cols + c], e4m3);
  for (int s = 16; s; s /= 2) sum += __shfl_xor_sync(~0u, sum, s);
  const uint8_t *strip = packed + row / 16 * (BYTES_HEAD + (size_t)((cols + 127) / 128) * PIECE);
  if (threadIdx.x % 32 == 0) out[(size_t)token * rows + row] = sum * ((const float *)strip)[row % 16] * scales[token];
}

/* Weights of a shape, in several copies, and tokens, in the backend's order and plainly. */
struct operands {
  int rows, cols, tokens, n_copy;
  size_t bytes; /* of a copy, packed */
  uint8_t *packed, *plain, *tiles, *plain_tokens;
  float *in, *scales, *out;
};

static struct cuda_linear linear_of(const operands &o, int tokens, int copy, bool e4m3) {
  struct cuda_linear a = {};
  a.matrix.data = o.packed + copy % o.n_copy * o.bytes, a.matrix.rows = o.rows, a.matrix.cols = o.cols;
  a.matrix.kind = e4m3 ? KIND_F8 : KIND_INT;
  a.in = o.in, a.in_cols = o.cols, a.n_row = tokens, a.out = o.out, a.out_cols = a.result_cols = o.rows;
  a.fragments = o.tiles, a.scales = o.scales, a.factor = 1;
  return a;
}

static many many_of(const struct cuda_linear &a) {
  many m = {};
  m.linear = a, m.tokens = (const uint8_t *)a.fragments;
  m.n_strip = (a.matrix.rows + 15) / 16, m.n_piece = (a.matrix.cols + 127) / 128;
  m.fours = fours_of(a), m.finish = finish_of(m);
  return m;
}

static operands operands_make(int rows, int cols, int tokens, int n_copy, bool e4m3) {
  operands o = {.rows = rows, .cols = cols, .tokens = tokens, .n_copy = n_copy};
  size_t n = (size_t)tokens * cols, n_piece = (cols + 127) / 128;
  o.bytes = (size_t)(rows + 15) / 16 * (BYTES_HEAD + n_piece * PIECE);
  CHECK(cudaMalloc(&o.packed, o.bytes * n_copy));
  CHECK(cudaMalloc(&o.plain, (size_t)rows * cols * n_copy));
  CHECK(cudaMalloc(&o.tiles, (tokens + 63) / 64 * n_piece * TOKENS_BYTES));
  CHECK(cudaMalloc(&o.plain_tokens, n));
  CHECK(cudaMalloc(&o.in, n * 4));
  CHECK(cudaMalloc(&o.scales, tokens * 4));
  CHECK(cudaMalloc(&o.out, (size_t)tokens * rows * 4));
  CHECK(cudaMemset(o.packed, 0, o.bytes * n_copy));
  for (int i = 0; i < n_copy; i++)
    fill_weights<<<1024, 256>>>(o.plain + (size_t)i * rows * cols, o.packed + i * o.bytes, rows, cols, e4m3, i + 1);
  fill<<<1024, 256>>>(o.in, n, 99);
  struct cuda_linear a = linear_of(o, tokens, 0, e4m3);
  cuda_bytes_prepare(&a, nullptr, false, 0);
  tokens_unpack<<<1024, 256>>>(o.tiles, o.plain_tokens, tokens, cols);
  CHECK(cudaDeviceSynchronize());
  return o;
}

static void operands_free(operands &o) {
  cudaFree(o.packed), cudaFree(o.plain), cudaFree(o.tiles), cudaFree(o.plain_tokens), cudaFree(o.in);
  cudaFree(o.scales), cudaFree(o.out);
}

/* The error of a sum counts against what its terms' sizes are: √Σ(error²) ÷ √Σ(value²). */
static void check(int rows, int cols, int tokens, bool e4m3) {
  operands o = operands_make(rows, cols, tokens, 1, e4m3);
  size_t n = (size_t)tokens * rows;
  double *want;
  CHECK(cudaMalloc(&want, n * 8));
  plain_multiply<<<dim3((rows + 7) / 8, tokens), 256>>>(o.plain, o.packed, o.plain_tokens, o.scales, want, rows, cols,
                                                        e4m3);
  std::vector<double> v(n);
  std::vector<float> g(n);
  CHECK(cudaMemcpy(v.data(), want, n * 8, cudaMemcpyDeviceToHost));
  for (auto &version : versions) {
    if (version.e4m3 != e4m3) continue;
    CHECK(cudaMemset(o.out, 0xff, n * 4));
    version.launch(many_of(linear_of(o, tokens, 0, e4m3)), 0);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(g.data(), o.out, n * 4, cudaMemcpyDeviceToHost));
    double e = 0, s = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
      e += (g[i] - v[i]) * (g[i] - v[i]), s += v[i] * v[i];
      most = std::max(most, fabs(g[i] - v[i]));
    }
    double error = sqrt(e / s);
    printf("check %d x %d, %d tokens, %s: error %.1e, most %.1e of rms%s\n", rows, cols, tokens, version.name, error,
           most / sqrt(s / n), verdict(error < (e4m3 ? 3e-4 : 1e-6)));
  }
  cudaFree(want);
  operands_free(o);
}

/* --- rates -------------------------------------------------------------------------------------------------------- */

/* TERA: 10¹² operations before a timing and in it: the clock follows power with a delay. */
enum { ROUNDS = 3, CUBLASLT_TRIED = 3, TERA = 12, CHAIN_MOST = 100, GATED = 28672 };

static void library_go(const operands &o, const cublaslt &lt, const cublaslt_product &p, int choice, int copy) {
  cublaslt_run(lt, p, choice, o.plain + copy % o.n_copy * (size_t)o.rows * o.cols, o.plain_tokens, o.out);
}

static float library_us(const operands &o, const cublaslt &lt, enum cublaslt_kind kind, int chain) {
  cublaslt_product p = cublaslt_prepare(lt, o.rows, o.cols, o.tokens, kind);
  float least = INFINITY;
  for (int i = 0; i < std::min(p.n_choice, (int)CUBLASLT_TRIED); i++)
    least = std::min(least, steady_us([&](int k) { library_go(o, lt, p, i, k); }, i ? chain / 2 : chain));
  return least;
}

static void rates_run(const cublaslt &lt, int rows, int cols, int tokens, bool e4m3) {
  operands o = operands_make(rows, cols, tokens, std::max(2, (int)((200u << 20) / ((size_t)rows * cols)) + 1), e4m3);
  double tera = 2e-6 * rows * cols * tokens;
  int chain = (int)std::min<double>(CHAIN_MOST, std::max(4.0, TERA * 1e6 / tera));
  std::vector<float> own[sizeof versions / sizeof *versions], library[2];
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; lt.opened && i < 2; i++)
      if (e4m3 || i == 0)
        library[i].push_back(library_us(o, lt, !e4m3 ? CUBLASLT_INT8 : i ? CUBLASLT_E4M3_FAST : CUBLASLT_E4M3, chain));
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
      if (versions[i].e4m3 == e4m3)
        own[i].push_back(steady_us(
            [&](int k) {
              struct cuda_linear a = linear_of(o, tokens, k, e4m3);
              if (rows == GATED) a.gated = a.act = 1, a.next_fragments = o.out, a.out_cols = a.result_cols = rows / 2;
              versions[i].launch(many_of(a), 0);
            },
            chain));
  }
  printf("| %d × %d%s | %d | %s |", rows, cols, rows == GATED ? ", gated" : "", tokens, e4m3 ? "E4M3" : "int8");
  for (int i = 0; i < 2; i++)
    if (library[i].size()) {
      float us = median_of(library[i]);
      printf(" cuBLASLt%s %.1f µs %.0f |", i ? " fast" : "", us, tera / us);
    }
  for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
    if (own[i].size()) {
      float us = median_of(own[i]);
      printf(" %s %.1f %.0f |", versions[i].name, us, tera / us);
    }
  struct cuda_linear a = linear_of(o, tokens, 0, e4m3);
  float rows_us = median_us([&](int) { cuda_bytes_prepare(&a, nullptr, false, 0); }, 5, 10);
  float tiles_us = median_us([&](int) { cuda_bytes_prepare(&a, o.in, false, 0); }, 5, 10);
  printf(" prepare rows %.1f, tiles %.1f\n", rows_us, tiles_us);
  fflush(stdout);
  operands_free(o);
}

int main(int argc, char **argv) {
  cublaslt lt = {};
  if (argc < 2 || strcmp(argv[1], "rates") != 0) {
    for (bool e4m3 : {true, false}) {
      check(1536, 1088, 700, e4m3);
      check(1000, 500, 129, e4m3);
      check(4096, 4096, 256, e4m3);
    }
  }
  fflush(stdout);
  cublaslt_open(&lt);
  const int shapes[][2] = {{6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}};
  for (int tokens : {16, 64, 128, 256, 512, 2048})
    for (auto &shape : shapes)
      for (bool e4m3 : {true, false}) rates_run(lt, shape[0], shape[1], tokens, e4m3);
  return wrong > 0;
}
