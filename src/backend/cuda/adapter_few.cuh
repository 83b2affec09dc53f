/* Adapters within linear_few.cuh, for tokens in tiles of 8 as that has them. The shrink is the first thing that a part
 * does with its input: blocks take panels of 64 columns of it, warps units (a pair of adapter and tile, 16 ranks, a
 * part of the matrix), and leave sums of a panel as words (linear_between.cuh). A warp beside those that multiply adds
 * the panels up in order while the first weights are multiplied, and leaves h. The expansion is part of what makes a
 * result of its product (linear_finish.cuh): a thread multiplies its row of b, which was brought near before the
 * group's weights, with its token's h, in floats, and so knows what magnitudes and shifts make of both.
 *
 * Bound: TODO
 */
#ifndef SPATE_BACKEND_CUDA_ADAPTER_FEW_CUH
#define SPATE_BACKEND_CUDA_ADAPTER_FEW_CUH

#include "backend/cuda/adapter_launch.cuh"
#include "backend/cuda/linear_chain.cuh"

namespace linear_chain {

/* A pair, 16 ranks of a part. has: the adapter changes the op. */
struct adapter_unit {
  int slot, tile, strip, part, rank; /* rank: of each part, filled up */
  bool has;
};

__device__ __forceinline__ int units_of(const chain &c, const few &f) { return *c.n_pair * f.linear.rows.factors.n_part; }

__device__ __forceinline__ adapter_unit pair_of(const chain &c, const few &f, int pair) {
  const cuda_adapter_pair *p = c.pair + pair;
  adapter_unit u = {p->slot, p->tile, p->strip, 0, 0, false};
  const cuda_adapter_site &site = site_of(f.linear.rows.factors, u.slot);
  u.rank = whole_rank(site.rank);
  u.has = site.used && u.strip * RANK_STRIP < u.rank;
  return u;
}

__device__ __forceinline__ adapter_unit unit_of(const chain &c, const few &f, int unit) {
  adapter_unit u = pair_of(c, f, unit / f.linear.rows.factors.n_part);
  u.part = unit % f.linear.rows.factors.n_part;
  return u;
}

/* A panel's sums of a unit, in the order of the matrix units. */
__device__ __forceinline__ uint4 *partial_at(const chain &c, const few &f, int part, int unit, int panel) {
  return c.partial + (size_t)part * c.partial_units + ((size_t)unit * f.n_panel + panel) * 32;
}

/* h of a unit: [token of the tile][rank] floats. */
__device__ __forceinline__ const uint4 *shrunk_at(const few &f, const uint4 *set, int unit) {
  return set + f.shrunk + unit * 32;
}

__device__ __forceinline__ uint4 bits_of(const float sum[4]) {
  return make_uint4(__float_as_uint(sum[0]), __float_as_uint(sum[1]), __float_as_uint(sum[2]), __float_as_uint(sum[3]));
}

/* --- shrink ------------------------------------------------------------------------------------------------------- */

__device__ __forceinline__ uint4 token_load(const few &f, const uint4 *tokens, const adapter_unit &u, int panel,
                                            int half) {
  int lane = threadIdx.x % 32;
  bool has = u.tile * 8 + lane / 4 < f.linear.n_row;
  return strong_load_if(tokens + ((size_t)u.tile * f.n_panel + panel) * 64 + half * 32 + lane, has);
}

/* A panel of a unit: 2 KB. */
__device__ __forceinline__ const uint4 *factors_at(const few &f, const adapter_unit &u, int panel) {
  size_t strip = (size_t)(u.part * u.rank) / RANK_STRIP + u.strip;
  return (const uint4 *)(f.linear.rows.factors.a + u.slot * f.linear.rows.factors.slot_bytes) + (strip * f.n_panel + panel) * 128;
}

__device__ __forceinline__ void factors_load(uint4 w[4], const few &f, const adapter_unit &u, int panel) {
  const uint4 *from = factors_at(f, u, panel) + threadIdx.x % 32;
#pragma unroll
  for (int s = 0; s < 4; s++) w[s] = from[s * 32];
}

__device__ __forceinline__ void unit_multiply(float sum[4], const uint4 w[4], uint4 low, uint4 high) {
  const uint32_t x[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int s = 0; s < 4; s++) {
    const uint32_t a[4] = {w[s].x, w[s].y, w[s].z, w[s].w};
    multiply_bf16(sum, a, x[2 * s], x[2 * s + 1]);
  }
}

/* A block's share of a part's panels and units. */
__device__ __forceinline__ void part_shrink(const chain &c, const uint4 *tokens, int part) {
  const few &f = c.part[part];
  int n = units_of(c, f), shares = max(1, (int)gridDim.x / f.n_panel), warp = threadIdx.x / 32;
  for (int item = blockIdx.x; item < f.n_panel * shares && n > 0; item += gridDim.x) {
    int panel = item % f.n_panel, step = shares * WARPS;
    for (int i = item / f.n_panel + shares * warp; i < n; i += step) {
      adapter_unit u = unit_of(c, f, i);
      uint4 w[4], low, high;
      float sum[4] = {};
      if (!u.has) continue;
      factors_load(w, f, u, panel);
      do low = token_load(f, tokens, u, panel, 0), high = token_load(f, tokens, u, panel, 1);
      while (!__all_sync(~0u, there(low) && there(high)));
      unit_multiply(sum, w, low, high);
      strong_store(partial_at(c, f, part, i, panel) + threadIdx.x % 32, bits_of(sum));
    }
  }
}

/* Adds up a sixteenth of a unit, 32 bytes of each panel: a pair of lanes has each sixteenth panel, so that all of 64
 * are on their way at once. The words are made all ones for the next launch. */
enum { JOIN_TASKS = 16, JOIN_LANES = 32 / JOIN_TASKS };

__device__ __forceinline__ float4 panels_add(uint4 *from, int n_panel) {
  enum { AHEAD = 4 };
  int mine = threadIdx.x % 32 / JOIN_LANES;
  float4 total = {};
  for (int base = 0; base < n_panel; base += JOIN_TASKS * AHEAD) {
    uint4 x[AHEAD];
    for (bool all = false; !__all_sync(~0u, all);) {
      all = true;
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        int panel = base + i * JOIN_TASKS + mine;
        x[i] = strong_load_if(from + (size_t)panel * 32, panel < n_panel);
      }
#pragma unroll
      for (int i = 0; i < AHEAD; i++) all = all && there(x[i]);
    }
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      int panel = base + i * JOIN_TASKS + mine;
      if (panel >= n_panel) continue;
      total.x += __uint_as_float(x[i].x), total.y += __uint_as_float(x[i].y);
      total.z += __uint_as_float(x[i].z), total.w += __uint_as_float(x[i].w);
      strong_store(from + (size_t)panel * 32, make_uint4(~0u, ~0u, ~0u, ~0u));
    }
  }
  return total;
}

