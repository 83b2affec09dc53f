/* The scheme of bf16 weights of linear_few.cuh. */
#ifndef SPATE_BACKEND_CUDA_FEW_BF16_CUH
#define SPATE_BACKEND_CUDA_FEW_BF16_CUH

#include "backend/cuda/linear_few.cuh"

namespace {

struct sixteen_bits {
  typedef float sum;
  static constexpr int panels = 1, head = 0;
  static constexpr int piece = PIECE, strips = 3, buffers = 1, rolled = 0, in_flight = 3, tiles = 4;
  static constexpr bool rounded = false;
  static constexpr float top = 0, unit = 1;

  template <int TILES>
  static __device__ __forceinline__ void multiply(float sum[TILES][4], const uint8_t *piece, const fragments<TILES> &b,
                                                  int lane) {
    int row = lane % 16, half = lane / 16;
    uint32_t base = shared_address(piece) + row / 8 * 1024 + row % 8 * 128;
    uint32_t w[4][4];
#pragma unroll
    for (int k = 0; k < 4; k++) matrices_load(w[k], base + (((2 * k + half) ^ (row % 8)) << 4)); /* cuda_layout.h */
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
      for (int t = 0; t < TILES; t++) {
        const uint32_t *x = k < 2 ? &b.low[t].x : &b.high[t].x;
        multiply_bf16(sum[t], w[k], x[k % 2 * 2], x[k % 2 * 2 + 1]);
      }
  }
};

} // namespace

#endif
