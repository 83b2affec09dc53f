/* KV caches of codes of 8 bits with a scale for each token of a head: storing them, multiplying them in decode
 * attention, widening them for prefill attention. Either way a number is the same fp16: its code × its scale.
 *
 * Tokens are in groups of 16, whatever the block: 16 dimensions of a token are 16 bytes, those of a group's tokens
 * follow one another, and after all dimensions come the tokens' scales, floats. Of 16 dimensions bytes 2p and 2p + 1
 * are p and p + 8: so bytes 0 and 2, 1 and 3 of a word are neighbours in an operand of the matrix units, also where
 * these have transposed pairs of bytes. Integers are kept plus 128, their scales times 128, those of E4M3 times
 * 256. */
#ifndef SPATE_BACKEND_CUDA_ATTEND_CODES_CUH
#define SPATE_BACKEND_CUDA_ATTEND_CODES_CUH

#include "backend/cuda/attend_type.cuh"
#include "backend/cuda/peak.cuh"

static constexpr float PEAK_LEAST = 1e-30f; /* KV_PEAK_LEAST */

/* Bytes before the token's group; a token's 16 codes from dimension 16 × chunk on; its scale. */
static __device__ __forceinline__ int group_index(int dim, int token) {
  return token / CODE_TOKENS * (CODE_TOKENS * (dim + 4));
}

template <typename B> static __device__ __forceinline__ B *code_at(int dim, B *codes, int token, int chunk) {
  return codes + group_index(dim, token) + (chunk * CODE_TOKENS + token % CODE_TOKENS) * 16;
}

static __device__ __forceinline__ float *scale_at(int dim, const uint8_t *codes, int token) {
  return (float *)(codes + group_index(dim, token) + CODE_TOKENS * dim) + token % CODE_TOKENS;
}

/* A token's floats to their place. A warp. */
template <typename T>
static __device__ __forceinline__ void codes_store(int dim, uint8_t *to, int token, const float *head) {
  float peak = 0;
  for (int i = threadIdx.x % 32; i < dim; i += 32) peak = peak_of(peak, fabsf(head[i]));
  for (int step = 16; step > 0; step /= 2) peak = peak_of(peak, __shfl_xor_sync(0xffffffffu, peak, step));
  bool nothing = peak <= PEAK_LEAST;
  float inverse = nothing ? 0 : T::most / peak;
  for (int w = threadIdx.x % 32; w < dim / 4; w += 32) {
    const float *x = head + w / 4 * 16 + w % 4 * 2;
    *(uint32_t *)(code_at(dim, to, token, w / 4) + w % 4 * 4) = T::code(x[0] * inverse) | T::code(x[8] * inverse) << 8 |
                                                                T::code(x[1] * inverse) << 16 |
                                                                T::code(x[9] * inverse) << 24;
  }
  if (threadIdx.x % 32 == 0) *scale_at(dim, to, token) = nothing ? 0 : peak / T::most * T::unit;
}

/* A head of a key or a value to its place among so many tokens. A warp. */
template <typename T>
static __device__ __forceinline__ void head_store(int dim, int tokens, uint8_t *to, int token, const float *head) {
  if constexpr (T::coded) {
    codes_store<T>(dim, to, token, head);
  } else {
    for (int i = threadIdx.x % 32; i < dim / 2; i += 32)
      *(uint32_t *)((uint16_t *)to + panel_index(dim, tokens, token, 2 * i)) = T::pair(head[2 * i], head[2 * i + 1]);
  }
}

/* Decode: scores of a warp's 16 keys, which are one group, as keys_multiply has them. */
template <typename T, int D>
static __device__ __forceinline__ void codes_multiply(float score[2][4], uint32_t query, const uint8_t *group) {
  int lane = threadIdx.x % 32;
  const float *scales = scale_at(D, group, lane / 4);
  uint32_t scale[2] = {T::pair(scales[0], scales[0]), T::pair(scales[8], scales[8])};
  uint32_t b[4] = {};
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
    int panel = k / 4, width = panel_width(D, panel), chunk = k % 4 * 2;
    uint32_t q[4];
    matrices_load(q, query + panel * 128 * ATTEND_PACKED + lane % 16 * width * 2 +
                         ((chunk + lane / 16 ^ panel_swizzle(width, lane % 16)) << 4));
    if (k % 2 == 0) /* 16 keys of 32 dimensions, of the last 16 twice */
      matrices_load(b, shared_address(code_at(D, group, lane % 16, min(k + lane / 16, D / 16 - 1))));
#pragma unroll
    for (int i = 0; i < 2; i++) {
      uint32_t even, odd;
      T::widen(b[k % 2 * 2 + i], &even, &odd);
      T::multiply(score[i], q, T::scaled(even, scale[i]), T::scaled(odd, scale[i]));
    }
  }
}

