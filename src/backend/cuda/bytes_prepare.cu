/* What goes before a linear of eight-bit weights and tokens: a token's row is normed and rounded to E4M3 or int8 with
 * one scale, in the order in which bytes_tiles.cuh wants it. A block a token; the row is read twice, the second time
 * from the first-level cache. Of the norm, squares and the greatest magnitude are found in the first reading. */
#include "backend/cuda/bytes_prepare.cuh"
#include "backend/cuda/instructions.cuh"
#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/row_sum.cuh"

namespace {

enum { PREPARE_THREADS = 256, UNIT = 16 /* columns that make 16 bytes */ };

struct prepare {
  const float *in, *norm; /* [token][in_cols], [cols] or NULL */
  const uint4 *tiles; /* or bf16 tiles of 64 tokens × 64 columns, as gated_finish of linear_tiles.cuh leaves them */
  uint4 *out;
  float *scales;
  int in_cols, cols, n_piece, whole; /* whole: rows are multiples of 4 floats */
  float eps;
};

template <bool TILES> __device__ __forceinline__ void unit_load(float x[UNIT], const prepare &a, int token, int col) {
  if (TILES) {
    const uint4 *row = a.tiles + ((size_t)(token / 64) * (a.cols / 64) + col / 64) * 512 + token % 64 * 8;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      uint4 chunk = row[(col % 64 / 8 + half) ^ token % 8];
      const __nv_bfloat162 *pair = (const __nv_bfloat162 *)&chunk;
#pragma unroll
      for (int i = 0; i < 4; i++) *(float2 *)(x + half * 8 + i * 2) = __bfloat1622float2(pair[i]);
    }
    return;
  }
  const float *row = a.in + (size_t)token * a.in_cols;
#pragma unroll
  for (int i = 0; i < UNIT; i += 4)
    *(float4 *)(x + i) =
        a.whole && col + i + 4 <= a.cols ? *(const float4 *)(row + col + i) : four_at(row + col, i, a.cols - col);
}

__device__ __forceinline__ void norm_apply(float x[UNIT], const prepare &a, int col, float scale) {
#pragma unroll
  for (int i = 0; i < UNIT; i++) x[i] = x[i] * scale * (col + i < a.cols ? a.norm[col + i] : 0);
}

/* Scales of the row: of its norm, and of its greatest magnitude once normed. */
template <bool TILES> __device__ __forceinline__ float2 row_scales(const prepare &a, int token) {
  float squares = 0, peak = 0, x[UNIT];
  for (int col = threadIdx.x * UNIT; col < a.cols; col += PREPARE_THREADS * UNIT) {
    unit_load<TILES>(x, a, token, col);
#pragma unroll
    for (int i = 0; i < UNIT; i++) squares += x[i] * x[i];
    if (a.norm) norm_apply(x, a, col, 1);
#pragma unroll
    for (int i = 0; i < UNIT; i++) peak = fmaxf(peak, fabsf(x[i]));
  }
  float scale = a.norm ? rsqrtf(block_sum(squares) / a.cols + a.eps) : 1;
  return {scale, block_most(peak) * scale};
}

template <bool E4M3, bool TILES> __global__ void __launch_bounds__(PREPARE_THREADS) prepare_bytes(prepare a) {
  dependents_launch();
  dependencies_wait();
  int token = blockIdx.x;
  float2 scales = row_scales<TILES>(a, token);
  float top = E4M3 ? 448 : 127, inverse = scales.y > 1e-30f ? top / scales.y : 0, x[UNIT];
  if (threadIdx.x == 0) a.scales[token] = scales.y > 1e-30f ? scales.y / top : 0;
  uint4 *tile = a.out + (size_t)(token / 64) * a.n_piece * 512 + token % 64 * 8;
  for (int unit = threadIdx.x; unit < a.n_piece * 8; unit += PREPARE_THREADS) {
    if (TILES && unit * UNIT >= a.cols) break;
    unit_load<TILES>(x, a, token, unit * UNIT);
    if (a.norm) norm_apply(x, a, unit * UNIT, scales.x);
#pragma unroll
    for (int i = 0; i < UNIT; i++) x[i] *= inverse;
    tile[unit / 8 * 512 + (unit % 8 ^ token % 8)] = bytes_of<E4M3>(x);
  }
}

} // namespace

void cuda_bytes_prepare(const struct cuda_linear *linear, const void *tiles, cuda_stream stream) {
  prepare a = {.in = linear->in,
               .norm = linear->has_norm ? linear->norm : nullptr,
               .tiles = (const uint4 *)tiles,
               .out = (uint4 *)linear->fragments,
               .scales = linear->scales,
               .in_cols = linear->in_cols,
               .cols = linear->matrix.cols,
               .n_piece = (linear->matrix.cols + 127) / 128,
               .whole = linear->in_cols % 4 == 0,
               .eps = linear->eps};
  launch_shape shape = {linear->n_row, PREPARE_THREADS, 0, 1};
  bool e4m3 = linear->matrix.kind == KIND_F8;
  early_launch(e4m3    ? tiles ? prepare_bytes<true, true> : prepare_bytes<true, false>
                  : tiles ? prepare_bytes<false, true>
                       : prepare_bytes<false, false>,
               shape, stream, a);
}
