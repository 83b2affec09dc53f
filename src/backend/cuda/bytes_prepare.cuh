/* Sixteen floats as the bytes of a chunk, whose columns are permuted as in cuda_layout.h. */
#ifndef SPATE_BACKEND_CUDA_BYTES_PREPARE_CUH
#define SPATE_BACKEND_CUDA_BYTES_PREPARE_CUH

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

#endif
