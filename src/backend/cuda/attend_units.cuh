/* Prefill attention over a cache of any 16 or 8 bits (attend_type.cuh), for rows of the batch with many tokens: 128
 * packed queries of a KV head (heads of 256: 64) on Hopper's asynchronous matrix units, which bound it.
 *
 * A block per multiprocessor takes units in turn, long ones first. A warpgroup keeps bulk copies of tiles of 128 keys
 * and values in flight; each of two others has 64 queries. While the units multiply a tile's weights with its values,
 * and the next tile's keys with the queries, the warpgroup makes the next tile's weights, and the two take turns (Shah
 * et al., "FlashAttention-3", 2024). The arithmetic is decode attention's, to the byte: one step of the softmax for a
 * tile, and after each piece of 256 keys its sums are joined to those of the pieces before, which lie in shared memory.
 *
 * Codes come into the end of the place that they are widened in, by the warps that copy: two for keys, two for values.
 *
 * WHOLE: of images, whose tokens see their whole row or a run of it, in one piece; a head is dim_v wide and has room
 * for D, and results go to tiles as the next linear wants them. */
#ifndef SPATE_BACKEND_CUDA_ATTEND_UNITS_CUH
#define SPATE_BACKEND_CUDA_ATTEND_UNITS_CUH

#include "backend/cuda/attend_distances.h"
#include "backend/cuda/attend_tiles.cuh"
#include "backend/cuda/image_chunks.cuh"

#include <type_traits>

namespace {

using namespace attend_tiles;

/* Of scores that gain by distance. Kernels take this or a cuda_attend. */
struct attend_apart : cuda_attend {
  cuda_distances distances;
};

/* --- a warpgroup's work ------------------------------------------------------------------------------------------- */

__device__ __forceinline__ void group_meet(int group) { asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory"); }

/* The warpgroup's 64 queries, two threads for each; zeros where there are no more. All are asked for at once. */
template <int D> __device__ void queries_load(const cuda_attend &a, const unit &u, const shared<D> &m, int group) {
  int g = queries_of(a), row = group * 64 + threadIdx.x % 128 / 2, half = threadIdx.x % 2;
  int packed = u.first + row, token = packed / g;
  const uint16_t *from = a.query + ((size_t)(u.r.first + token) * a.n_head + u.head * g + packed % g) * D;
  uint4 x[D / 16];
#pragma unroll
  for (int i = 0; i < D / 16; i++)
    x[i] = token < u.r.count ? *(const uint4 *)(from + (i * 2 + half) * 8) : make_uint4(0, 0, 0, 0);
#pragma unroll
  for (int i = 0; i < D / 16; i++)
    *(uint4 *)((__half *)m.query + panel_index(D, shape<D>::rows, row, (i * 2 + half) * 8)) = x[i];
  shared_writes_publish();
  group_meet(group);
}

template <typename T, int D>
__device__ __forceinline__ void keys_multiply(float (&score)[64], uint32_t query, uint32_t keys, int group) {
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
    int panel = k / 4, width = panel_width(D, panel), at = k % 4 * 32;
    product_scores<T>(
        score, operand(query + panel * 128 * shape<D>::rows + group * 64 * width * 2 + at, width, width * 16, 16),
        operand(keys + panel * 128 * ATTEND_TILE + at, width, width * 16, 16), k > 0);
  }
}

/* Sums of a thread: rows lane / 4 and + 8 of its warp's 16; a last panel of 16 or 32 dimensions has its own. */
template <int D> struct sums {
  static constexpr int wide = D % 128 == 64 || D < 128 ? 64 : 128; /* dimensions of a product */
  static constexpr int count = D / wide, rest = D % wide;
  float sum[count][wide / 2];
  float tail[rest ? rest / 2 : 1];
};

template <int D> __device__ __forceinline__ void sums_settle(sums<D> &s) {
#pragma unroll
  for (int i = 0; i < sums<D>::count; i++) registers_settle(s.sum[i]);
  registers_settle(s.tail);
}

template <typename T, int D>
__device__ __forceinline__ void values_multiply(sums<D> &s, const uint32_t weight[8][4], uint32_t values, int add) {
  constexpr int wide = sums<D>::wide, rest = sums<D>::rest;
#pragma unroll
  for (int k = 0; k < ATTEND_TILE / 16; k++) {
#pragma unroll
    for (int i = 0; i < sums<D>::count; i++)
      product_values<T>(s.sum[i], weight[k],
                        operand(values + i * wide * 2 * ATTEND_TILE + k * 2048, 64, 1024, 128 * ATTEND_TILE),
                        add || k > 0);
    if constexpr (rest > 0)
      product_values<T>(s.tail, weight[k],
                        operand(values + D / 64 * 128 * ATTEND_TILE + k * rest * 32, rest, rest * 16, 16),
                        add || k > 0);
  }
}

template <int D> __device__ __forceinline__ float &sum_at(sums<D> &s, int i) {
  constexpr int n = sums<D>::wide / 2;
  return i < sums<D>::count * n ? s.sum[i / n][i % n] : s.tail[i - sums<D>::count * n];
}

/* What a thread knows about its two rows; `piece`: of the piece at hand, `all`: of those before it. */
struct rows {
  span seen[2];
  float highest[2], total[2];         /* piece */
  float all_highest[2], all_total[2]; /* all */
};

template <bool WHOLE>
__device__ void rows_fill(const cuda_attend &a, const cuda_batch &batch, const unit &u, int group, rows *r) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int row = group * 64 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4 + i * 8;
    int token = (u.first + row) / queries_of(a);
    r->seen[i] = span{0, 0};
    if (token < u.r.count) r->seen[i] = WHOLE ? patch_span(a, u.r, token) : token_span(a, batch, u.r, token);
    r->highest[i] = r->all_highest[i] = -INFINITY;
    r->total[i] = r->all_total[i] = 0;
  }
}

