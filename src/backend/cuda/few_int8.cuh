/* The scheme of linear_few.cuh of 1 to 8 tokens over int8 weights with one scale a row, tokens rounded to int8 with one
 * scale each, which follows from their greatest magnitude. Sums are exact. */
#ifndef SPATE_BACKEND_CUDA_FEW_INT8_CUH
#define SPATE_BACKEND_CUDA_FEW_INT8_CUH

#include "backend/cuda/linear_few.cuh"

namespace {

enum { CHUNKS = 8 /* of 16 columns in a unit, which is two panels */ };

/* A unit's tokens, four columns of a step in a word, as those of a lane lie in the weights. */
template <int TILES> struct quads {
  float inverse[TILES];
  uint32_t four[TILES][CHUNKS];
};

__device__ __forceinline__ float low_of(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_of(uint32_t pair) { return __uint_as_float(pair & 0xffff0000); }

/* A whole number in the low bits. */
__device__ __forceinline__ uint32_t whole_of(float x, float inverse) {
  return __float_as_uint(__fmaf_rn(x, inverse, 12582912.f));
}

struct int8_tokens {
  typedef int sum;
  static constexpr int units = 1, panels = 2, head = BYTES_HEAD, piece = PIECE;
  static constexpr int strips = 4, abreast = 2, buffers = 2, rolled = 1, in_flight = 3, tiles = 1;
  static constexpr bool rounded = true;
  static constexpr float top = 127, unit = 1;
  template <int TILES> using operand = quads<TILES>;

  template <int TILES> static __device__ __forceinline__ void begin(quads<TILES> &x, const float *inverse) {
#pragma unroll
    for (int t = 0; t < TILES; t++) x.inverse[t] = inverse[t];
  }

  template <int TILES> static __device__ __forceinline__ void prepare(quads<TILES> &x, const fragments<TILES> *b) {
#pragma unroll
    for (int i = 0; i < CHUNKS * TILES; i++) {
      int t = i % TILES, k = i / TILES;
      const uint32_t *pair = (k % 4 < 2 ? &b[k / 4].low[t].x : &b[k / 4].high[t].x) + k % 2 * 2;
      float inverse = x.inverse[t];
      uint32_t first = __byte_perm(whole_of(low_of(pair[0]), inverse), whole_of(low_of(pair[1]), inverse), 0x0040);
      uint32_t second = __byte_perm(whole_of(high_of(pair[0]), inverse), whole_of(high_of(pair[1]), inverse), 0x0040);
      x.four[t][k] = __byte_perm(first, second, 0x5410);
    }
  }

  template <int TILES>
  static __device__ __forceinline__ void multiply(int (*sum)[TILES][4], const uint8_t *const *from,
                                                  const quads<TILES> &x, int, int lane) {
    int row = lane % 16;
    uint32_t at = row / 8 * 1024 + row % 8 * 128;
#pragma unroll
    for (int pair = 0; pair < CHUNKS / 2; pair++) {
      uint32_t w[abreast][4];
#pragma unroll
      for (int n = 0; n < abreast; n++)
        matrices_load(w[n], shared_address(from[n]) + at + (((pair * 2 + lane / 16) ^ (row % 8)) << 4));
#pragma unroll
      for (int i = 0; i < abreast * TILES; i++) {
        int n = i % abreast, t = i / abreast;
        multiply_int8(sum[n][t], w[n], x.four[t][pair * 2], x.four[t][pair * 2 + 1]);
      }
    }
  }

  template <int TILES> static __device__ __forceinline__ void end(int (*)[TILES][4], const quads<TILES> &) {}
};

} // namespace

#endif
