/* What goes before a linear on the matrix units: a token's row is normed and rounded to bf16, in the order in which the
 * product's kernel wants it. A block a token; the row is read twice, the second time from the first-level cache. */
#include "backend/cuda/instructions.cuh"
#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/row_kernels.h"
#include "backend/cuda/row_sum.cuh"

namespace {

enum { PREPARE_THREADS = 512, UNIT = 8 /* columns that make 16 bytes */ };

struct prepare {
  const float *in, *norm; /* [token][in_cols], [cols] or NULL */
  uint4 *out;
  int in_cols, cols, n_piece, whole; /* whole: rows are multiples of 4 floats */
  int late;                          /* its input is there when it begins: it awaits the kernel before at its end */
  float eps;
  const float *shift; /* of a layer norm: [cols], added at the end */
};

__device__ __forceinline__ void unit_load(float x[UNIT], const float *row, int col, const prepare &a) {
  if (a.whole && col + UNIT <= a.cols) {
    *(float4 *)x = *(const float4 *)(row + col);
    *(float4 *)(x + 4) = *(const float4 *)(row + col + 4);
    return;
  }
#pragma unroll
  for (int i = 0; i < UNIT; i++) x[i] = col + i < a.cols ? row[col + i] : 0;
}

__device__ float row_scale(const prepare &a, const float *row) {
  float squares = 0, x[UNIT];
  for (int col = threadIdx.x * UNIT; col < a.cols; col += PREPARE_THREADS * UNIT) {
    unit_load(x, row, col, a);
#pragma unroll
    for (int i = 0; i < UNIT; i++) squares += x[i] * x[i];
  }
  return rsqrtf(block_sum(squares) / a.cols + a.eps);
}

/* What a row's numbers are moved and scaled by. */
struct moved {
  float mean, scale;
};

/* Of a layer norm: the mean first, then the squares of what is left. */
__device__ moved row_moved(const prepare &a, const float *row) {
  float sum = 0, squares = 0, x[UNIT];
  for (int col = threadIdx.x * UNIT; col < a.cols; col += PREPARE_THREADS * UNIT) {
    unit_load(x, row, col, a);
#pragma unroll
    for (int i = 0; i < UNIT; i++) sum += x[i];
  }
  float mean = block_sum(sum) / a.cols;
  for (int col = threadIdx.x * UNIT; col < a.cols; col += PREPARE_THREADS * UNIT) {
    unit_load(x, row, col, a);
#pragma unroll
    for (int i = 0; i < UNIT; i++) squares += col + i < a.cols ? (x[i] - mean) * (x[i] - mean) : 0;
  }
  return {mean, rsqrtf(block_sum(squares) / a.cols + a.eps)};
}

template <bool LAYER> __device__ __forceinline__ moved row_norm(const prepare &a, const float *row) {
  if constexpr (LAYER) return row_moved(a, row);
  return {0, a.norm ? row_scale(a, row) : 1};
}

/* Swizzled tiles of 64 tokens × 64 columns, [tile][piece], as weights lie in pieces of 16 rows (cuda_layout.h). */
template <bool LAYER> __global__ void __launch_bounds__(PREPARE_THREADS) prepare_tiles(prepare a) {
  dependents_launch();
  if (!a.late) dependencies_wait();
  int token = blockIdx.x;
  const float *row = a.in + (size_t)token * a.in_cols;
  moved by = row_norm<LAYER>(a, row);
  float x[UNIT], n[UNIT], shift[UNIT];
  uint4 *tile = a.out + (size_t)(token / 64) * a.n_piece * 512 + token % 64 * 8;
  for (int unit = threadIdx.x; unit < a.n_piece * 8; unit += PREPARE_THREADS) {
    unit_load(x, row, unit * UNIT, a);
    if (a.norm) {
      unit_load(n, a.norm, unit * UNIT, a);
      if constexpr (LAYER) unit_load(shift, a.shift, unit * UNIT, a);
#pragma unroll
      for (int i = 0; i < UNIT; i++)
        x[i] = LAYER ? (x[i] - by.mean) * by.scale * n[i] + shift[i] : x[i] * by.scale * n[i];
    }
    tile[unit / 8 * 512 + (unit % 8 ^ token % 8)] =
        make_uint4(pair_round(x[0], x[1]), pair_round(x[2], x[3]), pair_round(x[4], x[5]), pair_round(x[6], x[7]));
  }
  if (a.late) dependencies_wait();
}

template <bool LAYER>
__device__ __forceinline__ uint32_t normed_pair(const prepare &a, const float *row, const moved &by, int col) {
  float x[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    x[i] = col + i < a.cols ? row[col + i] : 0;
    if (!a.norm || col + i >= a.cols) continue;
    if constexpr (LAYER)
      x[i] = (x[i] - by.mean) * by.scale * a.norm[col + i] + a.shift[col + i];
    else
      x[i] = x[i] * by.scale * a.norm[col + i];
  }
  return pair_round(x[0], x[1]);
}

/* B fragments of mma.m16n8k16, [tile of 8 tokens][piece][2][lane]: lane % 32 has of token lane / 4, in each of two
 * steps of 16 columns, those at lane % 4 × 2, + 1, + 8 and + 9. */
template <bool LAYER> __global__ void __launch_bounds__(PREPARE_THREADS) prepare_fragments(prepare a) {
  dependents_launch();
  dependencies_wait();
  int token = blockIdx.x;
  const float *row = a.in + (size_t)token * a.in_cols;
  moved by = row_norm<LAYER>(a, row);
  uint4 *tile = a.out + (size_t)(token / 8) * a.n_piece * 64 + token % 8 * 4;
  for (int unit = threadIdx.x; unit < a.n_piece * 8; unit += PREPARE_THREADS) {
    int col = unit / 4 * 32 + unit % 4 * 2;
    tile[unit / 4 * 32 + unit % 4] =
        make_uint4(normed_pair<LAYER>(a, row, by, col), normed_pair<LAYER>(a, row, by, col + 8),
                   normed_pair<LAYER>(a, row, by, col + 16), normed_pair<LAYER>(a, row, by, col + 24));
  }
}

prepare prepare_of(const struct cuda_linear *linear) {
  return {.in = linear->in,
          .norm = linear->has_norm ? linear->norm : nullptr,
          .out = (uint4 *)linear->fragments,
          .in_cols = linear->in_cols,
          .cols = linear->matrix.cols,
          .n_piece = (linear->matrix.cols + 63) / 64,
          .whole = linear->in_cols % 4 == 0,
          .late = linear->shrunk,
          .eps = linear->eps};
}

} // namespace

void cuda_linear_prepare(const struct cuda_linear *linear, bool tiles, cuda_stream stream) {
  launch_shape shape = {linear->n_row, PREPARE_THREADS, 0, 1};
  early_launch(tiles ? prepare_tiles<false> : prepare_fragments<false>, shape, stream, prepare_of(linear));
}

void cuda_layer_prepare(const struct cuda_linear *linear, const struct cuda_norm *norm, bool tiles,
                        cuda_stream stream) {
  launch_shape shape = {linear->n_row, PREPARE_THREADS, 0, 1};
  prepare a = prepare_of(linear);
  a.norm = norm->weight, a.shift = norm->weight + a.cols, a.eps = norm->eps;
  if (a.cols % 4) a.whole = 0; /* addends begin where factors end */
  early_launch(tiles ? prepare_tiles<true> : prepare_fragments<true>, shape, stream, a);
}
