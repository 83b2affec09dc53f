/* Single elements of a packed matrix as floats, of any scheme: what the plain kernels read by. The device's counterpart
 * of cpu_unpack_row. */
#ifndef SPATE_BACKEND_CUDA_MATRIX_READ_CUH
#define SPATE_BACKEND_CUDA_MATRIX_READ_CUH

#include "backend/cuda/cuda_kernels.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

__constant__ int8_t codebooks[7][16] = {
    /* by enum codebook */
    {0},
    {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}, /* IQ4 */
    {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12},                  /* E2M1, doubled */
    {-7, 1, 9, 0, -9, -1, 7, 0},                                                /* IQ1 */
    {8, 25, 43, 0, -8, -25, -43, 0},                                            /* IQ2 */
    {4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62},     /* IQ3 */
    {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15},             /* ODD */
};

static __device__ __forceinline__ float half_at(const uint8_t *from, int index) {
  return __half2float(((const __half *)from)[index]);
}

static __device__ __forceinline__ float bfloat_at(const uint8_t *from, int index) {
  return __bfloat162float(((const __nv_bfloat16 *)from)[index]);
}

static __device__ __forceinline__ int plane_code(const uint8_t *plane, int bits, int row, int col) {
  int per_vector = 4 * (8 / bits), within = col % per_vector;
  uint8_t byte = plane[(col / per_vector) * 64 + 4 * row + within % 4];
  return byte >> bits * (within / 4) & ((1 << bits) - 1);
}

static __device__ float level_at(const struct cuda_matrix &m, const uint8_t *from, const uint8_t *super, int at,
                                 int row) {
  switch (m.scale) {
  case LEVEL_F32: return ((const float *)from)[at];
  case LEVEL_F16: return half_at(from, at);
  case LEVEL_BF16: return bfloat_at(from, at);
  default: return half_at(super, row) * (float)(int8_t)from[at];
  }
}

static __device__ float integer_at(const struct cuda_matrix &m, const uint8_t *block, int row, int col) {
  int code = plane_code(block, m.bits, row, col), at = col / m.group * 16 + row;
  if (m.high_bits) code |= plane_code(block + m.high_at, m.high_bits, row, col) << m.bits;
  float scale = level_at(m, block + m.scale_at, block + m.super_at, at, row);
  if (m.codebook) return scale * m.unit * (float)codebooks[m.codebook][code];
  if (!m.has_min) return scale * (float)(code - m.offset);
  const uint8_t *min = block + m.min_at;
  if (m.scale != LEVEL_TWO) return scale * (float)code + level_at(m, min, nullptr, at, row);
  return scale * (float)code - half_at(block + m.super_min_at, row) * (float)min[at];
}

static __device__ __forceinline__ float piece_at(const struct cuda_matrix &m, const uint8_t *strip, int row, int col) {
  int within = col % 64, chunk = within / 8 ^ row % 8;
  const uint8_t *at = strip + (size_t)(col / 64) * 2048 + row / 8 * 1024 + row % 8 * 128 + chunk * 16 + within % 8 * 2;
  return m.kind == KIND_F16 ? half_at(at, 0) : bfloat_at(at, 0);
}

static __device__ __forceinline__ float byte_at(const struct cuda_matrix &m, const uint8_t *strip, int row, int col) {
  int chunk = col % 128 / 16 ^ row % 8, c = col % 16;
  const uint8_t *piece = strip + m.head_bytes + (size_t)(col / 128) * m.piece_bytes;
  uint8_t code = piece[row / 8 * 1024 + row % 8 * 128 + chunk * 16 + c % 8 / 2 * 4 + c % 2 * 2 + c / 8];
  __half_raw half = __nv_cvt_fp8_to_halfraw(code, __NV_E4M3);
  if (m.has_min)
    return half_at(piece + BYTES_CODES, 2 * row) * (float)(code ^ 128) + half_at(piece + BYTES_CODES, 2 * row + 1);
  return ((const float *)(m.group ? piece + BYTES_CODES : strip))[row] *
         (m.kind == KIND_F8 ? __half2float(half) : (float)(int8_t)code);
}

static __device__ __forceinline__ float nibble_at(const struct cuda_matrix &m, const uint8_t *strip, int row, int col) {
  int within = col % 128, step = within / 16, k = within % 16;
  int nibble = row / 8 + k / 8 * 2 + k % 2 * 4, width = m.has_min ? 2 : 1;
  const uint8_t *piece = strip + (size_t)(col / 128) * m.piece_bytes;
  uint8_t byte = piece[step / 4 * 512 + (row % 8 * 4 + k % 8 / 2) * 16 + step % 4 * 4 + nibble / 2];
  int code = byte >> nibble % 2 * 4 & 15, at = (within / m.group * 16 + row % 8 * 2 + row / 8) * width;
  if (m.codebook) return bfloat_at(piece + NIBBLES_CODES, at) * m.unit * (float)codebooks[m.codebook][code];
  float scale = half_at(piece + NIBBLES_CODES, at);
  return m.has_min ? scale * (float)code + half_at(piece + NIBBLES_CODES, at + 1) : scale * (float)(code - 8);
}

static __device__ __forceinline__ float matrix_at(const struct cuda_matrix &m, int row, int col) {
  const uint8_t *strip = m.data + (size_t)(row / 16) * m.strip_bytes;
  if (m.pieces) return piece_at(m, strip, row % 16, col);
  if (m.nibbles) return nibble_at(m, strip, row % 16, col);
  if (m.bytes) return byte_at(m, strip, row % 16, col);
  const uint8_t *block = strip + (size_t)(col / m.block_cols) * m.block_bytes;
  if (m.kind == KIND_INT) return integer_at(m, block, row % 16, col % m.block_cols);
  return ((const float *)block)[col % m.block_cols * 16 + row % 16];
}

#endif
