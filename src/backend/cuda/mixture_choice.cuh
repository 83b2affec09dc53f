/* The beginning of mixture_few.cu: tokens as matrix units want them, a router's logits, and what they choose. A block
 * makes the logits of one expert in so many; all blocks wait for all logits, and each makes the same choice of them. */
#ifndef SPATE_BACKEND_CUDA_MIXTURE_CHOICE_CUH
#define SPATE_BACKEND_CUDA_MIXTURE_CHOICE_CUH

#include "backend/cuda/image_rows.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/mixture_ring.cuh"
#include "backend/cuda/route_order.h"

namespace {
namespace mixture {

using namespace linear_between;

/* Eight columns of a token that lie together in its fragments: pairs at col, + 8, + 16 and + 24. */
__device__ __forceinline__ int unit_col(int unit) { return unit / 4 * 32 + unit % 4 * 2; }

__device__ __forceinline__ float2 pair_load(const float *from, int col, int cols) {
  return {col < cols ? from[col] : 0, col + 1 < cols ? from[col + 1] : 0};
}

/* A pair of columns of a row of packed bf16 (cuda_layout.h). */
__device__ __forceinline__ float2 weights_at(const struct cuda_matrix &m, int row, int col) {
  const uint8_t *piece = m.data + ((size_t)(row / STRIP) * ((m.cols + PANEL - 1) / PANEL) + col / PANEL) * PIECE;
  int r = row % STRIP, chunk = col % PANEL / 8 ^ r % 8;
  uint32_t pair = *(const uint32_t *)(piece + r / 8 * 1024 + r % 8 * 128 + chunk * 16 + col % 8 * 2);
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
}

/* A pair of columns, among the words that the linear before leaves; zeros where there is none. */
__device__ __forceinline__ float2 words_load_if(const uint32_t *from, bool has) {
  uint32_t x, y;
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %3, 0;\nmov.b32 %0, 0;\nmov.b32 %1, 0;\n"
               "@p ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];\n}"
               : "=&r"(x), "=&r"(y)
               : "l"(from), "r"((int)has));
  return {__uint_as_float(x), __uint_as_float(y)};
}

/* Four pairs of a token's columns: of the residual stream in memory, or among the words that the linear before leaves.
 * All are asked for before any is looked at. */
struct columns {
  float2 pair[4];
};

__device__ __forceinline__ columns columns_load(const work &w, const uint32_t *inputs, int t, int col) {
  int cols = w.m.up.matrix.cols;
  columns x;
  if (w.m.before.matrix.data) {
#pragma unroll
    for (int i = 0; i < 4; i++)
      x.pair[i] = words_load_if(inputs + t * cols + col + i * 8, t < w.m.n_token && col + i * 8 < cols);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++)
      x.pair[i] = t < w.m.n_token ? pair_load(w.m.up.in + (size_t)t * w.m.up.in_cols, col + i * 8, cols) : float2{0, 0};
  }
  return x;
}

__device__ __forceinline__ bool columns_there(const columns &x) {
  bool all = true;
#pragma unroll
  for (int i = 0; i < 4; i++) all &= there(__float_as_uint(x.pair[i].x)) & there(__float_as_uint(x.pair[i].y));
  return all;
}

/* A thread's share of all tokens: their squares, and their products with a router's row (−1: none); in the first pass
 * the fragments, too. Slots without a token are zeros. */