__device__ __forceinline__ void scores_mask(const rows &r, int key, float (&score)[64]) {
#pragma unroll
  for (int i = 0; i < 64; i++) {
    int k = key + i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2;
    const span &seen = r.seen[i % 4 / 2];
    if (k < seen.begin || k >= seen.end) score[i] = -INFINITY;
  }
}

/* Scores become weights; by what sums before are to be multiplied. */
__device__ __forceinline__ void weights_make(rows *r, float (&score)[64], float shrink[2]) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float x = -INFINITY, total[8];
#pragma unroll
    for (int n = 0; n < 16; n++) x = fmaxf(x, fmaxf(score[4 * n + 2 * i], score[4 * n + 2 * i + 1]));
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
    float before = r->highest[i];
    r->highest[i] = fmaxf(before, x);
    float base = base_of(r->highest[i]);
    shrink[i] = exp2_of(before - base);
#pragma unroll
    for (int w = 0; w < 8; w++) {
      float *s = &score[8 * w + 2 * i];
      s[0] = exp2_of(s[0] - base), s[1] = exp2_of(s[1] - base);
      s[4] = exp2_of(s[4] - base), s[5] = exp2_of(s[5] - base);
      total[w] = (s[0] + s[1]) + (s[4] + s[5]);
    }
    float tile = ((total[0] + total[1]) + (total[2] + total[3])) + ((total[4] + total[5]) + (total[6] + total[7]));
    r->total[i] = __fmaf_rn(r->total[i], shrink[i], tile);
  }
}

/* A branch that no total of weights takes: without one the compiler makes the weights only after the wait that follows,
 * when the units have nothing to do. */
__device__ __forceinline__ void weights_settle(const rows &r) {
  if (__any_sync(0xffffffffu, fminf(r.total[0], r.total[1]) < 0)) __trap();
}

/* As the A operand of 16 keys each. */
template <typename T> __device__ __forceinline__ void weights_pack(uint32_t weight[8][4], const float (&score)[64]) {
#pragma unroll
  for (int i = 0; i < 32; i++) weight[i / 4][i % 4] = T::pair(score[2 * i], score[2 * i + 1]);
}

struct piece {
  float highest[2], total[2];
};

/* The piece at hand; where `end`, the next begins. */
__device__ __forceinline__ piece piece_take(rows *r, bool end) {
  piece p = {{r->highest[0], r->highest[1]}, {r->total[0], r->total[1]}};
#pragma unroll
  for (int i = 0; end && i < 2; i++) r->highest[i] = -INFINITY, r->total[i] = 0;
  return p;
}

