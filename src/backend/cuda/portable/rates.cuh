/* The limit of the matrix units as a kernel: products of operands in registers, eight sums a warp, over numbers that
 * look random. */
#ifndef SPATE_BACKEND_CUDA_PORTABLE_RATES_CUH
#define SPATE_BACKEND_CUDA_PORTABLE_RATES_CUH

#include "backend/cuda/portable/instructions.cuh"
#include "backend/cuda/rate_numbers.cuh"

namespace portable {

enum { RATE_THREADS = 256, RATE_SUMS = 8, RATE_STEPS = 8 };

/* bf16 where there is none: what its linears multiply instead. */
template <typename ISA, int UNIT>
static __device__ __forceinline__ void rate_step(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
  if constexpr (UNIT == RATE_INT8)
    ISA::multiply_int8((int32_t *)d, a, b0, b1);
  else if constexpr (UNIT == RATE_BF16 && ISA::bfloat)
    multiply_bf16(d, a, b0, b1);
  else
    ISA::multiply(d, a, b0, b1);
}

template <typename ISA, int UNIT>
__global__ void __launch_bounds__(RATE_THREADS) rate_units(int rounds, uint32_t *sink) {
  float sum[RATE_SUMS][4] = {}, all = 0;
  uint32_t a[4], b[RATE_SUMS][2];
#pragma unroll
  for (int i = 0; i < 4; i++) a[i] = numbers(threadIdx.x * 4 + i);
#pragma unroll
  for (int i = 0; i < RATE_SUMS * 2; i++) b[i / 2][i % 2] = numbers(~(threadIdx.x * RATE_SUMS * 2 + i));
  for (int round = 0; round < rounds; round++)
#pragma unroll
    for (int i = 0; i < RATE_STEPS * RATE_SUMS; i++)
      rate_step<ISA, UNIT>(sum[i % RATE_SUMS], a, b[i % RATE_SUMS][0], b[i % RATE_SUMS][1]);
#pragma unroll
  for (int i = 0; i < RATE_SUMS * 4; i++) all += sum[i / 4][i % 4];
  if (all == 0.123f) *sink = 1; /* keeps the sums */
}

template <typename ISA>
static void rate_run(enum rate_unit unit, int blocks, int rounds, uint32_t *sink, cuda_stream stream) {
  switch (unit) {
  case RATE_BF16: rate_units<ISA, RATE_BF16><<<blocks, RATE_THREADS, 0, stream>>>(rounds, sink); break;
  case RATE_FP16: rate_units<ISA, RATE_FP16><<<blocks, RATE_THREADS, 0, stream>>>(rounds, sink); break;
  case RATE_INT8: rate_units<ISA, RATE_INT8><<<blocks, RATE_THREADS, 0, stream>>>(rounds, sink); break;
  default: rate_multiply_fp32(blocks, rounds, sink, stream); break;
  }
}

/* Of 16 × 8 × 16 at a time; of 8 bits twice the depth. */
static double rate_operations_of(enum rate_unit unit) {
  double float16 = 2.0 * 16 * 8 * 16 * RATE_STEPS * RATE_SUMS * (RATE_THREADS / 32);
  return unit == RATE_INT8 ? 2 * float16 : unit == RATE_FP32 ? rate_operations_fp32() : float16;
}

} // namespace portable

#endif
