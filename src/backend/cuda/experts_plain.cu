/* Linears over experts in plain arithmetic, of any scheme; what comes before those on matrix units, and the sum that
 * ends a gather. */
#include "backend/cuda/expert_lists.cuh"
#include "backend/cuda/matrix_read.cuh"
#include "backend/cuda/token_round.cuh"

namespace {

enum { PRODUCT_WARPS = 8, PRODUCT_ROWS = 8, END_THREADS = 256, PREPARE_THREADS = 256, UNIT = 8 };

/* Columns that make 16 bytes of bf16. */
__device__ __forceinline__ void unit_load(float (&x)[UNIT], const float *from, int col, int cols, bool fours) {
#pragma unroll
  for (int i = 0; i < UNIT; i += 4)
    *(float4 *)(x + i) =
        fours && col + i + 4 <= cols ? *(const float4 *)(from + col + i) : four_at(from, col + i, cols);
}

/* A block: mean and scale of a row. */
__device__ __forceinline__ normed row_normed(const float *row, int cols, const cuda_norm &norm, bool fours) {
  float squares = 0, x[UNIT];
  if (norm.kind != NORMED_RMS) return columns_normed(norm, cols, [&](int c) { return row[c]; });
  for (int c = threadIdx.x * UNIT; c < cols; c += PREPARE_THREADS * UNIT) {
    unit_load(x, row, c, cols, fours);
#pragma unroll
    for (int i = 0; i < UNIT; i++) squares += x[i] * x[i];
  }
  return {0, rsqrtf(block_sum(squares) / cols + norm.eps)};
}

/* A block a row. */
__global__ void __launch_bounds__(PREPARE_THREADS)
    prepare_codes(const float *in, int in_cols, int cols, int padded, struct cuda_norm norm, uint16_t *out,
                  float *scales, bool e4m3) {
  const float *row = in + (size_t)blockIdx.x * in_cols;
  normed n = columns_normed(norm, cols, [&](int c) { return row[c]; });
  float peak = 0;
  for (int c = threadIdx.x; c < cols; c += PREPARE_THREADS)
    peak = fmaxf(peak, fabsf(norm_apply(norm, n, row[c], cols, c)));
  token_rounding rounding(block_most(peak), e4m3);
  for (int c = threadIdx.x; c < padded; c += PREPARE_THREADS) {
    float x = c < cols ? rounding.code(norm_apply(norm, n, row[c], cols, c)) : 0;
    out[(size_t)blockIdx.x * padded + c] = __bfloat16_as_ushort(__float2bfloat16_rn(x));
  }
  if (threadIdx.x == 0) scales[blockIdx.x] = rounding.scale;
}

/* bf16 rows: a block a row. fours: rows are whole fours of columns. */
__global__ void __launch_bounds__(PREPARE_THREADS)
    prepare(const float *in, int in_cols, int cols, int padded, struct cuda_norm norm, bool fours, uint16_t *out) {
  const float *row = in + (size_t)blockIdx.x * in_cols;
  normed n = row_normed(row, cols, norm, fours);
  for (int c = threadIdx.x * UNIT; c < padded; c += PREPARE_THREADS * UNIT) {
    float x[UNIT], weight[UNIT], more[UNIT] = {};
    unit_load(x, row, c, cols, fours);
    if (norm.kind != NORMED_NOT) unit_load(weight, norm.weight, c, cols, fours);
    if (norm.kind == NORMED_LAYER) unit_load(more, norm.weight + cols, c, cols, fours);
#pragma unroll
    for (int i = 0; i < UNIT; i++)
      if (norm.kind != NORMED_NOT) x[i] = (x[i] - n.mean) * n.scale * weight[i] + more[i];
    *(uint4 *)(out + (size_t)blockIdx.x * padded + c) =
        make_uint4(pair_round(x[0], x[1]), pair_round(x[2], x[3]), pair_round(x[4], x[5]), pair_round(x[6], x[7]));
  }
}

/* A warp multiplies one row of an expert with the pairs of a tile, some at a time. */
__global__ void product(const __grid_constant__ cuda_experts e) {
  const struct cuda_linear &a = e.linear;
  int blocks = (a.matrix.rows + PRODUCT_WARPS - 1) / PRODUCT_WARPS, lane = threadIdx.x % 32;
  int row = blockIdx.x % blocks * PRODUCT_WARPS + threadIdx.x / 32;
  expert_tile tile = tile_of(e.lists, blockIdx.x / blocks, e.n_token);
  if (row >= a.matrix.rows || tile.n <= 0) return;
  struct cuda_matrix m = a.matrix;
  m.data += (size_t)tile.expert * e.expert_bytes;
  float bias = a.bias ? a.bias[(size_t)tile.expert * m.rows + row] : 0;
  for (int first = 0; first < tile.n; first += PRODUCT_ROWS) {
    int count = min((int)PRODUCT_ROWS, tile.n - first);
    const float *in[PRODUCT_ROWS];
    float sum[PRODUCT_ROWS] = {0};
#pragma unroll
    for (int r = 0; r < PRODUCT_ROWS; r++)
      in[r] = a.prepared + (size_t)input_row(e, tile.pair_at(first + (r < count ? r : 0))) * m.cols;
    for (int c = lane; c < m.cols; c += 32) {
      float weight = matrix_at(m, row, c);
#pragma unroll
      for (int r = 0; r < PRODUCT_ROWS; r++) sum[r] += weight * in[r][c];
    }
#pragma unroll
    for (int r = 0; r < PRODUCT_ROWS; r++) {
      sum[r] = lanes_sum(sum[r]);
      if (lane == 0 && r < count) a.product[(size_t)tile.pair_at(first + r) * m.rows + row] = sum[r] + bias;
    }
  }
}

/* A block a pair. What nobody has made is nobody's. */
__global__ void end_pairs(const __grid_constant__ cuda_experts e) {
  const struct cuda_linear &a = e.linear;
  const float *products = a.product + (size_t)blockIdx.x * a.matrix.rows;
  if (e.lists.first && e.lists.place[blockIdx.x] < 0) return;
  for (int c = threadIdx.x; c < a.result_cols; c += END_THREADS) {
    int row = result_row(a, c);
    result_put(e, blockIdx.x, c, products[row], a.gated ? products[row + GATE_RUN] : 0);
  }
}

/* A block a token: in the order of its choice. */
__global__ void sum_pairs(const __grid_constant__ cuda_experts e) {
  const struct cuda_linear &a = e.linear;
  int t = blockIdx.x, cols = a.matrix.rows;
  const float *weight = e.choice + (size_t)t * 2 * e.k + e.k, *products = a.product + (size_t)t * e.k * cols;
  if (e.lists.place[t * e.k] < 0) return;
  for (int c = threadIdx.x; c < cols; c += END_THREADS) {
    float sum = 0;
    for (int j = 0; j < e.k; j++) sum += weight[j] * products[(size_t)j * cols + c];
    sum *= a.factor;
    a.out[(size_t)t * a.out_cols + c] = a.residual ? sum + a.residual[(size_t)t * a.residual_cols + c] : sum;
  }
}

} // namespace