/* The piece's sums to those of the pieces before it; `first`: there are none. */
template <int D>
__device__ __forceinline__ void piece_join(float4 *all, rows *r, const piece &p, sums<D> &s, bool first) {
  float2 factor[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    factor[i] = join_factors(&r->all_highest[i], p.highest[i]);
    r->all_total[i] = join(r->all_total[i], p.total[i], factor[i]);
  }
#pragma unroll
  for (int n = 0; n < D / 8; n++) {
    float4 x = first ? make_float4(0, 0, 0, 0) : all[n * 128];
    all[n * 128] = make_float4(join(x.x, sum_at(s, 4 * n), factor[0]), join(x.y, sum_at(s, 4 * n + 1), factor[0]),
                               join(x.z, sum_at(s, 4 * n + 2), factor[1]), join(x.w, sum_at(s, 4 * n + 3), factor[1]));
  }
}

template <int D> __device__ __forceinline__ void sums_shrink(sums<D> &s, const float shrink[2]) {
#pragma unroll
  for (int k = 0; k < D / 2; k++) sum_at(s, k) = __fmul_rn(sum_at(s, k), shrink[k % 4 / 2]);
}

template <int D>
__device__ void sums_put(const cuda_attend &a, const unit &u, const float4 *all, const rows &r, int group) {
  int lane = threadIdx.x % 32, g = queries_of(a);
  float *to[2], factor[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int packed = u.first + group * 64 + threadIdx.x % 128 / 32 * 16 + lane / 4 + i * 8, head = u.head * g + packed % g;
    float total = r.all_total[i] + __shfl_xor_sync(0xffffffffu, r.all_total[i], 1);
    total += __shfl_xor_sync(0xffffffffu, total, 2);
    factor[i] = row_factor(a, head, r.all_highest[i], total);
    to[i] = packed < u.r.count * g ? a.out + ((size_t)(u.r.first + packed / g) * a.n_head + head) * D + lane % 4 * 2
                                   : nullptr;
  }
#pragma unroll
  for (int n = 0; n < D / 8; n++) {
    float4 x = all[n * 128];
    if (to[0]) *(float2 *)(to[0] + n * 8) = make_float2(__fmul_rn(x.x, factor[0]), __fmul_rn(x.y, factor[0]));
    if (to[1]) *(float2 *)(to[1] + n * 8) = make_float2(__fmul_rn(x.z, factor[1]), __fmul_rn(x.w, factor[1]));
  }
}

/* WHOLE: a head's results in bf16, from the only piece. */
template <int D> __device__ void tiles_put(const cuda_attend &a, const unit &u, sums<D> &s, const rows &r, int group) {
  int lane = threadIdx.x % 32, first = u.first + group * 64 + threadIdx.x % 128 / 32 * 16 + lane / 4;
  int n_piece = (a.n_head * a.dim_v + 63) / 64;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int token = first + half * 8;
    float total = r.total[half] + __shfl_xor_sync(0xffffffffu, r.total[half], 1);
    total += __shfl_xor_sync(0xffffffffu, total, 2);
    float factor = row_factor(a, u.head, r.highest[half], total);
#pragma unroll
    for (int g = 0; g < (D / 8 + 3) / 4; g++) {
      uint32_t x[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        int n = g * 4 + i < D / 8 ? (g * 4 + i) * 4 + half * 2 : 0;
        x[i] = cache_bf16::pair(sum_at(s, n) * factor, sum_at(s, n + 1) * factor);
      }
      uint4 chunk = chunk_turn(x);
      int d = g * 32 + lane % 4 * 8;
      if (token < u.r.count && d < a.dim_v)
        *tile_chunk(a.next_fragments, n_piece, u.r.first + token, u.head * a.dim_v + d) = chunk;
    }
  }
}

/* Values that nobody sees may be anything, which 0 does not cancel. Both warpgroups write the same zeros. */
template <int D> __device__ void values_clear(const unit &u, uint8_t *values, int key, int group) {
  for (int i = threadIdx.x % 128; i < ATTEND_TILE * D / 8; i += 128) {
    int token = i / (D / 8), d = i % (D / 8) * 8;
    if (key + token < u.seen.begin || key + token >= u.seen.end)
      *(uint4 *)((__half *)values + panel_index(D, ATTEND_TILE, token, d)) = make_uint4(0, 0, 0, 0);
  }
  shared_writes_publish();
  group_meet(group);
}

