/* The plain linear: any scheme, shape and variant in float arithmetic, element by element. It is the path of weights
 * that have no kernel made for them. */
#include "backend/cuda/expert_kernels.h"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/matrix_read.cuh"
#include "backend/cuda/row_sum.cuh"
#include "backend/cuda/token_round.cuh"

namespace {

enum { PREPARE_THREADS = 256, PRODUCT_WARPS = 8, PRODUCT_ROWS = 8, TAIL_THREADS = 256, ROUND_GROUP = 32 };

/* int8 activations: per group of 32 columns scale = peak / 127, rounded to nearest even; one warp a group. */
__device__ void groups_round(float *x, int cols) {
  int lane = threadIdx.x % 32;
  for (int first = threadIdx.x / 32 * ROUND_GROUP; first < cols; first += blockDim.x / 32 * ROUND_GROUP) {
    float value = first + lane < cols ? x[first + lane] : 0, peak = fabsf(value);
    for (int step = 16; step > 0; step /= 2) peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, step));
    float inverse = peak > 1e-30f ? __fdiv_rn(127.0f, peak) : 0, scale = peak > 1e-30f ? __fdiv_rn(peak, 127.0f) : 0;
    if (first + lane < cols) x[first + lane] = rintf(value * inverse) * scale;
  }
}

/* One scale for the row; int8, or E4M3. */
__device__ void row_round(float *x, int cols, bool e4m3) {
  float peak = 0;
  for (int c = threadIdx.x; c < cols; c += blockDim.x) peak = fmaxf(peak, fabsf(x[c]));
  token_rounding rounding(block_most(peak), e4m3);
  for (int c = threadIdx.x; c < cols; c += blockDim.x) x[c] = rounding.code(x[c]) * rounding.scale;
}

/* One block a row: norm, and rounding where the scheme wants it. */
__global__ void prepare(struct cuda_linear a) {
  const float *in = a.in + (size_t)blockIdx.x * a.in_cols;
  float *out = a.prepared + (size_t)blockIdx.x * a.matrix.cols;
  float scale = 1;
  if (a.has_norm) {
    float squares = 0;
    for (int c = threadIdx.x; c < a.matrix.cols; c += blockDim.x) squares += in[c] * in[c];
    scale = rsqrtf(block_sum(squares) / a.matrix.cols + a.eps);
  }
  for (int c = threadIdx.x; c < a.matrix.cols; c += blockDim.x) out[c] = a.has_norm ? in[c] * scale * a.norm[c] : in[c];
  __syncthreads();
  if (a.matrix.activation == ROUND_INT8) groups_round(out, a.matrix.cols);
  if (a.matrix.activation > ROUND_INT8) row_round(out, a.matrix.cols, a.matrix.activation == ROUND_E4M3_TOKEN);
}

/* A warp multiplies one row of the matrix with some rows of the batch. */
__global__ void product(struct cuda_linear a) {
  int row = blockIdx.x * PRODUCT_WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
  int first = blockIdx.y * PRODUCT_ROWS, count = min(PRODUCT_ROWS, a.n_row - first);
  if (row >= a.matrix.rows) return;
  float sum[PRODUCT_ROWS] = {0};
  for (int c = lane; c < a.matrix.cols; c += 32) {
    float weight = matrix_at(a.matrix, row, c);
#pragma unroll
    for (int r = 0; r < PRODUCT_ROWS; r++)
      if (r < count) sum[r] += weight * a.prepared[(size_t)(first + r) * a.matrix.cols + c];
  }
#pragma unroll
  for (int r = 0; r < PRODUCT_ROWS; r++) {
    for (int step = 16; step > 0; step /= 2) sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], step);
    if (lane == 0 && r < count)
      a.product[(size_t)(first + r) * a.matrix.rows + row] = sum[r] + (a.bias ? a.bias[row] : 0);
  }
}

/* What the products of a row become before the post norm. */
__device__ float result_at(const struct cuda_linear &a, const float *products, int c) {
  const float *gate = a.gated ? products + c / GATE_RUN * 2 * GATE_RUN + c % GATE_RUN : products + c;
  return result_of(a, *gate, a.gated ? gate[GATE_RUN] : 0);
}

/* One block a row. */
__global__ void tail(struct cuda_linear a) {
  const float *products = a.product + (size_t)blockIdx.x * a.matrix.rows;
  const float *residual = a.residual ? a.residual + (size_t)blockIdx.x * a.residual_cols : nullptr;
  float *out = a.out + (size_t)blockIdx.x * a.out_cols, scale = 1;
  if (a.has_post_norm) {
    float squares = 0;
    for (int c = threadIdx.x; c < a.result_cols; c += blockDim.x) {
      float x = result_at(a, products, c);
      squares += x * x;
    }
    scale = rsqrtf(block_sum(squares) / a.result_cols + a.post_eps);
  }
  for (int c = threadIdx.x; c < a.result_cols; c += blockDim.x) {
    float x = result_at(a, products, c);
    if (a.has_post_norm) x = x * scale * a.post_norm[c];
    out[c] = residual ? residual_add(a, x, residual[c]) : x;
  }
}

} // namespace

void cuda_linear_round(const struct cuda_linear *linear, cuda_stream stream) {
  prepare<<<linear->n_row, PREPARE_THREADS, 0, stream>>>(*linear);
}

void cuda_linear_plain(const struct cuda_linear *linear, cuda_stream stream) {
  const struct cuda_linear &a = *linear;
  dim3 grid((a.matrix.rows + PRODUCT_WARPS - 1) / PRODUCT_WARPS, (a.n_row + PRODUCT_ROWS - 1) / PRODUCT_ROWS);
  cuda_linear_round(linear, stream);
  product<<<grid, PRODUCT_WARPS * 32, 0, stream>>>(a);
  cuda_linear_tail(linear, stream);
}

void cuda_linear_tail(const struct cuda_linear *linear, cuda_stream stream) {
  tail<<<linear->n_row, TAIL_THREADS, 0, stream>>>(*linear);
}
