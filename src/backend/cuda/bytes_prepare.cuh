/* Rows of tokens as bytes, sixteen columns at a time, which are permuted as in cuda_layout.h: for bytes_prepare.cu, and
 * for tiles that prepare their tokens themselves. */
#ifndef SPATE_BACKEND_CUDA_BYTES_PREPARE_CUH
#define SPATE_BACKEND_CUDA_BYTES_PREPARE_CUH

#include "backend/cuda/instructions.cuh"
#include "backend/cuda/linear_result.cuh"

#include <cstdint>

#include <cuda_fp8.h>

static __device__ __forceinline__ uint32_t e4m3_pair(float low, float high) {
  return __nv_cvt_float2_to_fp8x2({low, high}, __NV_SATFINITE, __NV_E4M3);
}

static __device__ __forceinline__ uint32_t int8_pair(float low, float high) {
  return (__float2int_rn(low) & 0xff) | (__float2int_rn(high) & 0xff) << 8;
}

template <bool E4M3> static __device__ __forceinline__ float byte_value(uint32_t code) {
  __nv_fp8_e4m3 x;
  x.__x = (uint8_t)code;
  return E4M3 ? (float)x : (float)(int8_t)code;
}

template <bool E4M3> static __device__ __forceinline__ uint4 bytes_of(const float x[16]) {
  uint32_t word[4];
#pragma unroll
  for (int q = 0; q < 4; q++) {
    const float *y = x + 2 * q;
    word[q] = E4M3 ? e4m3_pair(y[0], y[8]) | e4m3_pair(y[1], y[9]) << 16
                   : int8_pair(y[0], y[8]) | int8_pair(y[1], y[9]) << 16;
  }
  return {word[0], word[1], word[2], word[3]};
}

namespace {

enum { UNIT = 16 /* columns that make 16 bytes */ };

struct prepare {
  const float *in, *norm; /* [token][in_cols], [cols] or NULL */
  const uint4 *tiles; /* or bf16 tiles of 64 tokens × 64 columns, as gated_finish of linear_tiles.cuh leaves them */
  uint4 *out;
  float *scales;
  int in_cols, cols, n_piece, whole; /* whole: rows are multiples of 4 floats */
  float eps;
};

/* A unit as it lies in memory: floats of a row, or bf16 of tiles, half as long. */
template <bool TILES> struct raw_unit { uint4 part[TILES ? 2 : 4]; };

/* Beyond the columns there are zeros. */
template <bool TILES> __device__ __forceinline__ raw_unit<TILES> unit_load(const prepare &a, int token, int col) {
  raw_unit<TILES> unit = {};
  if (TILES) {
    if (col >= a.cols) return unit;
    const uint4 *row = a.tiles + ((size_t)(token / 64) * (a.cols / 64) + col / 64) * 512 + token % 64 * 8;
#pragma unroll
    for (int half = 0; half < 2; half++) unit.part[half] = row[(col % 64 / 8 + half) ^ token % 8];
    return unit;
  }
  const float *row = a.in + (size_t)token * a.in_cols;
#pragma unroll
  for (int i = 0; i < UNIT / 4; i++) {
    int at = col + i * 4;
    *(float4 *)&unit.part[i % (TILES ? 2 : 4)] =
        a.whole && at + 4 <= a.cols ? *(const float4 *)(row + at) : four_at(row + col, i * 4, a.cols - col);
  }
  return unit;
}

template <bool TILES> __device__ __forceinline__ void unit_floats(float x[UNIT], const raw_unit<TILES> &unit) {
#pragma unroll
  for (int i = 0; i < UNIT; i += 2)
    *(float2 *)(x + i) = TILES ? __bfloat1622float2(((const __nv_bfloat162 *)unit.part)[i / 2])
                               : ((const float2 *)unit.part)[i / 2 % (TILES ? 4 : 8)];
}

/* Of the row's squares, and of what is greatest once it has the norm's weights, not yet its scale. */
template <bool TILES>
__device__ __forceinline__ void unit_measure(const raw_unit<TILES> &unit, const prepare &a, int col, float &squares,
                                             float &peak) {
  float x[UNIT];
  unit_floats(x, unit);
#pragma unroll
  for (int i = 0; i < UNIT; i++) squares += x[i] * x[i];
#pragma unroll
  for (int i = 0; i < UNIT; i++) peak = fmaxf(peak, fabsf(a.norm && col + i < a.cols ? x[i] * a.norm[col + i] : x[i]));
}

/* How a row is rounded: what it is multiplied by for its norm, and then for its codes; their scale. */
struct rounding {
  float norm, inverse, scale;
};

/* both: the row's squares, and what is greatest. */
template <bool E4M3> __device__ __forceinline__ rounding rounding_of(const prepare &a, float2 both) {
  float norm = a.norm ? rsqrtf(both.x / a.cols + a.eps) : 1, top = E4M3 ? 448 : 127, peak = both.y * norm;
  bool some = peak > 1e-30f;
  return {norm, some ? __fdiv_rn(top, peak) : 0, some ? __fdiv_rn(peak, top) : 0};
}

template <bool E4M3, bool TILES>
__device__ __forceinline__ uint4 unit_round(const raw_unit<TILES> &unit, const prepare &a, int col,
                                            const rounding &by) {
  float x[UNIT];
  unit_floats(x, unit);
#pragma unroll
  for (int i = 0; i < UNIT; i++) {
    if (a.norm && col + i < a.cols) x[i] = x[i] * by.norm * a.norm[col + i];
    x[i] *= by.inverse;
  }
  return bytes_of<E4M3>(x);
}

/* Where a unit's bytes lie in tiles of bytes. */
__device__ __forceinline__ uint4 *unit_place(const prepare &a, int token, int unit) {
  return a.out + ((size_t)(token / 64) * a.n_piece + unit / 8) * 512 + token % 64 * 8 + (unit % 8 ^ token % 8);
}

inline prepare prepare_of(const struct cuda_linear *linear, const void *tiles) {
  return {.in = linear->in,
          .norm = linear->has_norm ? linear->norm : nullptr,
          .tiles = (const uint4 *)tiles,
          .out = (uint4 *)linear->fragments,
          .scales = linear->scales,
          .in_cols = linear->in_cols,
          .cols = linear->matrix.cols,
          .n_piece = (linear->matrix.cols + 127) / 128,
          .whole = linear->in_cols % 4 == 0,
          .eps = linear->eps};
}

} // namespace

#endif
