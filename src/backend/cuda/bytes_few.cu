/* Linears of few tokens over E4M3 and int8 weights with one scale a row, whose tokens have eight bits too
 * (linear_few.cuh).
 *
 * int8 multiplies int8, exactly; a token's scale follows from its greatest magnitude. Hopper's mma.sync has no E4M3:
 * codes become bf16 in registers, and tokens bf16 of three bits beside the first. Those are what E4M3 makes of a token
 * whose scale is a power of two, whichever: none has to be known, and no token is too great or small. */
#include "backend/cuda/coded_few.cuh"
#include "backend/cuda/linear_few.cuh"

namespace {

/* A panel's operands of the tokens: pairs of bf16, or four int8 where a fragment has two pairs. */
template <int TILES> struct pairs { uint32_t pair[TILES][8]; };
template <int TILES> struct quads { uint32_t four[TILES][4]; };

__device__ __forceinline__ float low_of(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_of(uint32_t pair) { return __uint_as_float(pair & 0xffff0000); }

/* bf16 to three bits beside the first, halves to even. */
__device__ __forceinline__ uint32_t pair_shorten(uint32_t pair) {
  return (pair + 0x00070007 + (pair >> 4 & 0x00010001)) & 0xfff0fff0;
}

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
  static constexpr int strips = STRIPS, abreast = ABREAST, buffers = 2, rolled = 0, in_flight = 3, tiles = 1;
  static constexpr bool rounded = true;
  template <int TILES> using between = nothing;
};

template <int STRIPS, int ABREAST> struct e4m3 : bytes_scheme<STRIPS, ABREAST> {
  typedef float sum;
  static constexpr float top = 0, unit = 1;
  template <int TILES> using operand = pairs<TILES>;

  template <int TILES>
  static __device__ __forceinline__ void prepare(pairs<TILES> &x, const fragments<TILES> &b, const float *) {
#pragma unroll
    for (int i = 0; i < TILES * 8; i++)
      x.pair[i / 8][i % 8] = pair_shorten((&(i % 8 < 4 ? b.low : b.high)[i / 8].x)[i % 4]);
  }

  template <int TILES>
  static __device__ __forceinline__ void multiply(float (*sum)[TILES][4], const uint8_t *const *piece,
                                                  const pairs<TILES> &x, int panel, int lane, nothing *) {
    uint32_t w[ABREAST][2][4];
    panel_load<ABREAST>(w, piece, panel, lane);
#pragma unroll
    for (int i = 0; i < 4 * ABREAST; i++) {
      int n = i % ABREAST, k = i / ABREAST;
      uint32_t upper = w[n][k / 2][k % 2 * 2], lower = w[n][k / 2][k % 2 * 2 + 1];
      uint32_t a[4] = {coded::e4m3::even(upper), coded::e4m3::even(lower), coded::e4m3::odd(upper),
                       coded::e4m3::odd(lower)};
#pragma unroll
      for (int t = 0; t < TILES; t++) multiply_bf16(sum[n][t], a, x.pair[t][2 * k], x.pair[t][2 * k + 1]);
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
