/* The arithmetic of the portable attention kernels, decode and prefill alike: packed queries of a KV head, in groups of
 * 16 rows, against tiles of 128 keys of a cache of 16 bits in panels (attend.cuh).
 *
 * Of 8 warps, each group of rows has 8 / GROUPS side by side. They share a tile's keys, 16 at a time in turn, when they
 * score them; maxima and weights meet in shared memory; then they share the head's dimensions, 8 at a time in turn,
 * when they sum values over all 128 keys. So the sums of a row run in the same order however many groups there are: a
 * token has the same bytes in a prompt, in a chunk or alone. */
#ifndef SPATE_BACKEND_CUDA_PORTABLE_ATTEND_TILE_CUH
#define SPATE_BACKEND_CUDA_PORTABLE_ATTEND_TILE_CUH

#include "backend/cuda/attend_parts.cuh"
#include "backend/cuda/portable/instructions.cuh"

#include <climits>

namespace portable {

enum { THREADS = WARPS * 32, STEP = 16 /* keys */, WEIGHT_STRIDE = ATTEND_TILE + 8 /* without bank conflicts */ };

template <typename ISA, int D, int GROUPS> struct shape {
  static constexpr int rows = GROUPS * ATTEND_PACKED, columns = WARPS / GROUPS; /* warps of a group */
  static constexpr int steps = ATTEND_TILE / STEP / columns;                    /* of a warp, in a tile */
  static constexpr int eights = (D / 8 + columns - 1) / columns;                /* dimensions of a warp, by 8 */
  static constexpr int query_bytes = rows * D * 2, weight_bytes = rows * WEIGHT_STRIDE * 2;
  static constexpr int meet_bytes = rows * columns * 4 + columns * rows * 16;
  static constexpr int fixed_bytes = query_bytes + weight_bytes + meet_bytes + (int)sizeof(work);
  static constexpr int room = ISA::shared_most - fixed_bytes;
  static constexpr int keys = room >= 2 * 64 * D * 2 ? 64 : 32; /* of a stage */
  static constexpr int stage_bytes = keys * D * 2, fit = room / stage_bytes, stages = fit < 4 ? fit : 4;
  static constexpr int parts = ATTEND_TILE / keys; /* stages of a tile's keys, and of its values */
  static constexpr int shared_bytes = stages * stage_bytes + fixed_bytes;
  static_assert(shared_bytes <= ISA::shared_most, "a block's shared memory");
  static_assert(stages * stage_bytes >= (int)sizeof(staged), "joining stages its rows of parts in the ring");
  static_assert(keys / STEP % columns == 0 || columns % (keys / STEP) == 0, "a warp's keys are in one stage of few");
};

template <typename ISA, int D, int GROUPS> struct shared {
  uint8_t *ring, *query;             /* [stages]; a panelled matrix of `rows` */
  float (*total)[4], *highest;       /* [columns × rows] of each quad; [rows][columns] */
  uint16_t (*weight)[WEIGHT_STRIDE]; /* [rows] */
  work *now;
};

template <typename S, typename ISA, int D, int GROUPS>
static __device__ __forceinline__ shared<ISA, D, GROUPS> shared_lay(uint8_t *base) {
  shared<ISA, D, GROUPS> m;
  m.ring = base;
  m.query = base + S::stages * S::stage_bytes;
  m.weight = (uint16_t(*)[WEIGHT_STRIDE])(m.query + S::query_bytes);
  m.total = (float(*)[4])((uint8_t *)m.weight + S::weight_bytes);
  m.highest = (float *)(m.total + S::columns * S::rows);
  m.now = (work *)(m.highest + S::rows * S::columns);
  return m;
}

/* --- copies ------------------------------------------------------------------------------------------------------- */

/* A thread's part of stage i of a segment: keys, then values, of tile after tile; zeros for what nobody sees, as 0 does
 * not cancel whatever may be there. */
template <typename ISA, int D, int GROUPS>
static __device__ __forceinline__ void stage_copy(const cuda_attend &a, const segment &s, const uint32_t *table,
                                                  int shift, int i, uint8_t *to) {
  using S = shape<ISA, D, GROUPS>;
  int which = i / S::parts % 2, key = (s.first_tile + i / (2 * S::parts)) * ATTEND_TILE + i % S::parts * S::keys;
#pragma unroll
  for (int c = threadIdx.x; c < S::keys * D / 8; c += THREADS) {
    int token = c / (D / 8), chunk = c % (D / 8), panel = chunk / 8, width = panel_width(D, panel), k = key + token;
    bool there = k >= s.seen.begin && k < s.seen.end;
    const __half *from = (const __half *)a.cache;
    if (there)
      from += block_index(a, table[k >> shift], s.head, which) + panel * 64 * a.block_size +
              (k & a.block_size - 1) * width + chunk % 8 * 8;
    ISA::copy(to + panel * 128 * S::keys + token * width * 2 + chunk % 8 * 16, from, there);
  }
}

/* The segment's queries; zeros where there are no more. */
template <typename ISA, int D, int GROUPS>
static __device__ void queries_load(const cuda_attend &a, const segment &s, uint8_t *query) {
  int g = queries_of(a);
  for (int i = threadIdx.x; i < shape<ISA, D, GROUPS>::rows * D / 8; i += THREADS) {
    int row = i / (D / 8), d = i % (D / 8) * 8, packed = s.chunk * ATTEND_PACKED + row, token = packed / g;
    uint4 x = make_uint4(0, 0, 0, 0);
    if (token < s.r.count)
      x = *(const uint4 *)(a.query + ((size_t)(s.r.first + token) * a.n_head + s.head * g + packed % g) * D + d);
    *(uint4 *)((__half *)query + panel_index(D, shape<ISA, D, GROUPS>::rows, row, d)) = x;
  }
}

/* --- scores ------------------------------------------------------------------------------------------------------- */

/* What a lane knows about its two rows, lane / 4 and + 8 of the group's. */
struct rows {
  span seen[2], inner;         /* inner: what all of the group's rows see */
  float highest[2], shrink[2]; /* of the piece; by what sums before the tile are multiplied */
};

/* Rows that there are not see everything: what becomes of them nobody asks. */
static __device__ void rows_fill(const cuda_attend &a, const cuda_batch &batch, const segment &s, int group, rows *r) {
  int begin = 0, end = INT_MAX;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int token = ((s.chunk + group) * ATTEND_PACKED + threadIdx.x % 32 / 4 + i * 8) / queries_of(a);
    r->seen[i] = token < s.r.count ? token_span(a, batch, s.r, token) : span{0, INT_MAX};
    begin = max(begin, r->seen[i].begin);
    end = min(end, r->seen[i].end);
  }
  for (int step = 16; step > 0; step /= 2) {
    begin = max(begin, __shfl_xor_sync(0xffffffffu, begin, step));
    end = min(end, __shfl_xor_sync(0xffffffffu, end, step));
  }
  r->inner = span{begin, end};
}

