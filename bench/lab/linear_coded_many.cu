/* Lab: INT4 of many tokens in tiles (coded_many.cu): each version checked against a plain kernel in double on the same
 * codes and tokens, then timed for the four linears of a layer of Llama 3.1 8B, coded_wide.cuh and a matrix that is
 * expanded first beside.
 *
 *   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc -Ibench/lab -o lab bench/lab/linear_coded_many.cu \
 *     build/gpu-bundle/src/backend/libroom_backend.a -ldl */
#include "backend/cuda/coded_many.cu"
#include "backend/cuda/linear_fragments.cuh"
#include "lab.cuh"

static int multiprocessors;
static double rate; /* GB/s */

/* --- operands ----------------------------------------------------------------------------------------------------- */

__device__ uint64_t hash_of(size_t i, uint32_t seed) {
  uint64_t h = (i + seed * 0x51ed270bull) * 0x9E3779B97F4A7C15ull;
  h ^= h >> 32;
  return h * 0xD6E8FEB86659FD93ull;
}

__device__ float noise(size_t i, uint32_t seed) {
  uint64_t h = hash_of(i, seed);
  float x = 0; /* nearly normal */
  for (int k = 0; k < 4; k++) x += (float)(h >> (k * 16) & 0xffff) / 65536.f - 0.5f;
  return x;
}

__global__ void fill(float *x, size_t n, uint32_t seed, float offset) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    x[i] = offset + noise(i, seed);
}

/* Codes of all bits, and scales of rows or of groups. */
__global__ void fill_weights(uint8_t *packed, int n_strip, int n_piece, int bits, uint32_t seed) {
  int piece_bytes = bits == 4 ? 1088 : 2048, head = bits == 4 ? 0 : BYTES_HEAD;
  size_t strip_bytes = head + (size_t)n_piece * piece_bytes, n = n_strip * strip_bytes / 2;
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    size_t within = i * 2 % strip_bytes;
    uint16_t value = (uint16_t)(hash_of(i, seed) >> 24);
    if (bits == 4 && within % 1088 >= 1024) { /* a scale, then a minimum of some −8 scales */
      float scale = 0.001f * (1 + (float)(hash_of(i / 2, seed) >> 40 & 1023) / 1024);
      __half half = __float2half(within % 4 ? -7.6f * scale : scale);
      value = *(uint16_t *)&half;
    }
    if (bits == 8 && within < 64) value = within % 4 ? 0x3a83 : (uint16_t)(within * 997); /* some 0.001 */
    ((uint16_t *)packed)[i] = value;
  }
}

/* Where a column of a row is, as cuda_layout.h has it: the byte of eight bits, and of four bits in a piece. */
__device__ size_t byte_offset(int row, int col) {
  int within = col % 128, c = within % 16;
  return BYTES_HEAD + (size_t)(col / 128) * 2048 + row / 8 * 1024 + row % 8 * 128 + (within / 16 ^ row % 8) * 16 +
         c % 8 / 2 * 4 + c % 2 * 2 + c / 8;
}

__device__ int nibble_offset(int row, int col, bool *high) {
  int step = col / 16, k = col % 16, lane = row % 8 * 4 + k % 8 / 2, nibble = row / 8 + k / 8 * 2 + k % 2 * 4;
  *high = nibble % 2;
  return step / 4 * 512 + lane * 16 + step % 4 * 4 + nibble / 2;
}

__device__ double weight_of(const uint8_t *strip, int row, int col, int bits) {
  if (bits == 8) return (double)((const float *)strip)[row] * (double)(int8_t)strip[byte_offset(row, col)];
  bool high;
  const uint8_t *piece = strip + (size_t)(col / 128) * 1088;
  int at = nibble_offset(row, col % 128, &high), code = piece[at] >> (high ? 4 : 0) & 15;
  const __half *scale = (const __half *)(piece + 1024 + (row % 8 * 2 + row / 8) * 4);
  return (double)__half2float(scale[0]) * code + (double)__half2float(scale[1]);
}