/* Decode: adds weights × values of the warp's dimensions, 16 neighbours of each 128. weights: the lane's 8 of the first
 * 16 keys', others following. */
template <typename T, int D>
static __device__ __forceinline__ void codes_add(const uint16_t *weights, const uint8_t *stage, float sum[][4]) {
  constexpr int warps = 8;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint32_t weight = shared_address(weights);
#pragma unroll
  for (int k = 0; k < ATTEND_TILE / 32; k++) {
    uint32_t w[2][4], v[4], scale[4];
    matrices_load(w[0], weight + k * 64);
    matrices_load(w[1], weight + k * 64 + 32);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float2 two = *(const float2 *)scale_at(D, stage, k * 32 + i * 8 + lane % 4 * 2);
      scale[i] = T::pair(two.x, two.y);
    }
#pragma unroll
    for (int e = 0; e / 2 * warps < D / 16; e += 2) {
      int chunk = e / 2 * warps + warp;
      if (chunk * 16 >= D) continue;
      matrices_load_turned(v, shared_address(code_at(D, stage, k * 32 + lane, chunk)));
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        uint32_t even[2], odd[2];
        T::widen(v[i], &even[0], &odd[0]);
        T::widen(v[i + 1], &even[1], &odd[1]);
        T::multiply(sum[e], w[i / 2], T::scaled(even[0], scale[i]), T::scaled(even[1], scale[i + 1]));
        T::multiply(sum[e + 1], w[i / 2], T::scaled(odd[0], scale[i]), T::scaled(odd[1], scale[i + 1]));
      }
    }
  }
}

/* Prefill: COUNT times 16 dimensions from `first` on, of TOKENS × 64 tokens from `token` on, to fp16 in panels, by two
 * warps. MEET: all codes are read before any place is written, by a barrier of theirs. */
template <typename T, int D, bool MEET, int COUNT, int TOKENS>
static __device__ __forceinline__ void codes_widen(const uint8_t *codes, uint8_t *tile, int barrier, int first,
                                                   int token) {
  uint4 code[TOKENS][COUNT];
  uint32_t scale[TOKENS];
  token += threadIdx.x % 64;
#pragma unroll
  for (int t = 0; t < TOKENS; t++) {
    float x = *scale_at(D, codes, token + t * 64);
    scale[t] = T::pair(x, x);
#pragma unroll
    for (int c = 0; c < COUNT; c++) code[t][c] = *(const uint4 *)code_at(D, codes, token + t * 64, first + c);
  }
  if constexpr (MEET) asm volatile("bar.sync %0, 64;" ::"r"(barrier) : "memory");
#pragma unroll
  for (int t = 0; t < TOKENS; t++)
#pragma unroll
    for (int c = 0; c < COUNT; c++) {
      const uint32_t word[4] = {code[t][c].x, code[t][c].y, code[t][c].z, code[t][c].w};
      uint32_t even[4], odd[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        T::widen(word[i], &even[i], &odd[i]);
        even[i] = T::scaled(even[i], scale[t]), odd[i] = T::scaled(odd[i], scale[t]);
      }
      uint16_t *to = (uint16_t *)tile;
      int d = (first + c) * 16, row = token + t * 64;
      *(uint4 *)(to + panel_index(D, ATTEND_TILE, row, d)) = make_uint4(even[0], even[1], even[2], even[3]);
      *(uint4 *)(to + panel_index(D, ATTEND_TILE, row, d + 8)) = make_uint4(odd[0], odd[1], odd[2], odd[3]);
    }
}

/* A tile. Where codes end where the tile does (WITHIN), a panel, or half of one, is written over those that have been
 * read: of heads of 128 each half of the second panel lies on its own tokens' codes, and on the first panel's of the
 * next 16. */
template <typename T, int D, bool WITHIN>
static __device__ __forceinline__ void tile_widen(const uint8_t *codes, uint8_t *tile, int barrier) {
  static_assert(!WITHIN || D == 128 || D == 256, "how codes and panels lie on each other");
  constexpr int together = D < 128 ? 1 : 4, end = D < 256 ? D / 16 : 8;
  for (int i = 0; i < end; i += together) {
    codes_widen<T, D, WITHIN, together, 1>(codes, tile, barrier, i, 0);
    codes_widen<T, D, WITHIN, together, 1>(codes, tile, barrier, i, 64);
  }
  if constexpr (D == 256) codes_widen<T, D, WITHIN, 8, 2>(codes, tile, barrier, 8, 0);
  shared_writes_publish();
}

#endif
