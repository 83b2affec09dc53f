/* What becomes of products: activation, gate, factor, softcap, residual. Shared by the linears' kernels. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_RESULT_CUH
#define SPATE_BACKEND_CUDA_LINEAR_RESULT_CUH

#include "backend/cuda/cuda_kernels.h"

#include <cuda_bf16.h>

enum { GATE_RUN = 16 }; /* rows of gate and of up alternate in such runs */

/* SiLU, or GELU by tanh: both are x ÷ (1 + e⁻ᵏ). */
static __device__ __forceinline__ float act_of(int act, float x) {
  float k = act == CURVE_GELU ? 1.5957691216f * (x + 0.044715f * x * x * x) : x;
  return act ? __fdividef(x, 1 + __expf(-k)) : x;
}

static __device__ __forceinline__ float tanh_of(float x) { return 1 - __fdividef(2, 1 + expf(2 * x)); }

/* From products, which have their bias, to what a post norm is taken of. up: read where gated. */
static __device__ __forceinline__ float result_of(const struct cuda_linear &a, float gate, float up) {
  float x = act_of(a.act, gate);
  if (a.gated) x *= up;
  x *= a.factor;
  return a.softcap > 0 ? a.softcap * tanh_of(x / a.softcap) : x;
}

/* The same of a linear that is gated by SiLU and has no softcap. */
static __device__ __forceinline__ float gated_of(const struct cuda_linear &a, float gate, float up) {
  return act_of(1, gate) * up * a.factor;
}

static __device__ __forceinline__ uint32_t pair_round(float low, float high) {
  __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *(uint32_t *)&pair;
}

static __device__ __forceinline__ float residual_add(const struct cuda_linear &a, float x, float residual) {
  return a.multiply ? x * residual : x + residual;
}

/* The same of four neighbours. */
static __device__ __forceinline__ float4 operator+(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

static __device__ __forceinline__ float4 result_of(const struct cuda_linear &a, float4 gate, float4 up) {
  return {result_of(a, gate.x, up.x), result_of(a, gate.y, up.y), result_of(a, gate.z, up.z),
          result_of(a, gate.w, up.w)};
}

static __device__ __forceinline__ float4 residual_add(const struct cuda_linear &a, float4 x, float4 residual) {
  return {residual_add(a, x.x, residual.x), residual_add(a, x.y, residual.y), residual_add(a, x.z, residual.z),
          residual_add(a, x.w, residual.w)};
}

/* Four of `count` floats; those beyond are 0. */
static __device__ __forceinline__ float4 four_at(const float *from, int at, int count) {
  return {at < count ? from[at] : 0, at + 1 < count ? from[at + 1] : 0, at + 2 < count ? from[at + 2] : 0,
          at + 3 < count ? from[at + 3] : 0};
}

/* What a kernel on the matrix units does of a linear whose post norm wants whole rows: the products, for the tail. */
static inline struct cuda_linear products_alone(const struct cuda_linear *linear) {
  struct cuda_linear a = *linear;
  a.out = a.product, a.out_cols = a.result_cols = a.matrix.rows;
  a.residual = nullptr;
  a.act = a.gated = a.has_post_norm = 0;
  a.factor = 1, a.softcap = 0;
  return a;
}

/* The row of the matrix that makes a column of the result; of a gated one: the gate's. */
static __device__ __forceinline__ int result_row(const struct cuda_linear &a, int col) {
  return a.gated ? col / GATE_RUN * 2 * GATE_RUN + col % GATE_RUN : col;
}

/* The column of the result that a row of the matrix makes; of a gated one: a row of the gate's. */
static __device__ __forceinline__ int result_col(const struct cuda_linear &a, int row) {
  return a.gated ? row / (2 * GATE_RUN) * GATE_RUN + row % GATE_RUN : row;
}

#endif