/* Of rounded tokens in tiles. */
__global__ void plain_multiply(const uint8_t *packed, size_t strip_bytes, const __nv_bfloat16 *tiles, double *out,
                               int rows, int cols, int bits) {
  int row = blockIdx.x * 8 + threadIdx.x / 32, token = blockIdx.y;
  if (row >= rows) return;
  double sum = 0;
  for (int c = threadIdx.x % 32; c < cols; c += 32)
    sum += weight_of(packed + row / 16 * strip_bytes, row % 16, c, bits) *
           (double)__bfloat162float(tiles[tile_index(token, c, cols / 64)]);
  for (int s = 16; s; s /= 2) sum += __shfl_xor_sync(~0u, sum, s);
  if (threadIdx.x % 32 == 0) out[(size_t)token * rows + row] = sum;
}

struct shape_of_linear {
  int rows, cols;
  bool normed, gated, adds;
};
static const shape_of_linear shapes[] = {{6144, 4096, true, false, false},
                                         {4096, 4096, false, false, true},
                                         {28672, 4096, true, true, false},
                                         {4096, 14336, false, false, true}};

enum { MOST = 1024, COLS_MOST = 14336 };

/* What all linears share beside their weights. */
static float *in, *out, *residual, *norms, *squares, *next_squares;
static uint8_t *fragments, *next_fragments, *expanded;

struct weights {
  int bits, n_copy;
  size_t strip_bytes, bytes;
  uint8_t *packed;
};

static weights weights_make(int rows, int cols, int bits, int n_copy) {
  weights w = {bits, n_copy};
  w.strip_bytes = bits == 4 ? (size_t)cols / 128 * 1088 : BYTES_HEAD + (size_t)cols / 128 * 2048;
  w.bytes = w.strip_bytes * (rows / 16);
  CHECK(cudaMalloc(&w.packed, w.bytes * n_copy));
  for (int i = 0; i < n_copy; i++)
    fill_weights<<<1024, 256>>>(w.packed + i * w.bytes, rows / 16, cols / 128, bits, i + 1);
  CHECK(cudaDeviceSynchronize());
  return w;
}

static struct cuda_linear linear_of(const shape_of_linear &s, const weights &w, int copy, int tokens) {
  struct cuda_linear a = {};
  a.matrix.data = w.packed + copy % w.n_copy * w.bytes, a.matrix.rows = s.rows, a.matrix.cols = s.cols;
  a.matrix.strip_bytes = w.strip_bytes, a.matrix.kind = KIND_INT, a.matrix.bits = w.bits,
  a.matrix.group = w.bits == 4 ? 128 : 0;
  a.matrix.has_min = w.bits == 4, a.matrix.nibbles = w.bits == 4, a.matrix.bytes = w.bits == 8;
  a.matrix.piece_bytes = w.bits == 4 ? 1088 : 2048, a.matrix.head_bytes = w.bits == 4 ? 0 : BYTES_HEAD;
  a.in = in, a.in_cols = s.cols, a.n_row = tokens, a.out = out, a.out_cols = a.result_cols = s.rows;
  a.fragments = fragments, a.factor = 1, a.ready = 1, a.eps = 1e-5f;
  return a;
}

/* With what it does at its ends in a network. */
static struct cuda_linear whole_of(const shape_of_linear &s, const weights &w, int copy, int tokens, bool gate_out) {
  struct cuda_linear a = linear_of(s, w, copy, tokens);
  if (s.normed) a.squares = squares, a.n_square = s.cols / 16;
  if (s.gated) a.gated = a.act = 1, a.out_cols = a.result_cols = s.rows / 2, a.next_fragments = next_fragments;
  if (s.gated && !gate_out) a.out = nullptr;
  if (s.adds) {
    a.residual = residual, a.residual_cols = s.rows;
    a.next_fragments = next_fragments, a.next_norm = norms, a.next_squares = next_squares;
  }
  return a;
}

static bool fits(const version &v, const struct cuda_linear &a) {
  if (v.split > (a.matrix.cols / 64 + 3) / 4) return false;
  return !a.gated || v.cols / 16 % (2 * v.split) == 0;
}
static void choice_run(const version &v, const struct cuda_linear &a) {
  many m = {};
  m.linear = a, m.tokens = (const uint8_t *)a.fragments;
  m.n_strip = a.matrix.rows / 16, m.n_piece = a.matrix.cols / 64;
  m.fours = a.out ? fours_of(a) : true, m.finish = finish_of(m);
  v.launch(m, 0);
}
/* --- checks ------------------------------------------------------------------------------------------------------- */