template <int MOST, bool FIRST>
__device__ __forceinline__ void tokens_pass(const work &w, const block &b, const uint32_t *inputs, int row,
                                            float (*sum)[MOST]) {
  constexpr int ahead = MOST < 4 ? MOST : 4;
  const struct cuda_linear &up = w.m.up, &router = w.m.router;
  for (int unit = threadIdx.x; unit < w.up_pieces * 8; unit += MULTIPLIERS) {
    int col = unit_col(unit), cols = up.matrix.cols;
    float2 norm[4], weight[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      norm[i] = up.has_norm ? pair_load(up.norm, col + i * 8, cols) : float2{1, 1};
      weight[i] = row >= 0 ? weights_at(router.matrix, row, col + i * 8) : float2{0, 0};
    }
#pragma unroll
    for (int first = 0; first < MOST; first += ahead) {
      if (first >= w.slots) break;
      columns x[ahead];
#pragma unroll
      for (int d = 0; d < ahead; d++) {
        if (first + d >= w.slots) break;
        x[d] = columns_load(w, inputs, first + d, col);
      }
#pragma unroll
      for (int d = 0; d < ahead; d++) {
        int t = first + d;
        uint32_t pair[4];
        if (t >= w.slots) break;
        while (w.m.before.matrix.data && !columns_there(x[d])) x[d] = columns_load(w, inputs, t, col);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          float2 z = x[d].pair[i], y = {z.x * norm[i].x, z.y * norm[i].y};
          sum[0][t] += z.x * z.x + z.y * z.y;
          sum[1][t] += y.x * weight[i].x + y.y * weight[i].y;
          pair[i] = pair_round(y.x, y.y);
        }
        if (FIRST) b.token[(unit / 4 * w.slots + t) * 4 + unit % 4] = {pair[0], pair[1], pair[2], pair[3]};
      }
    }
  }
}

/* A row of the router for all tokens, whose logits all blocks get. */
template <int MOST, bool FIRST>
__device__ void row_make(const work &w, const block &b, uint32_t *logits, const uint32_t *inputs, int row) {
  struct mixture_chosen &c = *b.chosen;
  float sum[2][MOST] = {};
  tokens_pass<MOST, FIRST>(w, b, inputs, row, sum);
#pragma unroll
  for (int t = 0; t < MOST; t++) {
    if (t >= w.m.n_token) break;
#pragma unroll
    for (int k = 0; k < 2; k++) {
      float all = lanes_sum(sum[k][t]);
      if (threadIdx.x % 32 == 0) c.part[threadIdx.x / 32][k][t] = all;
    }
  }
  multipliers_meet();
  int t = threadIdx.x;
  if (t < w.m.n_token) {
    const struct cuda_linear &router = w.m.router;
    float squares = 0, product = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i++) squares += c.part[i][0][t], product += c.part[i][1][t];
    float scale = w.m.up.has_norm ? rsqrtf(squares / w.m.up.matrix.cols + w.m.up.eps) : 1;
    if (FIRST) c.scale[t] = scale;
    if (row >= 0) {
      float logit = (product * scale + (router.bias ? router.bias[row] : 0)) * router.factor;
      strong_store(logits + t * w.m.route.n_expert + row, __float_as_uint(logit));
    }
  }
}

template <int MOST>
__device__ void logits_make(const work &w, const block &b, uint32_t *logits, const uint32_t *inputs) {
  bool routed = w.m.router.matrix.data;
  int row = blockIdx.x, n = w.m.route.n_expert;
  row_make<MOST, true>(w, b, logits, inputs, routed && row < n ? row : -1);
  for (row += gridDim.x; routed && row < n; row += gridDim.x) {
    multipliers_meet();
    row_make<MOST, false>(w, b, logits, inputs, row);
  }
}

/* --- choice ------------------------------------------------------------------------------------------------------- */

/* The order of a logit among a token's (route_order.h): 0 of what there is not, 1 of what is no number. */
__device__ __forceinline__ uint32_t order_of(float logit) { return max((uint32_t)(route_key(logit, 0) >> 32), 1u); }

__device__ __forceinline__ float logit_of(uint32_t order) {
  if (order == 1) return __uint_as_float(0x7fffffff);
  return __uint_as_float(order >> 31 ? order ^ 0x80000000u : ~order);
}

__device__ __forceinline__ uint32_t word_load_if(const uint32_t *from, bool has) {
  uint32_t x;
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %2, 0;\nmov.b32 %0, 0;\n@p ld.relaxed.gpu.global.u32 %0, [%1];\n}"
               : "=&r"(x)
               : "l"(from), "r"((int)has));
  return x;
}

