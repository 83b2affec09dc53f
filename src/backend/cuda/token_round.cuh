/* How tokens are rounded to 8 bits with one scale a row: greatest magnitude / 127 or / 448. */
#ifndef SPATE_BACKEND_CUDA_TOKEN_ROUND_CUH
#define SPATE_BACKEND_CUDA_TOKEN_ROUND_CUH

#include "backend/cuda/cuda_kernels.h"

#include <cuda_fp16.h>
#include <cuda_fp8.h>

static __device__ __forceinline__ float e4m3_round(float x) {
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(__nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3), __NV_E4M3)));
}

/* Of a row's greatest magnitude. */
struct token_rounding {
  float inverse, scale;
  bool e4m3;

  __device__ token_rounding(float peak, bool e4m3) : e4m3(e4m3) {
    float top = e4m3 ? 448 : 127;
    inverse = peak > 1e-30f ? __fdiv_rn(top, peak) : 0;
    scale = peak > 1e-30f ? __fdiv_rn(peak, top) : 0;
  }
  /* A number's code. */
  __device__ __forceinline__ float code(float x) const { return e4m3 ? e4m3_round(x * inverse) : rintf(x * inverse); }
};

#endif