static void compare(const char *what, const std::vector<double> &want, size_t n, double limit) {
  std::vector<float> got(n);
  CHECK(cudaDeviceSynchronize());
  CHECK(cudaMemcpy(got.data(), out, n * 4, cudaMemcpyDeviceToHost));
  double e = 0, s = 0, most = 0;
  for (size_t i = 0; i < n; i++) {
    double d = got[i] == got[i] ? got[i] - want[i] : INFINITY;
    e += d * d, s += want[i] * want[i], most = std::max(most, fabs(d));
  }
  double error = sqrt(e / s);
  if (!(error < limit) || strstr(what, "("))
    printf("check %s: error %.2e, most %.1e of rms%s\n", what, error, most / sqrt(s / n), verdict(error < limit));
}

static void check(int rows, int cols, int tokens, int bits) {
  shape_of_linear s = {rows, cols, false, false, false};
  weights w = weights_make(rows, cols, bits, 1);
  size_t n = (size_t)tokens * rows;
  double *sums;
  char what[160];
  struct cuda_linear a = linear_of(s, w, 0, tokens);
  std::vector<double> want(n);
  CHECK(cudaMalloc(&sums, n * 8));
  cuda_linear_prepare(&a, true, 0);
  plain_multiply<<<dim3((rows + 7) / 8, tokens), 256>>>(a.matrix.data, w.strip_bytes, (__nv_bfloat16 *)fragments, sums,
                                                        rows, cols, bits);
  CHECK(cudaDeviceSynchronize());
  CHECK(cudaMemcpy(want.data(), sums, n * 8, cudaMemcpyDeviceToHost));
  int count = 0;
  for (const version &v : versions[0]) {
    if (!fits(v, a)) continue;
    for (int twice = 0; twice < 2; twice++) {
      CHECK(cudaMemset(out, 0xff, n * 4));
      choice_run(v, a);
      cudaError_t status = cudaDeviceSynchronize();
      snprintf(what, sizeof what, "%d x %d, %d tokens, %d bits, %d x %d, %d parts%s", rows, cols, tokens, bits,
               v.groups, v.cols, v.split, twice ? "" : " (shown)");
      if (status != cudaSuccess) {
        printf("%s: %s\n", what, cudaGetErrorString(status));
        exit(1);
      }
      compare(what, want, n, bits == 4 ? 3e-3 : 1e-5), count++;
    }
  }
  a.ready = 0;
  CHECK(cudaMemset(out, 0xff, n * 4));
  cuda_linear_coded(&a, multiprocessors, 0);
  compare("(linear_coded)", want, n, 1e-5);
  printf("%d x %d, %d tokens, %d bits: %d versions\n", rows, cols, tokens, bits, count);
  fflush(stdout);
  cudaFree(sums), cudaFree(w.packed);
}

/* --- times -------------------------------------------------------------------------------------------------------- */

static float floor_us(const shape_of_linear &s, const weights &w, int tokens) {
  return (float)std::max(w.bytes / rate * 1e-3, 2e-6 * s.rows * s.cols * tokens / 800);
}