/* The warp's steps among the keys of a stage. */
template <typename ISA, int D, int GROUPS>
static __device__ __forceinline__ void keys_multiply(float score[][2][4], uint32_t query, uint32_t stage, int part) {
  using S = shape<ISA, D, GROUPS>;
  int lane = threadIdx.x % 32, column = threadIdx.x / 32 % S::columns, half = lane / 8 % 2;
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
    int panel = k / 4, width = panel_width(D, panel), chunk = k % 4 * 2;
    int row = threadIdx.x / 32 / S::columns * ATTEND_PACKED + lane % 16;
    uint32_t q[4], b[4];
    matrices_load(q, query + panel * 128 * S::rows + row * width * 2 +
                         ((chunk + lane / 16 ^ panel_swizzle(width, row)) << 4));
#pragma unroll
    for (int i = 0; i < S::steps; i++) {
      int key = (i * S::columns + column) * STEP - part * S::keys, r = key + lane / 16 * 8 + lane % 8;
      if (key < 0 || key >= S::keys) continue;
      matrices_load(b, stage + panel * 128 * S::keys + r * width * 2 + ((chunk + half ^ panel_swizzle(width, r)) << 4));
      ISA::multiply(score[i][0], q, b[0], b[1]);
      ISA::multiply(score[i][1], q, b[2], b[3]);
    }
  }
}

/* key: of the step, for this lane. */
static __device__ __forceinline__ void scores_mask(const rows &r, int key, float score[2][4]) {
#pragma unroll
  for (int i = 0; i < 8; i++) {
    int k = key + i / 4 * 8 + i % 2;
    const span &seen = r.seen[i % 4 / 2];
    if (k < seen.begin || k >= seen.end) score[i / 4][i % 4] = -INFINITY;
  }
}

template <typename S>
static __device__ __forceinline__ void scores_settle(const cuda_attend &a, const segment &s, const rows &r, int key,
                                                     float score[][2][4]) {
  int lane = threadIdx.x % 32, column = threadIdx.x / 32 % S::columns;
  int packed = (s.chunk + threadIdx.x / 32 / S::columns) * ATTEND_PACKED + lane / 4;
  bool masked = key < r.inner.begin || key + ATTEND_TILE > r.inner.end;
#pragma unroll
  for (int i = 0; i < S::steps; i++) {
    if (a.softcap > 0)
#pragma unroll
      for (int k = 0; k < 8; k++) score[i][k / 4][k % 4] = score_cap(score[i][k / 4][k % 4], a.softcap);
    int first = key + (i * S::columns + column) * STEP + lane % 4 * 2;
    if (a.slope) scores_slope<2>(a, s.r, s.head, packed, first, score[i]);
    if (masked) scores_mask(r, first, score[i]);
  }
}

/* --- weights ------------------------------------------------------------------------------------------------------ */

