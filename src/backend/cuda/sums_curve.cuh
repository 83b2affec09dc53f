/* Activations of the sums of a tile while they are in registers. */
#ifndef SPATE_BACKEND_CUDA_SUMS_CURVE_CUH
#define SPATE_BACKEND_CUDA_SUMS_CURVE_CUH

#include "backend/cuda/image_rows.cuh"
#include "backend/cuda/instructions.cuh"

namespace {

/* x ÷ (1 + e⁻ᵏ) of two numbers with one division: the units of special functions bound a curve over a whole tile. */
template <int ACT> __device__ __forceinline__ void curve_pair(float &x, float &y) {
  float k[2] = {x, y}, below[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float z = k[i];
    if (ACT == CURVE_GELU) k[i] = z * (-2.3022082f - 0.10294324f * z * z); /* −2 √(2/π) log₂e (1 + 0.044715 z²) z */
    if (ACT == CURVE_GELU_QUICK) k[i] = z * -2.4554670f;                   /* −1.702 log₂e */
    if (ACT == 1) k[i] = z * -1.4426950f;                                  /* −log₂e */
    below[i] = 1 + exp2_of(fminf(k[i], 60)); /* beyond it the product would overflow, and x is nothing */
  }
  float both = __fdividef(1, below[0] * below[1]);
  x *= both * below[1], y *= both * below[0];
}

/* A loop for each curve: with the choice inside it the longest one's code would lie between all others'. */
template <int ACT, int N> __device__ __forceinline__ void sums_curve(float (&sum)[N]) {
#pragma unroll
  for (int i = 0; i < N; i += 2) curve_pair<ACT>(sum[i], sum[i + 1]);
}

template <int N> __device__ __forceinline__ void sums_act(float (&sum)[N], int act) {
  if (act == CURVE_GELU) {
    sums_curve<CURVE_GELU>(sum);
  } else if (act == CURVE_GELU_QUICK) {
    sums_curve<CURVE_GELU_QUICK>(sum);
  } else if (act == CURVE_GELU_ERF) {
#pragma unroll
    for (int i = 0; i < N; i++) sum[i] = curve_of(CURVE_GELU_ERF, sum[i]);
  } else if (act) {
    sums_curve<1>(sum);
  }
}

} // namespace

#endif
