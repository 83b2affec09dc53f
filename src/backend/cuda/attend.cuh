/* What the kernels of attention share: where a number of the cache is, which keys a query sees, and the arithmetic of
 * the softmax, which must be the same to the byte in all of them. */
#ifndef SPATE_BACKEND_CUDA_ATTEND_CUH
#define SPATE_BACKEND_CUDA_ATTEND_CUH

#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/instructions.cuh"

#include <cuda_fp16.h>

static constexpr float LOG2_E = 1.44269504088896341f;

/* What scores of a token at an index of its row are multiplied with where they grow. */
static __device__ __forceinline__ float query_growth(const cuda_attend &a, int position) {
  return 1 + a.grow * logf((float)(1 + position / a.grow_from));
}

/* --- the cache in panels ------------------------------------------------------------------------------------------
 * The keys of a block, and its values, are panels of 64 dimensions and, where 64 does not divide the head, one of 32 or
 * 16. A panel has a row of 128 (64, 32) bytes for each token, in Hopper's swizzle of that width: the order in which
 * matrix units want an operand in shared memory. Any 8 tokens of a panel are contiguous. */

static __host__ __device__ constexpr int panels_of(int dim) { return (dim + 63) / 64; }
static __host__ __device__ constexpr int panel_width(int dim, int panel) {
  return dim - panel * 64 < 64 ? dim - panel * 64 : 64;
}

/* By what the 16-byte chunks of a token's row are permuted (xor). */
static __device__ __forceinline__ int panel_swizzle(int width, int token) {
  return width == 64 ? token & 7 : width == 32 ? token >> 1 & 3 : token >> 2 & 1;
}

/* Of dimension d of a token among `tokens` of a panelled matrix. */
static __device__ __forceinline__ int panel_index(int dim, int tokens, int token, int d) {
  int panel = d / 64, width = panel_width(dim, panel), chunk = d % 64 / 8;
  return panel * 64 * tokens + token * width + (chunk ^ panel_swizzle(width, token)) * 8 + d % 8;
}

/* Query heads of a KV head. */
static __device__ __forceinline__ int queries_of(const cuda_attend &a) { return a.n_head / a.n_kv_head; }

static __device__ __forceinline__ const uint32_t *table_of(const cuda_attend &a, const cuda_batch &batch,
                                                           const cuda_row &r) {
  return batch.tables + r.table + (size_t)a.group * r.table_size;
}

/* First number of a block's keys (0) or values (1). */
static __device__ __forceinline__ size_t block_index(const cuda_attend &a, uint32_t block, int head, int which) {
  size_t per_head = (size_t)a.block_size * (a.dim_k + a.dim_v);
  return (((size_t)block * a.n_layer + a.layer) * a.n_kv_head + head) * per_head +
         (which ? (size_t)a.block_size * a.dim_k : 0);
}

/* --- where a token is ----------------------------------------------------------------------------------------------
 */

/* What its angle for a frequency is a multiple of. */
static __device__ __forceinline__ int token_place(const int32_t *place, const cuda_row &r, int token,
                                                  const uint8_t *axis, int frequency) {
  int of = axis ? axis[frequency] : AXIS_INDEX;
  return r.length + (of == AXIS_INDEX ? token - r.first : place[3 * token + of]);
}

/* --- what a query sees -------------------------------------------------------------------------------------------- */

/* Keys [begin, end). */
struct span {
  int begin, end;
};

static __device__ __forceinline__ span token_span(const cuda_attend &a, const cuda_batch &batch, const cuda_row &r,
                                                  int token) {
  int position = r.length + token;
  span s = {a.window > 0 && position >= a.window ? position - a.window + 1 : 0, position + 1};
  if (batch.see) s.end = r.length + batch.see[r.first + token] + 1;
  if (a.window < 0) s.begin = max(0, position + a.window + 1), s.end = min(s.end, position - a.window);
  return s;
}

/* Of an image, which is a row: all of it or, in local attention, a run. */
static __device__ __forceinline__ span patch_span(const cuda_attend &a, const cuda_row &r, int token) {
  if (!a.places.span) return span{0, r.count};
  int2 seen = ((const int2 *)a.places.span)[r.first + token];
  return span{seen.x, seen.y + 1};
}

/* Of the tokens first … last together. In a window to both sides, and where the last one sees the row's end, no other
 * sees further. */
static __device__ __forceinline__ span tokens_span(const cuda_attend &a, const cuda_batch &batch, const cuda_row &r,
                                                   int first, int last) {
  span s = token_span(a, batch, r, first);
  s.end = token_span(a, batch, r, last).end;
  if (batch.see && a.window >= 0 && s.end < r.length + r.count)
    for (int t = first; t < last; t++) s.end = max(s.end, token_span(a, batch, r, t).end);
  return s;
}

/* --- softmax -------------------------------------------------------------------------------------------------------
 * Scores are logarithms to base 2. Of a row in a piece: the maximum so far; a lane's total of weights, of the keys
 * whose number modulo 8 is its quad's columns; sums of values, relative to the maximum. */

/* With a softcap queries have not been multiplied by log2 e. tanh x = 1 − 2 ÷ (e^2x + 1). */
static __device__ __forceinline__ float score_cap(float score, float softcap) {
  float e = exp2_of(__fmul_rn(score, 2 * LOG2_E / softcap));
  return __fmul_rn(softcap * LOG2_E, __fsub_rn(1, __fdividef(2, __fadd_rn(e, 1))));
}

/* Of the scores of the two rows that a lane has, N keys each: score[n][2 × row + k] is the key `key` + 8 × n + k. The
 * first of the rows is the KV head's packed query `packed`, the other is 8 behind it. Slopes and places are found again
 * for each tile, so that attention without any keeps no registers for them. A distance is exact, as a float. */
template <int N>
static __device__ __forceinline__ void scores_slope(const cuda_attend &a, const cuda_row &r, int kv_head, int packed,
                                                    int key, float (*score)[4]) {
  int g = queries_of(a);
#pragma unroll
  for (int row = 0; row < 2; row++) {
    int query = packed + row * 8;
    float slope = __fmul_rn(a.slope[kv_head * g + query % g], -LOG2_E), ahead = (float)(r.length + query / g - key);
#pragma unroll
    for (int i = 0; i < 2 * N; i++) {
      float *s = &score[i / 2][2 * row + i % 2];
      *s = __fmaf_rn(slope, ahead - (float)(i / 2 * 8 + i % 2), *s);
    }
  }
}

/* What weights are relative to: finite, also where nothing is seen. */
static __device__ __forceinline__ float base_of(float highest) { return highest == -INFINITY ? 0 : highest; }

/* Joins a piece's sums to those of the pieces before it: factors of the sums before and of the piece's. */
static __device__ __forceinline__ float2 join_factors(float *highest, float piece) {
  float before = *highest;
  *highest = fmaxf(before, piece);
  float base = base_of(*highest);
  return make_float2(exp2_of(before - base), exp2_of(piece - base));
}

static __device__ __forceinline__ float join(float sum, float piece, float2 factor) {
  return __fmaf_rn(piece, factor.y, __fmul_rn(sum, factor.x));
}

/* What a row's sums are multiplied by at last, from its total of all lanes. */
static __device__ __forceinline__ float row_factor(const cuda_attend &a, int head, float highest, float total) {
  if (!a.sink) return total > 0 ? 1 / total : 0; /* 0: it sees nothing */
  float sink = a.sink[head] * LOG2_E, base = fmaxf(highest, sink), shrink = exp2_of(highest - base);
  total = __fmaf_rn(total, shrink, exp2_of(sink - base));
  return shrink / total;
}

#endif