/* The greatest of the tile, of each row, among all warps of the group. */
template <typename S>
static __device__ __forceinline__ void highest_meet(float *meet, rows *r, const float score[][2][4]) {
  int lane = threadIdx.x % 32, column = threadIdx.x / 32 % S::columns;
  int row = threadIdx.x / 32 / S::columns * ATTEND_PACKED + lane / 4;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float x = -INFINITY;
#pragma unroll
    for (int k = 0; k < S::steps * 4; k++) x = fmaxf(x, score[k / 4][k / 2 % 2][2 * i + k % 2]);
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
    if (lane % 4 == 0) meet[(row + i * 8) * S::columns + column] = x;
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float before = r->highest[i], x = before;
#pragma unroll
    for (int c = 0; c < S::columns; c++) x = fmaxf(x, meet[(row + i * 8) * S::columns + c]);
    r->highest[i] = x;
    r->shrink[i] = exp2_of(before - base_of(x));
  }
}

/* Halves added to halves, so that parts of the sum can be made apart. */
template <int N> static __device__ __forceinline__ float halves_sum(float x[N]) {
#pragma unroll
  for (int n = N / 2; n > 0; n /= 2)
#pragma unroll
    for (int i = 0; i < n; i++) x[i] += x[i + n];
  return x[0];
}

/* Weights of the warp's keys, for all warps of the group; and its part of their total. */
template <typename ISA, int D, int GROUPS>
static __device__ __forceinline__ void weights_store(const shared<ISA, D, GROUPS> &m, const rows &r,
                                                     const float score[][2][4]) {
  using S = shape<ISA, D, GROUPS>;
  int lane = threadIdx.x % 32, column = threadIdx.x / 32 % S::columns;
  int row = threadIdx.x / 32 / S::columns * ATTEND_PACKED + lane / 4;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float base = base_of(r.highest[i]), total[S::steps];
#pragma unroll
    for (int k = 0; k < S::steps; k++) {
      float x0 = exp2_of(score[k][0][2 * i] - base), x1 = exp2_of(score[k][0][2 * i + 1] - base);
      float x2 = exp2_of(score[k][1][2 * i] - base), x3 = exp2_of(score[k][1][2 * i + 1] - base);
      uint32_t *to = (uint32_t *)&m.weight[row + i * 8][(k * S::columns + column) * STEP + lane % 4 * 2];
      to[0] = ISA::cache::pair(x0, x1);
      to[4] = ISA::cache::pair(x2, x3);
      total[k] = (x0 + x1) + (x2 + x3);
    }
    m.total[column * S::rows + row + i * 8][lane % 4] = halves_sum<S::steps>(total);
  }
}

/* The group's first warp keeps the totals. */
template <typename ISA, int D, int GROUPS>
static __device__ __forceinline__ void totals_add(const shared<ISA, D, GROUPS> &m, const rows &r, float total[2]) {
  using S = shape<ISA, D, GROUPS>;
  int row = threadIdx.x / 32 / S::columns * ATTEND_PACKED + threadIdx.x % 32 / 4;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float x[S::columns];
#pragma unroll
    for (int c = 0; c < S::columns; c++) x[c] = m.total[c * S::rows + row + i * 8][threadIdx.x % 4];
    total[i] = __fmaf_rn(total[i], r.shrink[i], halves_sum<S::columns>(x));
  }
}

/* --- values ------------------------------------------------------------------------------------------------------- */

/* Adds weights × values of the warp's dimensions, of a stage. */
template <typename ISA, int D, int GROUPS>
static __device__ __forceinline__ void values_multiply(const shared<ISA, D, GROUPS> &m, uint32_t stage, int part,
                                                       float sum[][4]) {
  using S = shape<ISA, D, GROUPS>;
  int lane = threadIdx.x % 32, column = threadIdx.x / 32 % S::columns;
  int row = threadIdx.x / 32 / S::columns * ATTEND_PACKED + lane % 16;
  uint32_t weight = shared_address(&m.weight[row][part * S::keys + lane / 16 * 8]);
#pragma unroll
  for (int k = 0; k < S::keys / 32; k++) {
    uint32_t w[2][4], v[4];
    matrices_load(w[0], weight + k * 64);
    matrices_load(w[1], weight + k * 64 + 32);
    int r = k * 32 + lane;
#pragma unroll
    for (int e = 0; e < S::eights; e++) {
      int eight = e * S::columns + column, panel = eight / 8, width = panel_width(D, panel);
      if (D / 8 % S::columns && eight >= D / 8) continue;
      matrices_load_turned(v, stage + panel * 128 * S::keys + r * width * 2 +
                                  ((eight % 8 ^ panel_swizzle(width, lane)) << 4));
      ISA::multiply(sum[e], w[0], v[0], v[1]);
      ISA::multiply(sum[e], w[1], v[2], v[3]);
    }
  }
}

} // namespace portable

#endif
