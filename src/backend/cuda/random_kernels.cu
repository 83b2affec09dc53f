/* Random weights and keys and values, made where they are used: 16 GB of them take no link and no host memory. */
#include "backend/cuda/random_kernels.h"
#include "backend/cuda/bytes_prepare.cuh"
#include "backend/random_number.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

namespace {

enum { THREADS = 256, BLOCKS = 132 * 16, STRIP = 16, PIECE = 2048, PIECE_COLUMNS = 64 }; /* of cuda_layout.h */

/* The greatest of random_normal(). */
#define NORMAL_MOST 3.5f

__device__ uint16_t half_of(float x, bool bf16) {
  return bf16 ? __bfloat16_as_ushort(__float2bfloat16_rn(x)) : __half_as_ushort(__float2half_rn(x));
}

/* A thread makes 16 bytes of the packed matrix, eight neighbours of a row, at a time. */
__global__ void __launch_bounds__(THREADS) weight_make(struct random_matrix m) {
  for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i < m.bytes / 16; i += (size_t)gridDim.x * THREADS) {
    size_t strip = i * 16 / m.strip_bytes, at = i * 16 % m.strip_bytes;
    int r = (int)(at % PIECE) / 128, row = (int)strip * STRIP + r;
    int col = (int)(at / PIECE) * PIECE_COLUMNS + ((int)(at / 16 % 8) ^ r % 8) * 8;
    __align__(16) uint16_t eight[8];
    for (int k = 0; k < 8; k++) {
      bool there = row < m.rows && col + k < m.cols;
      float x = there ? random_normal(m.stream, (uint64_t)row * m.cols + col + k) * m.spread : 0;
      eight[k] = half_of(x, m.type == RANDOM_BF16);
    }
    *(uint4 *)(m.data + i * 16) = *(const uint4 *)eight;
  }
}

/* A thread makes a chunk of 16 columns, or four scales, of the strip or of a piece. */
template <bool E4M3> __global__ void __launch_bounds__(THREADS) bytes_make(struct random_matrix m) {
  float unit = NORMAL_MOST / (E4M3 ? 448 : 127);
  for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i < m.bytes / 16; i += (size_t)gridDim.x * THREADS) {
    size_t strip = i * 16 / m.strip_bytes, at = i * 16 % m.strip_bytes;
    if (at >= STRIP * 4 && at < m.head_bytes) {
      *(uint4 *)(m.data + i * 16) = make_uint4(0, 0, 0, 0);
      continue;
    }
    size_t piece = (at - m.head_bytes) / m.piece_bytes, within = (at - m.head_bytes) % m.piece_bytes;
    if (at < m.head_bytes || within >= BYTES_CODES) {
      float scale = m.spread * unit;
      __half2 pair = __floats2half2_rn(scale, -128 * scale);
      if (m.has_min) scale = *(float *)&pair;
      *(float4 *)(m.data + i * 16) = make_float4(scale, scale, scale, scale);
      continue;
    }
    int r = (int)within / 128, row = (int)strip * STRIP + r;
    int col = (int)piece * 2 * PIECE_COLUMNS + ((int)(within / 16 % 8) ^ r % 8) * 16;
    float x[16];
    for (int k = 0; k < 16; k++) {
      bool there = row < m.rows && col + k < m.cols;
      x[k] = there ? random_normal(m.stream, (uint64_t)row * m.cols + col + k) / unit : 0;
    }
    *(uint4 *)(m.data + i * 16) = bytes_of<E4M3>(x);
  }
}

/* Two scales, or a scale and a minimum, of codes that deviate as much. */
__device__ uint32_t scales_make(const struct random_matrix &m) {
  float scale = m.spread * sqrtf(12) / 16;
  __half2 pair = m.has_min ? __floats2half2_rn(scale, -7.5f * scale) : __floats2half2_rn(scale, scale);
  if (!m.e2m1) return *(uint32_t *)&pair;
  uint32_t half = half_of(exp2f(rintf(log2f(m.spread / 5.85f))), true); /* what the codebook deviates */
  return half | half << 16;
}

/* A thread makes 16 bytes: 32 codes, which are uniform, or scales, with minima or without. */
__global__ void __launch_bounds__(THREADS) nibbles_make(struct random_matrix m) {
  uint32_t scales = scales_make(m);
  for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i < m.bytes / 16; i += (size_t)gridDim.x * THREADS) {
    uint32_t word[4];
    for (int k = 0; k < 4; k++)
      word[k] = i * 16 % m.strip_bytes % m.piece_bytes < NIBBLES_CODES
                    ? (uint32_t)(random_uniform(m.stream, i * 4 + k) * 0x1p32)
                    : scales;
    *(uint4 *)(m.data + i * 16) = make_uint4(word[0], word[1], word[2], word[3]);
  }
}

__global__ void __launch_bounds__(THREADS) cache_fill(void *cache, size_t n, int type, uint64_t numbers) {
  for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i < n; i += (size_t)gridDim.x * THREADS) {
    float x = random_normal(numbers, i);
    if (type == RANDOM_F32)
      ((float *)cache)[i] = x;
    else
      ((uint16_t *)cache)[i] = half_of(x, type == RANDOM_BF16);
  }
}

/* Four bytes at a time, as attend_type.cuh has them: integers plus 128. */
__global__ void __launch_bounds__(THREADS)
    codes_fill(uint32_t *cache, size_t n, size_t codes, size_t period, int type, uint64_t numbers) {
  constexpr float peak = 4; /* of a head, about */
  for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i < n; i += (size_t)gridDim.x * THREADS) {
    uint32_t word = 0;
    for (int k = 0; k < 4; k++) {
      float x = random_normal(numbers, i * 4 + k) / peak;
      uint32_t code = type == RANDOM_E4M3 ? (uint32_t)__nv_cvt_float_to_fp8(x * 448, __NV_SATFINITE, __NV_E4M3)
                                          : (uint32_t)(__float2int_rn(fminf(fmaxf(x, -1), 1) * 127) + 128);
      word |= code << 8 * k;
    }
    cache[i] = i * 4 % period < codes ? word : __float_as_uint(type == RANDOM_E4M3 ? peak / 448 * 256 : peak);
  }
}

} // namespace

void random_codes_fill(void *cache, size_t bytes, size_t codes, size_t period, enum random_type type, uint64_t numbers,
                       cuda_stream stream) {
  codes_fill<<<BLOCKS, THREADS, 0, stream>>>((uint32_t *)cache, bytes / 4, codes, period, (int)type, numbers);
}

void random_weight_make(const struct random_matrix *matrix, cuda_stream stream) {
  auto make = matrix->type == RANDOM_E4M3   ? bytes_make<true>
              : matrix->type == RANDOM_INT8 ? bytes_make<false>
              : matrix->type == RANDOM_INT4 ? nibbles_make
                                            : weight_make;
  make<<<BLOCKS, THREADS, 0, stream>>>(*matrix);
}

void random_cache_fill(void *cache, size_t count, enum random_type type, uint64_t numbers, cuda_stream stream) {
  cache_fill<<<BLOCKS, THREADS, 0, stream>>>(cache, count, (int)type, numbers);
}
