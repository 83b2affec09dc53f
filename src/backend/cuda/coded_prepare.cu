/* What goes before a linear of few tokens that are rounded to E4M3 or int8 with one scale a token: their codes, which
 * bf16 holds, as the fragments that cuda_linear_prepare makes. The codes are those of bytes_prepare.cu. A block a
 * token; the row is read twice, the second time from the first-level cache. */
#include "backend/cuda/bytes_prepare.cuh"
#include "backend/cuda/instructions.cuh"
#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/row_sum.cuh"

#include <cuda_fp16.h>

namespace {

enum { PREPARE_THREADS = 512 };

struct prepare {
  const float *in, *norm; /* [token][in_cols], [cols] or NULL */
  uint4 *out;
  float *scales;
  int in_cols, cols, n_half;
  float eps;
};

/* Scales of the row: of its norm, and of its greatest magnitude once normed. */
__device__ __forceinline__ float2 row_scales(const prepare &a, const float *row) {
  float squares = 0, peak = 0;
#pragma unroll 4
  for (int col = threadIdx.x; col < a.cols; col += PREPARE_THREADS) {
    float x = row[col];
    squares += x * x;
    peak = fmaxf(peak, fabsf(a.norm ? x * a.norm[col] : x));
  }
  float scale = a.norm ? rsqrtf(block_sum(squares) / a.cols + a.eps) : 1;
  return {scale, block_most(peak) * scale};
}

template <bool E4M3> __device__ __forceinline__ float code_of(float x) {
  if (!E4M3) return rintf(x);
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(__nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3), __NV_E4M3)));
}

template <bool E4M3>
__device__ __forceinline__ uint32_t pair_of(const prepare &a, const float *row, float scale, float inverse, int col) {
  float x[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    x[i] = col + i < a.cols ? row[col + i] * scale : 0;
    if (a.norm && col + i < a.cols) x[i] *= a.norm[col + i];
    x[i] = code_of<E4M3>(x[i] * inverse);
  }
  return pair_round(x[0], x[1]);
}

template <bool E4M3> __global__ void __launch_bounds__(PREPARE_THREADS) prepare_codes(prepare a) {
  dependents_launch();
  dependencies_wait();
  int token = blockIdx.x;
  const float *row = a.in + (size_t)token * a.in_cols;
  float2 scales = row_scales(a, row);
  float top = E4M3 ? 448 : 127, inverse = scales.y > 1e-30f ? top / scales.y : 0;
  if (threadIdx.x == 0) a.scales[token] = scales.y > 1e-30f ? scales.y / top : 0;
  uint4 *tile = a.out + (size_t)(token / 8) * a.n_half * 64 + token % 8 * 4;
  for (int unit = threadIdx.x; unit < a.n_half * 8; unit += PREPARE_THREADS) {
    uint32_t pair[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
      pair[i] = pair_of<E4M3>(a, row, scales.x, inverse, unit / 4 * 32 + unit % 4 * 2 + i * 8);
    tile[unit / 4 * 32 + unit % 4] = make_uint4(pair[0], pair[1], pair[2], pair[3]);
  }
}

} // namespace

void cuda_coded_prepare(const struct cuda_linear *linear, cuda_stream stream) {
  prepare a = {.in = linear->in,
               .norm = linear->has_norm ? linear->norm : nullptr,
               .out = (uint4 *)linear->fragments,
               .scales = linear->scales,
               .in_cols = linear->in_cols,
               .cols = linear->matrix.cols,
               .n_half = (linear->matrix.cols + 63) / 64,
               .eps = linear->eps};
  early_launch(linear->matrix.kind == KIND_F8 ? prepare_codes<true> : prepare_codes<false>,
               {linear->n_row, PREPARE_THREADS, 0, 1}, stream, a);
}