__device__ __forceinline__ float across_add(float x) {
#pragma unroll
  for (int step = JOIN_LANES; step < 32; step *= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

__device__ __forceinline__ void shrunk_leave(uint32_t *to, int rank, int token, float sum) {
  strong_store(to + token * RANK_STRIP + rank, __float_as_uint(sum));
}

/* A warp of each block: h of a part. */
__device__ __forceinline__ void part_join(const chain &c, const uint4 *set, int part) {
  const few &f = c.part[part];
  int lane = threadIdx.x % 32, n = units_of(c, f) * JOIN_TASKS;
  for (int task = blockIdx.x; task < n; task += gridDim.x) {
    int unit = task / JOIN_TASKS, at = task % JOIN_TASKS * JOIN_LANES + lane % JOIN_LANES;
    if (!unit_of(c, f, unit).has) continue;
    float4 sum = panels_add(partial_at(c, f, part, unit, 0) + at, f.n_panel);
    sum.x = across_add(sum.x), sum.y = across_add(sum.y), sum.z = across_add(sum.z), sum.w = across_add(sum.w);
    if (lane >= JOIN_LANES) continue;
    uint32_t *to = (uint32_t *)shrunk_at(f, set, unit);
    int rank = at / 4, token = at % 4 * 2;
    shrunk_leave(to, rank, token, sum.x), shrunk_leave(to, rank, token + 1, sum.y);
    shrunk_leave(to, rank + 8, token, sum.z), shrunk_leave(to, rank + 8, token + 1, sum.w);
  }
}

/* A warp: brings what its block shrinks a part with near, so that it is there when the part's input is. */
__device__ __forceinline__ void part_fetch(const chain &c, int part) {
  const few &f = c.part[part];
  int n = units_of(c, f), shares = max(1, (int)gridDim.x / f.n_panel), lane = threadIdx.x % 32;
  for (int item = blockIdx.x; item < f.n_panel * shares && n > 0; item += gridDim.x)
    for (int i = item / f.n_panel + shares * (lane / 16); i < n; i += shares * 2) {
      adapter_unit u = unit_of(c, f, i);
      const uint8_t *from = (const uint8_t *)factors_at(f, u, item % f.n_panel) + lane % 16 * 128;
      if (u.has) asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
    }
}

/* A warp: all parts. */
__device__ __forceinline__ void parts_join(const chain &c, const uint4 *set) {
  for (int i = 0; i < c.n; i++) {
    if (i + 1 < c.n) part_fetch(c, i + 1);
    part_join(c, set, i);
  }
}

/* --- expansion ---------------------------------------------------------------------------------------------------- */

/* Of a row of b, 16 ranks with a token's h, whose words may still be on their way. */
__device__ __forceinline__ float ranks_multiply(const uint4 *b, const uint4 *h, float sum) {
  uint4 w[2], v[4];
  w[0] = b[0], w[1] = b[1];
  do
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = strong_load(h + i);
  while (!(there(v[0]) && there(v[1]) && there(v[2]) && there(v[3])));
  const uint32_t pair[8] = {w[0].x, w[0].y, w[0].z, w[0].w, w[1].x, w[1].y, w[1].z, w[1].w};
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const uint32_t *x = &v[i / 2].x + i % 2 * 2;
    sum += __uint_as_float(pair[i] << 16) * __uint_as_float(x[0]);
    sum += __uint_as_float(pair[i] & 0xffff0000u) * __uint_as_float(x[1]);
  }
  return sum;
}

/* A row of b of a slot, filled up to `rank`. */
__device__ __forceinline__ const uint8_t *b_row(const few &f, int slot, int rank, int row) {
  return f.linear.rows.factors.b + slot * f.linear.rows.factors.slot_bytes + (size_t)row * rank * 2;
}

/* What a token's adapters make of a product; scale: of the input's norm, which h lacks. */
__device__ __forceinline__ float adapted_product(const chain &c, const few &f, const uint4 *set, int token, int row,
                                                 float product, float scale) {
  int i = c.first[token], part = part_of_row(f.linear.rows.factors, row), within = token % 8;
  float change = 0;
  bool adapted = false;
  while (i >= 0) {
    const cuda_adapter_pair *pair = c.pair + i;
    const cuda_adapter_site site = site_of(f.linear.rows.factors, pair->slot);
    int slot = pair->slot, rank = whole_rank(site.rank);
    float s = pair->scale[within], delta = 0;
    const uint4 *b = (const uint4 *)b_row(f, slot, rank, row);
    for (; i >= 0 && c.pair[i].slot == slot; i = c.pair[i].next[within], b += 2)
      if (c.pair[i].strip * RANK_STRIP < rank)
        delta = ranks_multiply(b, shrunk_at(f, set, i * f.linear.rows.factors.n_part + part) + within * 4, delta);
    if (!site.used) continue;
    change += change_of(f.linear.rows.factors, site, slot, row, s, product, delta * scale);
    adapted = true;
  }
  return adapted ? bounded(product + change, f.linear.rows.factors.most) : product;
}

/* Of a thread's results the rows of b of the first pairs, which it brings near at the beginning of each group. */
template <int TURNS> struct ahead {
  const uint8_t *b[TURNS]; /* NULL: none */
  int bytes[TURNS];        /* of a row */

  __device__ __forceinline__ void begin(const chain &c, const few &f, int turn, int token) {
    int i = token < f.linear.n_row ? c.first[token] : -1;
    b[turn] = nullptr;
    if (i < 0) return;
    int slot = c.pair[i].slot;
    bytes[turn] = whole_rank(site_of(f.linear.rows.factors, slot).rank) * 2;
    if (bytes[turn] > 0) b[turn] = b_row(f, slot, 0, 0);
  }

  __device__ __forceinline__ void fetch(int turn, int row) const {
    if (b[turn]) asm volatile("prefetch.global.L2 [%0];" ::"l"(b[turn] + (size_t)row * bytes[turn]));
  }
};

} // namespace linear_chain

#endif
