/* A matrix of 4 or 8 bits as bf16 in pieces, for the kernels of many tokens. A thread makes 16 columns of a row, which
 * are four words of codes. Bound: writing, four or two bytes for each that is read. Codes times their scales are
 * rounded to bf16. */
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/instructions.cuh"
#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_result.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

namespace {

enum { THREADS = 256, STEP = 16 /* columns */ };

struct expand {
  struct cuda_matrix matrix;
  uint4 *out;
  int n_half; /* pieces of 64 columns, in bf16 */
};

/* A code of E2M1's codebook: a sign, two bits of an exponent, one of a fraction, where bf16 has them, are 2⁻¹²⁷ of it.
 */
__device__ __forceinline__ float e2m1_read(uint32_t code) {
  return __uint_as_float((code & 8) << 28 | (code & 7) << 22) * 0x1p127f;
}

/* Four codes of a word as floats, in the order of columns 0, 1, 8 and 9 of its lane. */
__device__ __forceinline__ void word_read(float x[4], const struct cuda_matrix &m, uint32_t word, int row) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int byte = i % 2 * 2 + i / 2; /* where bytes have the column */
    uint32_t code = m.nibbles ? word >> ((row / 8 + i / 2 * 2) * 4 + i % 2 * 16) & 15 : word >> byte * 8 & 255;
    x[i] = m.codebook          ? e2m1_read(code)
           : m.nibbles         ? (float)code
           : m.kind == KIND_F8 ? __half2float(__half(__nv_cvt_fp8_to_halfraw((uint8_t)code, __NV_E4M3)))
                               : (float)(int8_t)code;
  }
}

/* The scale of 16 columns of a row, and what is added to each. */
__device__ __forceinline__ float2 scale_of(const struct cuda_matrix &m, const uint8_t *strip, const uint8_t *piece,
                                           int row, int step) {
  if (m.bytes && m.has_min) { /* its codes here are less by 128 */
    float2 by = __half22float2(((const __half2 *)(piece + BYTES_CODES))[row]);
    return {by.x, fmaf(128, by.x, by.y)};
  }
  if (m.bytes) return {((const float *)(m.group ? piece + BYTES_CODES : strip))[row], 0};
  const __half *at = (const __half *)(piece + NIBBLES_CODES);
  int index = step * STEP / m.group * 16 + row % 8 * 2 + row / 8;
  if (m.codebook) return {__bfloat162float(((const __nv_bfloat16 *)at)[index]), 0};
  if (!m.has_min) return {__half2float(at[index]), -8 * __half2float(at[index])};
  return {__half2float(at[2 * index]), __half2float(at[2 * index + 1])};
}

/* The linear after it waits for its end before it copies the matrix (cuda_matrix.made), so nothing lets it begin
 * before.
 */
__global__ void __launch_bounds__(THREADS) expand_make(expand e) {
  dependencies_wait();
  const struct cuda_matrix &m = e.matrix;
  int strip = blockIdx.x;
  const uint8_t *from = m.data + (size_t)strip * m.strip_bytes, *pieces = from + m.head_bytes;
  uint4 *to = e.out + (size_t)strip * e.n_half * 128;
  for (int i = threadIdx.x; i < e.n_half * 64; i += THREADS) {
    int half = i / 64, row = i / 4 % 16, step = half % 2 * 4 + i % 4;
    const uint8_t *piece = pieces + (size_t)(half / 2) * m.piece_bytes;
    float2 scale = scale_of(m, from, piece, row, step);
    uint32_t pair[8]; /* of columns 2q, then of those 8 further */
#pragma unroll
    for (int q = 0; q < 4; q++) {
      size_t nibbles = step / 4 * 512 + (row % 8 * 4 + q) * 16 + step % 4 * 4;
      size_t bytes = row / 8 * 1024 + row % 8 * 128 + (step ^ row % 8) * 16 + q * 4;
      float x[4];
      word_read(x, m, *(const uint32_t *)(piece + (m.nibbles ? nibbles : bytes)), row);
      pair[q] = pair_round(x[0] * scale.x + scale.y, x[1] * scale.x + scale.y);
      pair[4 + q] = pair_round(x[2] * scale.x + scale.y, x[3] * scale.x + scale.y);
    }
    uint4 *line = to + (size_t)half * 128 + row * 8;
    line[i % 4 * 2 ^ row % 8] = make_uint4(pair[0], pair[1], pair[2], pair[3]);
    line[(i % 4 * 2 + 1) ^ row % 8] = make_uint4(pair[4], pair[5], pair[6], pair[7]);
  }
}

} // namespace

void cuda_coded_expand(const struct cuda_matrix *matrix, void *out, cuda_stream stream) {
  expand e = {.matrix = *matrix, .out = (uint4 *)out};
  e.n_half = (matrix->cols + 63) / 64;
  early_launch(expand_make, {(matrix->rows + 15) / 16, THREADS, 0, 1}, stream, e);
}