void cuda_experts_prepare(const float *in, int n, int in_cols, int cols, int padded, const struct cuda_norm *norm,
                          uint16_t *out, float *scales, int rounding, cuda_stream stream) {
  bool fours = in_cols % 4 == 0 && cols % 4 == 0 && (uintptr_t)in % 16 == 0;
  cuda_norm by = norm ? *norm : cuda_norm{};
  if (scales)
    prepare_codes<<<n, PREPARE_THREADS, 0, stream>>>(in, in_cols, cols, padded, by, out, scales,
                                                     rounding == ROUND_E4M3_TOKEN);
  else
    prepare<<<n, PREPARE_THREADS, 0, stream>>>(in, in_cols, cols, padded, by, fours, out);
}

void cuda_experts_plain(const struct cuda_experts *e, cuda_stream stream) {
  int blocks = (e->linear.matrix.rows + PRODUCT_WARPS - 1) / PRODUCT_WARPS;
  product<<<blocks * tiles_most(*e), PRODUCT_WARPS * 32, 0, stream>>>(*e);
}

void cuda_experts_end(const struct cuda_experts *e, cuda_stream stream) {
  end_pairs<<<e->n_token * e->k, END_THREADS, 0, stream>>>(*e);
}

void cuda_experts_sum(const struct cuda_experts *e, cuda_stream stream) {
  sum_pairs<<<e->n_token, END_THREADS, 0, stream>>>(*e);
}