/* The best of a shape. */
static version times(const shape_of_linear &s, const weights &w, int tokens) {
  version best = versions[0][0];
  float least = floor_us(s, w, tokens), most = 1e9;
  printf("%d x %d, %d bits, %d tokens: floor %.1f;", s.rows, s.cols, w.bits, tokens, least);
  for (const version &v : versions[0]) {
    struct cuda_linear a = whole_of(s, w, 0, tokens, true);
    if (!fits(v, a) || (v.groups == 2 && tokens <= 64)) continue;
    float us = median_us([&](int i) { choice_run(v, whole_of(s, w, i, tokens, true)); }, 3, 12);
    printf(" %dx%d/%d %.1f", v.groups * 64, v.cols, v.split, us);
    if (us < most) best = v, most = us;
  }
  if (tokens <= 256) {
    float us = median_us(
        [&](int i) {
          struct cuda_linear a = whole_of(s, w, i, tokens, true);
          cuda_linear_coded_wide(&a, multiprocessors, 0);
        },
        3, 6);
    printf("; coded_wide.cuh %.1f", us);
  }
  many m = {};
  m.linear = whole_of(s, w, 0, tokens, true);
  m.n_strip = s.rows / 16, m.n_piece = s.cols / 64;
  const version *chosen = version_choose(m);
  printf("; chosen %dx%d/%d", chosen->groups * 64, chosen->cols, chosen->split);
  if (tokens >= 64) {
    float us = median_us(
        [&](int i) {
          struct cuda_linear a = whole_of(s, w, i, tokens, true);
          cuda_coded_expand(&a.matrix, expanded, 0);
          a.matrix.data = expanded, a.matrix.kind = KIND_BF16, a.matrix.made = true,
          a.matrix.strip_bytes = (size_t)s.cols / 64 * 2048;
          cuda_linear_many(&a, multiprocessors, 0);
        },
        3, 6);
    printf("; expanded %.1f", us);
  }
  printf("\n");
  fflush(stdout);
  return best;
}

int main() {
  cudaDeviceProp prop;
  CHECK(cudaGetDeviceProperties(&prop, 0));
  multiprocessors = prop.multiProcessorCount;
  CHECK(cudaMalloc(&in, (size_t)MOST * COLS_MOST * 4));
  CHECK(cudaMalloc(&out, (size_t)MOST * 28672 * 4));
  CHECK(cudaMalloc(&residual, (size_t)MOST * COLS_MOST * 4));
  CHECK(cudaMalloc(&norms, COLS_MOST * 4));
  CHECK(cudaMalloc(&squares, (size_t)MOST * COLS_MOST / 4));
  CHECK(cudaMalloc(&next_squares, (size_t)MOST * COLS_MOST / 4));
  CHECK(cudaMalloc(&fragments, (size_t)MOST * COLS_MOST * 2));
  CHECK(cudaMalloc(&next_fragments, (size_t)MOST * COLS_MOST * 2));
  CHECK(cudaMalloc(&expanded, (size_t)28672 * 4096 * 2));
  fill<<<1024, 256>>>(in, (size_t)MOST * COLS_MOST, 77, 0);
  fill<<<1024, 256>>>(residual, (size_t)MOST * COLS_MOST, 78, 0);
  fill<<<1024, 256>>>(norms, COLS_MOST, 79, 1);
  fill<<<1024, 256>>>(squares, (size_t)MOST * COLS_MOST / 16, 80, 16);
  CHECK(cudaDeviceSynchronize());
  for (int bits : {4}) {
    check(4096, 4096, 64, bits);
    check(1536, 1024, 13, bits);
    check(6144, 640, 100, bits);
    check(4096, 4096, 200, bits);
    check(160, 1024, 33, bits);
  }
  fflush(stdout);
  weights big = weights_make(28672, 4096, 8, 4);
  rate = read_rate(big.packed, big.bytes * 4, multiprocessors);
  cudaFree(big.packed);

  printf("%s, %d multiprocessors, reads %.0f GB/s\n", prop.name, multiprocessors, rate);
  for (int bits : {4}) {
    weights w[4];
    for (int i = 0; i < 4; i++)
      w[i] = weights_make(shapes[i].rows, shapes[i].cols, bits,
                          300000000 / (shapes[i].rows * shapes[i].cols * bits / 8) + 1);
    for (int tokens : {64, 128, 256, 384, 512, 768, 1024}) {
      version best[4];
      float sum = 0;
      for (int i = 0; i < 4; i++) best[i] = times(shapes[i], w[i], tokens), sum += floor_us(shapes[i], w[i], tokens);
      auto layer = [&](int k) {
        for (int i = 0; i < 4; i++) choice_run(best[i], whole_of(shapes[i], w[i], k, tokens, true));
      };
      float us = median_us(layer, 5, 8);
      printf("layer, %d bits, %d tokens: floor %.1f, %.1f us (%.2f)\n", bits, tokens, sum, us, us / sum);
      fflush(stdout);
    }
    for (int i = 0; i < 4; i++) cudaFree(w[i].packed);
  }
  return wrong > 0;
}