/* Whether a warp's tokens are of rows that the batch has. Their places are asked for before anything is there. */
struct presence {
  uint32_t of[MIXTURE_TOKENS / WARPS];
};

__device__ __forceinline__ void presence_ask(const work &w, presence &p) {
#pragma unroll
  for (int i = 0; i < MIXTURE_TOKENS / WARPS; i++) {
    int t = threadIdx.x / 32 + i * WARPS;
    p.of[i] = word_load_if((const uint32_t *)w.m.token_row + t, t < w.m.n_token);
  }
}

__device__ __forceinline__ void presence_count(const work &w, presence &p) {
#pragma unroll
  for (int i = 0; i < MIXTURE_TOKENS / WARPS; i++)
    p.of[i] = word_load_if((const uint32_t *)&w.m.row[p.of[i]].count, threadIdx.x / 32 + i * WARPS < w.m.n_token);
}

/* A lane's experts among 128 are four that follow one another. */
enum { FOUR = 4, GROUP = 32 * FOUR };

/* Orders of a token's logits: one group, or all that there may be. */
__device__ __forceinline__ int orders_of(const work &w) {
  return w.m.route.n_expert <= GROUP ? (int)GROUP : (int)MIXTURE_EXPERTS;
}

/* A warp: the orders of a token's logits; those that a router makes in this launch as soon as they are there. */
__device__ __forceinline__ void logits_bring(const work &w, const uint32_t *logits, uint32_t *order) {
  int n = w.m.route.n_expert;
#pragma unroll 1
  for (int e = threadIdx.x % 32 * FOUR; e < orders_of(w); e += GROUP) {
    uint32_t word[FOUR];
    bool all;
    do {
      all = true;
#pragma unroll
      for (int i = 0; i < FOUR; i++) word[i] = word_load_if(logits + e + i, e + i < n);
#pragma unroll
      for (int i = 0; i < FOUR; i++) all &= there(word[i]);
    } while (!all && w.m.router.matrix.data);
#pragma unroll
    for (int i = 0; i < FOUR; i++) word[i] = e + i < n ? order_of(__uint_as_float(word[i])) : 0;
    *(uint4 *)(order + e) = {word[0], word[1], word[2], word[3]};
  }
  __syncwarp();
}

/* Of a lane: a token's j-th choice, for lane j. */
struct choice {
  uint32_t id, order;
};

/* A warp, of so many groups of 128: k times the greatest, of equals the lowest id. */
template <int GROUPS> __device__ __forceinline__ choice greatest_of(const uint32_t *order, int k) {
  int lane = threadIdx.x % 32;
  uint32_t own[GROUPS][FOUR];
  choice c = {0, 0};
#pragma unroll
  for (int g = 0; g < GROUPS; g++) {
    uint4 o = *(const uint4 *)(order + g * GROUP + lane * FOUR);
    own[g][0] = o.x, own[g][1] = o.y, own[g][2] = o.z, own[g][3] = o.w;
  }
#pragma unroll 1
  for (int j = 0; j < k; j++) {
    uint32_t best = 0, at = 0;
#pragma unroll
    for (int i = 0; i < GROUPS * FOUR; i++)
      if (own[i / FOUR][i % FOUR] > best)
        best = own[i / FOUR][i % FOUR], at = i / FOUR * GROUP + lane * FOUR + i % FOUR;
    uint32_t most = __reduce_max_sync(~0u, best), first = __reduce_min_sync(~0u, best == most ? at : ~0u);
#pragma unroll
    for (int i = 0; i < GROUPS * FOUR; i++)
      if (first == i / FOUR * GROUP + lane * FOUR + i % FOUR) own[i / FOUR][i % FOUR] = 0;
    if (lane == j) c = {first, most};
  }
  return c;
}