/* Starts a tile's scores. */
template <typename T, int D>
__device__ __forceinline__ void scores_start(const shared<D> &m, int at, int group, float (&score)[64]) {
  using S = shape<D>;
  int slot = at % S::slots;
  barrier_wait(&m.keys_full[slot], at / S::slots & 1);
  products_begin();
  keys_multiply<T, D>(score, shared_address(m.query), shared_address(m.keys + slot * S::tile_bytes), group);
  products_group();
}

/* A tile's values are there, and nothing else. */
template <int D>
__device__ __forceinline__ uint32_t values_await(const unit &u, const shared<D> &m, int tile, int at, int group) {
  using S = shape<D>;
  int slot = at % S::slots, key = tile * ATTEND_TILE;
  uint8_t *values = m.values + slot * S::tile_bytes;
  barrier_wait(&m.values_full[slot], at / S::slots & 1);
  if (key < u.seen.begin || key + ATTEND_TILE > u.seen.end) values_clear<D>(u, values, key, group);
  return shared_address(values);
}

/* What scores gain by distance, of the rows and keys that a thread has. Tokens and keys that are not there, whose
 * scores nobody sees, gain what the farthest do. */
__device__ __forceinline__ void scores_gain(const cuda_distances &d, int head, int token, int key, float (&score)[64]) {
  const float *gain = d.gain + (size_t)head * d.each;
#pragma unroll
  for (int i = 0; i < 64; i++) {
    int apart = key + i / 4 * 8 + i % 2 - token - i % 4 / 2 * 8;
    score[i] = __fmaf_rn(gain[max(-d.most, min(apart, d.most))], LOG2_E, score[i]);
  }
}

/* What scores become: capped, less by slopes (which images have none of) or more by distance, masked, weights. */
template <bool WHOLE, typename A>
__device__ __forceinline__ void softmax_step(const A &a, const unit &u, int group, rows *r, int tile,
                                             float (&score)[64], float shrink[2]) {
  int key = tile * ATTEND_TILE, row = u.first + group * 64 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
  int begin = max(r->seen[0].begin, r->seen[1].begin), end = min(r->seen[0].end, r->seen[1].end);
  if (a.softcap > 0) {
#pragma unroll
    for (int k = 0; k < 64; k++) score[k] = score_cap(score[k], a.softcap);
  }
  if (!WHOLE && a.slope) scores_slope<16>(a, u.r, u.head, row, key + threadIdx.x % 4 * 2, (float(*)[4])score);
  if constexpr (std::is_same_v<A, attend_apart>)
    scores_gain(a.distances, u.head, row, key + threadIdx.x % 4 * 2, score);
  if (__any_sync(0xffffffffu, key < begin || key + ATTEND_TILE > end)) scores_mask(*r, key, score);
  weights_make(r, score, shrink);
}

/* The warpgroups give their products to the units in turn, so that one makes weights while the other's are multiplied.
 * Both have as many tiles. */
template <int D> __device__ __forceinline__ void turn_await(int group) {
  if (shape<D>::groups == 2) asm volatile("bar.sync %0, 256;" ::"r"(group + 3) : "memory");
}

template <int D> __device__ __forceinline__ void turn_pass(int group) {
  if (shape<D>::groups == 2) asm volatile("bar.arrive %0, 256;" ::"r"(4 - group) : "memory");
}

