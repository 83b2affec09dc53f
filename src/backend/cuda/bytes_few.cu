/* Linears of few tokens over E4M3 and int8 weights with one scale a row, tokens rounded alike with one scale each
 * (linear_few.cuh). int8 multiplies int8, exactly. Hopper's mma.sync has no E4M3: codes become fp16 in registers by
 * shifts, and tokens the same numbers, rounded. */
#include "backend/cuda/linear_few.cuh"

#include <cuda_fp16.h>

namespace {

/* A panel's operands of the tokens: pairs of fp16, or four int8 where a fragment has two pairs of bf16. */
template <int TILES> struct halves { uint32_t pair[TILES][8]; };
template <int TILES> struct quads { uint32_t four[TILES][4]; };

__device__ __forceinline__ float low_of(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_of(uint32_t pair) { return __uint_as_float(pair & 0xffff0000); }

/* Rounded to three bits beside the first, and to multiples of 2⁻⁹: to what E4M3 has. A sum with 192 times its power of
 * two has no room for more. */
__device__ __forceinline__ uint32_t e4m3_round(float low, float high) {
  __half2 x = __floats2half2_rn(low, high), many = __float2half2_rn(192);
  uint32_t bits = *(uint32_t *)&x & 0x7c007c00, least = 0x24002400;
  __half2 power = __hmax2(*(__half2 *)&bits, *(__half2 *)&least);
  __half2 y = __hfma2(power, __hneg2(many), __hfma2(power, many, x));
  return *(uint32_t *)&y;
}

/* The bytes 0 and 2, 1 and 3 of E4M3 as fp16, 2⁻⁸ times as great. */
__device__ __forceinline__ uint32_t odd_halves(uint32_t w) { return (w >> 1 & 0x3f803f80) | (w & 0x80008000); }
__device__ __forceinline__ uint32_t even_halves(uint32_t w) { return odd_halves(w << 8); }

/* A panel of strips abreast, whose products do not wait for one another: of each 16 rows × 64 bytes, four columns in
 * each of a lane's words. */
template <int ABREAST>
__device__ __forceinline__ void panel_load(uint32_t (*w)[2][4], const uint8_t *const *piece, int panel, int lane) {
  int row = lane % 16;
  uint32_t base = row / 8 * 1024 + row % 8 * 128;
#pragma unroll
  for (int i = 0; i < 2 * ABREAST; i++)
    matrices_load(w[i / 2][i % 2],
                  shared_address(piece[i / 2]) + base + (((panel * 4 + i % 2 * 2 + lane / 16) ^ (row % 8)) << 4));
}

template <int STRIPS, int ABREAST> struct bytes_scheme {
  static constexpr int panels = 2, head = BYTES_HEAD, piece = PIECE;
  static constexpr int strips = STRIPS, abreast = ABREAST, buffers = 2, in_flight = 3, tiles = 1;
  template <int TILES> using between = nothing;
};

template <int STRIPS, int ABREAST> struct e4m3 : bytes_scheme<STRIPS, ABREAST> {
  typedef float sum;
  static constexpr float top = 448, unit = 256;
  template <int TILES> using operand = halves<TILES>;

  template <int TILES>
  static __device__ __forceinline__ void prepare(halves<TILES> &x, const fragments<TILES> &b, const float *inverse) {
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
      for (int i = 0; i < 8; i++) {
        uint32_t pair = i < 4 ? (&b.low[t].x)[i] : (&b.high[t].x)[i - 4];
        x.pair[t][i] = e4m3_round(low_of(pair) * inverse[t], high_of(pair) * inverse[t]);
      }
  }

  template <int TILES>
  static __device__ __forceinline__ void multiply(float (*sum)[TILES][4], const uint8_t *const *piece,
                                                  const halves<TILES> &x, int panel, int lane, nothing *) {
    uint32_t w[ABREAST][2][4];
    panel_load<ABREAST>(w, piece, panel, lane);
#pragma unroll
    for (int i = 0; i < 4 * ABREAST; i++) {
      int n = i % ABREAST, k = i / ABREAST;
      uint32_t upper = w[n][k / 2][k % 2 * 2], lower = w[n][k / 2][k % 2 * 2 + 1];
      uint32_t a[4] = {even_halves(upper), even_halves(lower), odd_halves(upper), odd_halves(lower)};
#pragma unroll
      for (int t = 0; t < TILES; t++) multiply_f16(sum[n][t], a, x.pair[t][2 * k], x.pair[t][2 * k + 1]);
    }
  }
};

template <int STRIPS, int ABREAST> struct int8 : bytes_scheme<STRIPS, ABREAST> {
  typedef int sum;
  static constexpr float top = 127, unit = 1;
  template <int TILES> using operand = quads<TILES>;

  /* A whole number in the low bits. */
  static __device__ __forceinline__ uint32_t round(float x, float inverse) {
    return __float_as_uint(__fmaf_rn(x, inverse, 12582912.f));
  }

  template <int TILES>
  static __device__ __forceinline__ void prepare(quads<TILES> &x, const fragments<TILES> &b, const float *inverse) {
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const uint32_t *from = i < 2 ? &b.low[t].x + i * 2 : &b.high[t].x + (i - 2) * 2;
        uint32_t first = __byte_perm(round(low_of(from[0]), inverse[t]), round(low_of(from[1]), inverse[t]), 0x0040);
        uint32_t second = __byte_perm(round(high_of(from[0]), inverse[t]), round(high_of(from[1]), inverse[t]), 0x0040);
        x.four[t][i] = __byte_perm(first, second, 0x5410);
      }
  }

  template <int TILES>
  static __device__ __forceinline__ void multiply(int (*sum)[TILES][4], const uint8_t *const *piece,
                                                  const quads<TILES> &x, int panel, int lane, nothing *) {
    uint32_t w[ABREAST][2][4];
    panel_load<ABREAST>(w, piece, panel, lane);
#pragma unroll
    for (int i = 0; i < 2 * ABREAST; i++)
#pragma unroll
      for (int t = 0; t < TILES; t++) {
        int n = i % ABREAST, k = i / ABREAST;
        multiply_int8(sum[n][t], w[n][k], x.four[t][2 * k], x.four[t][2 * k + 1]);
      }
  }
};

} // namespace

void cuda_bytes_few(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                    cuda_stream stream) {
  if (linear->matrix.kind == KIND_F8)
    chains_launch<e4m3<4, 2>>(linear, n, between, multiprocessors, stream);
  else
    chains_launch<int8<4, 2>>(linear, n, between, multiprocessors, stream);
}