/* The sum of e to the power of what logits are above `most`, of all of a token's. */
__device__ __forceinline__ float powers_sum(const uint32_t *order, int n, float most) {
  float sum = 0;
#pragma unroll 1
  for (int i = threadIdx.x % 32; i < n; i += 32) sum += expf(logit_of(order[i]) - most);
  return lanes_sum(sum);
}

/* What lane j's logit, of the j-th choice, becomes; the first is the greatest. What is normed needs no other logits. */
__device__ __forceinline__ float weight_of(const work &w, const uint32_t *order, float logit) {
  const struct cuda_route &a = w.m.route;
  bool has = threadIdx.x % 32 < a.k;
  float most = __shfl_sync(~0u, logit, 0);
  float x = expf(a.score == SCORE_SIGMOID ? -logit : logit - most), sum = 1;
  if (a.score == SCORE_SIGMOID) x = __fdividef(1, 1 + x);
  if (a.normalize || a.score == SCORE_CHOSEN)
    sum = lanes_sum(has ? x : 0) + 1e-20f; /* ROUTE_LEAST */
  else if (a.score == SCORE_SOFTMAX)
    sum = powers_sum(order, a.n_expert, most);
  return __fdividef(x, sum) * a.scale;
}

/* A warp: a token's choice, and the marks that it leaves. */
__device__ __forceinline__ void token_choose(const work &w, struct mixture_chosen &c, const uint32_t *logits,
                                             uint32_t *order, int t, bool present) {
  int lane = threadIdx.x % 32;
  logits_bring(w, logits, order);
  choice mine = orders_of(w) == GROUP ? greatest_of<1>(order, w.m.route.k)
                                      : greatest_of<MIXTURE_EXPERTS / GROUP>(order, w.m.route.k);
  bool has = lane < w.m.route.k;
  float weight = weight_of(w, order, has ? logit_of(mine.order) : 0);
  if (!has) return;
  c.id[t][lane] = (uint16_t)mine.id, c.weight[t][lane] = weight;
  if (present) atomicOr(&c.mask[mine.id], 1u << t);
}

/* Warp 0: experts that somebody has chosen, in their order. */
__device__ __forceinline__ void active_list(const work &w, struct mixture_chosen &c) {
  int n = 0, lane = threadIdx.x % 32;
  for (int first = 0; first < w.m.route.n_expert; first += 32) {
    bool has = first + lane < w.m.route.n_expert && c.mask[first + lane];
    uint32_t those = __ballot_sync(~0u, has);
    int at = n + __popc(those & ((1u << lane) - 1));
    if (has) c.active[at] = (uint16_t)(first + lane), c.place[first + lane] = (uint16_t)at;
    n += __popc(those);
  }
  if (lane == 0) c.n = n;
}

/* The threads that multiply. The copying one may begin when all have met after it. */
__device__ __forceinline__ void experts_choose(const work &w, const block &b, const uint32_t *logits,
                                               const presence &p) {
  struct mixture_chosen &c = *b.chosen;
  static_assert(8 * MIXTURE_EXPERTS * 4 <= 2 * sum_fours(1) * 16, "orders lie where sums do");
#pragma unroll 1
  for (int i = 0; i < MIXTURE_TOKENS / WARPS; i++) {
    int t = threadIdx.x / 32 + i * WARPS;
    if (t < w.m.n_token)
      token_choose(w, c, logits + t * w.m.route.n_expert, (uint32_t *)b.sums + t * orders_of(w), t,
                   (i ? p.of[1] : p.of[0]) > 0);
  }
  multipliers_meet();
  if (threadIdx.x < 32) active_list(w, c);
  multipliers_meet();
  int t = threadIdx.x / MIXTURE_CHOSEN, j = threadIdx.x % MIXTURE_CHOSEN;
  if (t >= w.m.n_token || j >= w.m.route.k || !(c.mask[c.id[t][j]] >> t & 1)) return;
  c.pair[c.place[c.id[t][j]]][t] = (int16_t)(t * w.m.route.k + j);
}

} // namespace mixture
} // namespace

#endif