template <typename T, int D, bool WHOLE, typename A>
__device__ void unit_run(const A &a, const cuda_batch &batch, shared<D> m, const unit &u, int group, int at, int n) {
  using S = shape<D>;
  constexpr int per_piece = ATTEND_PIECE / ATTEND_TILE;
  float4 *all = m.sums + group * (D / 8) * 128 + threadIdx.x % 128;
  float score[64], shrink[2];
  uint32_t weight[8][4];
  sums<D> s;
  rows r;
  bool fresh = true, first = true; /* the piece's first tile; no piece has been joined */
  rows_fill<WHOLE>(a, batch, u, group, &r);
  if constexpr (WHOLE) {
    m.query = queries_place<D>(m, n);
    barrier_wait(queries_full<D>(m, n), n / S::query_slots & 1);
  } else {
    queries_load<D>(a, u, m, group);
  }
  scores_start<T, D>(m, at, group, score);
  products_wait<0>();
  registers_settle(score);
  barrier_arrive(&m.keys_empty[at % S::slots]);
  softmax_step<WHOLE>(a, u, group, &r, u.tile, score, shrink);
  weights_pack<T>(weight, score);
  int end = u.tile + u.tiles;
  for (int tile = u.tile + 1; tile < end; tile++, at++) {
    uint32_t values = values_await<D>(u, m, tile - 1, at, group);
    turn_await<D>(group);
    scores_start<T, D>(m, at + 1, group, score);
    values_multiply<T, D>(s, weight, values, !fresh);
    products_group();
    turn_pass<D>(group);
    fresh = !WHOLE && tile % per_piece == 0;
    piece done = piece_take(&r, fresh);
    products_wait<1>();
    registers_settle(score);
    barrier_arrive(&m.keys_empty[(at + 1) % S::slots]);
    softmax_step<WHOLE>(a, u, group, &r, tile, score, shrink);
    weights_settle(r);
    products_wait<0>();
    sums_settle(s);
    barrier_arrive(&m.values_empty[at % S::slots]);
    if (fresh) {
      piece_join<D>(all, &r, done, s, first);
      first = false;
    } else {
      sums_shrink<D>(s, shrink);
    }
    weights_pack<T>(weight, score);
  }
  if (WHOLE) barrier_arrive(queries_empty<D>(m, n));
  uint32_t values = values_await<D>(u, m, end - 1, at, group);
  products_begin();
  values_multiply<T, D>(s, weight, values, !fresh);
  products_group();
  products_wait<0>();
  sums_settle(s);
  barrier_arrive(&m.values_empty[at % S::slots]);
  if constexpr (WHOLE) {
    tiles_put<D>(a, u, s, r, group);
  } else {
    piece_join<D>(all, &r, piece_take(&r, true), s, first);
    sums_put<D>(a, u, all, r, group);
  }
}

template <typename T, int D, bool WHOLE>
__device__ __forceinline__ void tiles_fill(const cuda_attend &a, const cuda_batch &batch, const shared<D> &m) {
  if constexpr (shape<D>::groups == 2) registers_release<T::coded ? 56 : 40>();
  if constexpr (T::coded)
    codes_stream<T, D>(a, batch, m, threadIdx.x / 64 % 2);
  else
    tiles_stream<D, WHOLE>(a, batch, m);
}

template <typename T, int D, bool WHOLE, typename A>
__device__ __forceinline__ void units_run(const A &a, const cuda_batch &batch, const shared<D> &m) {
  if constexpr (shape<D>::groups == 2) registers_claim<T::coded ? 224 : 232>();
  unit u;
  int at = 0, units = 0, group = threadIdx.x / 128;
  if (group == 1) turn_pass<D>(group);
  for (int n = 0; unit_find<D, WHOLE>(a, batch, n, &u); n++)
    if (u.tiles > 0) unit_run<T, D, WHOLE>(a, batch, m, u, group, at, units++), at += u.tiles;
}

template <typename T, int D, bool WHOLE, typename A = cuda_attend>
__global__ void __launch_bounds__(shape<D>::threads, 1) prefill(A a, cuda_batch batch) {
  using S = shape<D>;
  extern __shared__ __align__(1024) uint8_t base[];
  shared<D> m = shared_lay<D>(base);
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::slots; i++) {
      constexpr int fillers = T::coded ? COPIERS / 2 * 32 : COPIERS;
      barrier_init(&m.keys_full[i], fillers), barrier_init(&m.keys_empty[i], S::groups * 128);
      barrier_init(&m.values_full[i], fillers), barrier_init(&m.values_empty[i], S::groups * 128);
      barrier_init(&m.come[i], 1), barrier_init(&m.come[S::slots + i], WHOLE ? S::groups * 128 : 1);
    }
    barriers_publish();
  }
  __syncthreads();
  dependencies_wait();
  /* Codes' warps that copy have so much to do that, with their branch first, the compiler would give the others' no
   * more registers than an even share. */
  bool multiplies = threadIdx.x < S::groups * 128;
  if constexpr (T::coded && S::groups == 2) {
    if (multiplies)
      units_run<T, D, WHOLE>(a, batch, m);
    else
      tiles_fill<T, D, WHOLE>(a, batch, m);
  } else {
    if (!multiplies)
      tiles_fill<T, D, WHOLE>(a, batch, m);
    else
      units_run<T, D, WHOLE>(a, batch, m);
  }
}

} // namespace

#endif
