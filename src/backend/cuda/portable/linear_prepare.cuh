/* What goes before a portable linear: a token's row is normed and rounded to 16 bits, row after row; columns beyond the
 * last are zero. Rows of fp16 are scaled by a power of two (linear.cuh), whose inverse goes beside. A block a token,
 * which reads the row twice, the second time from the first-level cache. And, once after loading, the exponents of
 * bf16 weights. */
#ifndef SPATE_BACKEND_CUDA_PORTABLE_LINEAR_PREPARE_CUH
#define SPATE_BACKEND_CUDA_PORTABLE_LINEAR_PREPARE_CUH

#include "backend/cuda/portable/linear.cuh"
#include "backend/cuda/row_sum.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace portable {

enum { PREPARE_THREADS = 256 };

struct prepare_work {
  const float *in, *norm; /* [token][in_cols], [cols] or NULL */
  uint16_t *out;          /* [token][padded] */
  float *scales;          /* [token] of fp16 */
  int in_cols, cols, padded;
  float eps;
};

/* The power of two that brings the row's greatest to 2^14; what is not finite stays so. */
static __device__ float row_lift(float most, float *inverse) {
  int exponent = max((int)(__float_as_uint(most) >> 23), 15);
  *inverse = __uint_as_float((uint32_t)(exponent - 14) << 23);
  return __uint_as_float((uint32_t)(268 - exponent) << 23);
}

template <bool BFLOAT> static __device__ __forceinline__ uint16_t round_16(float x) {
  return BFLOAT ? __bfloat16_as_ushort(__float2bfloat16_rn(x)) : __half_as_ushort(__float2half_rn(x));
}

template <bool BFLOAT> __global__ void __launch_bounds__(PREPARE_THREADS) linear_prepare(prepare_work a) {
  const float *row = a.in + (size_t)blockIdx.x * a.in_cols;
  uint16_t *out = a.out + (size_t)blockIdx.x * a.padded;
  float squares = 0, most = 0, scale = 1, inverse, lift = 1;
  for (int c = threadIdx.x; c < a.cols && (a.norm || !BFLOAT); c += PREPARE_THREADS) {
    float x = row[c];
    squares += x * x;
    most = fmaxf(most, fabsf(a.norm ? x * a.norm[c] : x));
    if (x != x) most = INFINITY;
  }
  if (a.norm) scale = rsqrtf(block_sum(squares) / a.cols + a.eps);
  if (!BFLOAT) lift = row_lift(block_most(most) * scale, &inverse);
  for (int c = threadIdx.x; c < a.padded; c += PREPARE_THREADS) {
    float x = c < a.cols ? row[c] : 0;
    if (a.norm && c < a.cols) x = x * scale * a.norm[c];
    out[c] = round_16<BFLOAT>(x * lift);
  }
  if (!BFLOAT && threadIdx.x == 0) a.scales[blockIdx.x] = inverse;
}

/* A strip's greatest exponent, as bf16 has it; a warp a strip. */
static __global__ void __launch_bounds__(256) exponents_find(struct cuda_matrix m, int n_strip, int32_t *exponent) {
  int strip = (blockIdx.x * 256 + threadIdx.x) / 32, lane = threadIdx.x % 32;
  uint32_t most = 0;
  if (strip >= n_strip) return;
  const uint4 *from = (const uint4 *)(m.data + (size_t)strip * m.strip_bytes);
  for (size_t i = lane; i < m.strip_bytes / 16; i += 32) {
    const uint32_t pair[4] = {from[i].x, from[i].y, from[i].z, from[i].w};
    for (int k = 0; k < 4; k++) most = max(most, max(pair[k] >> 7 & 0xff, pair[k] >> 23 & 0xff));
  }
  for (int step = 16; step > 0; step /= 2) most = max(most, __shfl_xor_sync(0xffffffffu, most, step));
  if (lane == 0) exponent[strip] = (int32_t)most;
}

/* Both kinds of linears begin with it. */
template <typename ISA, int KIND>
static linear_work linear_begin(const struct cuda_linear *linear, cuda_stream stream) {
  constexpr bool bfloat = operand16<ISA, KIND>::bfloat;
  prepare_work prepare = {.in = linear->in,
                          .norm = linear->has_norm ? linear->norm : nullptr,
                          .out = (uint16_t *)linear->fragments,
                          .scales = linear->scales,
                          .in_cols = linear->in_cols,
                          .cols = linear->matrix.cols,
                          .padded = (linear->matrix.cols + PIECE_COLS - 1) / PIECE_COLS * PIECE_COLS,
                          .eps = linear->eps};
  linear_prepare<bfloat><<<linear->n_row, PREPARE_THREADS, 0, stream>>>(prepare);
  return {.linear = linear->has_post_norm ? products_alone(linear) : *linear,
          .tokens = prepare.out,
          .scales = bfloat ? nullptr : linear->scales,
          .n_strip = (linear->matrix.rows + STRIP - 1) / STRIP,
          .n_piece = prepare.padded / PIECE_COLS};
}

} // namespace portable

#endif
