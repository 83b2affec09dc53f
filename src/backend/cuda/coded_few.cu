/* Linears of 1 to 8 tokens over weights of 4 and 8 bits, tokens in bf16 (linear_few.cuh): weights become bf16 in
 * registers (coded_few.cuh), which is exact.
 *
 * Strips are multiplied two abreast, so that a matrix unit's results are not waited for. Issue slots of 16 rows × 64
 * columns: some 55 of 4 bits, 70 of 8, of four a cycle that a multiprocessor has while it gets some 13 bytes. */
#include "backend/cuda/coded_few.cuh"
#include "backend/cuda/linear_few.cuh"

namespace {

struct coded_scheme {
  typedef float sum;
  static constexpr int strips = 4, abreast = 2, buffers = 2, tiles = 1;
  static constexpr bool rounded = false;
  static constexpr float top = 0, unit = 1;
};

/* The operand of a panel's k-th step of 16 columns. */
template <int TILES> __device__ __forceinline__ const uint32_t *step_of(const fragments<TILES> &b, int tile, int k) {
  return (k < 2 ? &b.low[tile].x : &b.high[tile].x) + k % 2 * 2;
}

/* Eight bits with one scale a row, which products get at the end. */
template <typename CODE> struct byte_scheme : coded_scheme {
  static constexpr int panels = 2, head = BYTES_HEAD, piece = PIECE, in_flight = 3;
  template <int TILES> using operand = fragments<TILES>;
  template <int TILES> using between = nothing;

  template <int TILES>
  static __device__ __forceinline__ void prepare(fragments<TILES> &x, const fragments<TILES> &b, const float *) {
    x = b;
  }

  template <int TILES>
  static __device__ __forceinline__ void multiply(float (*sum)[TILES][4], const uint8_t *const *from,
                                                  const fragments<TILES> &b, int panel, int lane, nothing *) {
    int row = lane % 16;
    uint32_t at = row / 8 * 1024 + row % 8 * 128, w[abreast][2][4];
#pragma unroll
    for (int i = 0; i < 2 * abreast; i++)
      matrices_load(w[i / 2][i % 2],
                    shared_address(from[i / 2]) + at + (((panel * 4 + i % 2 * 2 + lane / 16) ^ (row % 8)) << 4));
#pragma unroll
    for (int i = 0; i < 4 * abreast; i++) {
      int n = i % abreast, k = i / abreast;
      uint32_t upper = w[n][k / 2][k % 2 * 2], lower = w[n][k / 2][k % 2 * 2 + 1];
      uint32_t a[4] = {CODE::even(upper), CODE::even(lower), CODE::odd(upper), CODE::odd(lower)};
#pragma unroll
      for (int t = 0; t < TILES; t++) multiply_bf16(sum[n][t], a, step_of(b, t, k)[0], step_of(b, t, k)[1]);
    }
  }
};

/* Tokens and, of a lane's two, the sums of each group's columns. */
template <int TILES, int GROUPS> struct summed {
  fragments<TILES> b;
  float sum[GROUPS][TILES][2];
};

/* Products of a group's columns so far, and those columns' sums. */
template <int TILES> struct raw {
  float sum[TILES][4], tokens[TILES][2];

  __device__ __forceinline__ void add(const float (*columns)[2], bool begins) {
#pragma unroll
    for (int i = 0; i < TILES * 2; i++)
      tokens[i / 2][i % 2] = begins ? columns[i / 2][i % 2] : tokens[i / 2][i % 2] + columns[i / 2][i % 2];
#pragma unroll
    for (int i = 0; i < TILES * 4; i++) sum[i / 4][i % 4] = begins ? 0 : sum[i / 4][i % 4];
  }

  __device__ __forceinline__ void scale(float (*total)[4], float4 by) const {
#pragma unroll
    for (int i = 0; i < TILES * 4; i++) {
      int t = i / 4, j = i % 4;
      float least = fmaf(j < 2 ? by.y : by.w, tokens[t][j % 2], total[t][j]);
      total[t][j] = fmaf(j < 2 ? by.x : by.z, sum[t][j], least);
    }
  }
};

/* Four bits with GROUPS scales for each 128 columns, with minima or 8 below. A piece is two of cuda_layout.h's. Codes
 * are multiplied as 128 + the code, and what that is too much is taken off by the tokens' sums. */
template <int GROUPS, bool MIN> struct nibble_scheme : coded_scheme {
  static constexpr int half = NIBBLES_CODES + GROUPS * (MIN ? 64 : 32); /* bytes */
  static constexpr int panels = 4, head = 0, piece = 2 * half, in_flight = 3;
  static constexpr int groups = GROUPS == 1 ? 1 : GROUPS / 2; /* of a panel */
  template <int TILES> using operand = summed<TILES, groups>;
  template <int TILES> using between = raw<TILES>;

  template <int TILES>
  static __device__ __forceinline__ void prepare(summed<TILES, groups> &x, const fragments<TILES> &b, const float *) {
    const uint32_t ones[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};
    x.b = b;
#pragma unroll
    for (int i = 0; i < groups * TILES; i++) {
      int g = i / TILES, t = i % TILES;
      float sum[4] = {};
#pragma unroll
      for (int k = g * 4 / groups; k < (g + 1) * 4 / groups; k++)
        multiply_bf16(sum, ones, step_of(b, t, k)[0], step_of(b, t, k)[1]);
      x.sum[g][t][0] = sum[0], x.sum[g][t][1] = sum[1];
    }
  }

  /* Of the lane's two rows, the scale and what is added for each 1 of a token's sum. */
  static __device__ __forceinline__ float4 scales_load(const uint8_t *scales, int lane) {
    if (MIN) {
      uint2 x = *(const uint2 *)(scales + lane / 4 * 8);
      float2 low = __half22float2(*(__half2 *)&x.x), high = __half22float2(*(__half2 *)&x.y);
      return {low.x, low.y - 128 * low.x, high.x, high.y - 128 * high.x};
    }
    float2 scale = __half22float2(*(const __half2 *)(scales + lane / 4 * 4));
    return {scale.x, -136 * scale.x, scale.y, -136 * scale.y};
  }

  /* A group of 128 columns is two panels: its products are scaled after the second. */
  template <int TILES>
  static __device__ __forceinline__ void multiply(float (*total)[TILES][4], const uint8_t *const *from,
                                                  const summed<TILES, groups> &x, int panel, int lane,
                                                  raw<TILES> *between) {
    uint4 word[abreast];
#pragma unroll
    for (int n = 0; n < abreast; n++) word[n] = ((const uint4 *)(from[n] + panel / 2 * half))[panel % 2 * 32 + lane];
#pragma unroll
    for (int g = 0; g < groups; g++) {
      bool begins = GROUPS > 1 || panel % 2 == 0, ends = GROUPS > 1 || panel % 2 == 1;
#pragma unroll
      for (int n = 0; n < abreast; n++) between[n].add(x.sum[g], begins);
#pragma unroll
      for (int i = g * 4 / groups * abreast; i < (g + 1) * 4 / groups * abreast; i++) {
        int n = i % abreast, k = i / abreast;
        uint32_t w = (&word[n].x)[k], a[4];
#pragma unroll
        for (int j = 0; j < 4; j++) a[j] = coded::bits_merge(w >> 4 * j, 0x000f000f, 0x43004300);
#pragma unroll
        for (int t = 0; t < TILES; t++)
          multiply_bf16(between[n].sum[t], a, step_of(x.b, t, k)[0], step_of(x.b, t, k)[1]);
      }
#pragma unroll
      for (int n = 0; n < abreast && ends; n++) {
        const uint8_t *scales = from[n] + panel / 2 * half + NIBBLES_CODES;
        between[n].scale(total[n],
                         scales_load(scales + (GROUPS == 1 ? 0 : panel % 2 * groups + g) * (MIN ? 64 : 32), lane));
      }
    }
  }
};

template <int GROUPS>
void nibbles_launch(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                    cuda_stream stream) {
  if (linear->matrix.has_min)
    chains_launch<nibble_scheme<GROUPS, true>>(linear, n, between, multiprocessors, stream);
  else
    chains_launch<nibble_scheme<GROUPS, false>>(linear, n, between, multiprocessors, stream);
}

} // namespace

void cuda_coded_few(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                    cuda_stream stream) {
  const struct cuda_matrix &m = linear->matrix;
  if (m.kind == KIND_F8)
    chains_launch<byte_scheme<coded::e4m3>>(linear, n, between, multiprocessors, stream);
  else if (m.bytes)
    chains_launch<byte_scheme<coded::int8>>(linear, n, between, multiprocessors, stream);
  else if (m.group == 128)
    nibbles_launch<1>(linear, n, between, multiprocessors, stream);
  else
    nibbles_launch<4>(linear, n, between, multiprocessors, stream);
}
