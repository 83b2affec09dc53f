/* Adapters within linear_few.cuh, for tokens in tiles of 8 as that has them. The shrink is the first thing that a part
 * does with its input: blocks take panels of 64 columns of it, warps units (a pair of adapter and tile, 16 ranks, a
 * part of the matrix), and leave sums of a panel as words (linear_between.cuh). A warp beside those that multiply adds
 * the panels up in order while the first weights are multiplied, and leaves h. The expansion is part of what makes a
 * result of its product (linear_finish.cuh): a thread multiplies its row of b, which was brought near while weights
 * were multiplied, with its token's h, in floats, and so knows what magnitudes and shifts make of both.
 *
 * Bound: of few tokens the shrink and the wait for h, some 3 µs a linear; of many the ends of groups (SPEED.md). */
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

__device__ __forceinline__ int units_of(const chain &c, const few &f) {
  return *c.n_pair * f.linear.rows.factors.n_part;
}

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
  return (const uint4 *)(f.linear.rows.factors.a + u.slot * f.linear.rows.factors.slot_bytes) +
         (strip * f.n_panel + panel) * 128;
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

/* 16 ranks of a row of b. */
struct ranks {
  uint4 low, high;
};

__device__ __forceinline__ float ranks_multiply(const ranks &b, const float4 h[4], float sum) {
  const uint32_t pair[8] = {b.low.x, b.low.y, b.low.z, b.low.w, b.high.x, b.high.y, b.high.z, b.high.w};
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const float *x = &h[i / 2].x + i % 2 * 2;
    sum += __uint_as_float(pair[i] << 16) * x[0];
    sum += __uint_as_float(pair[i] & 0xffff0000u) * x[1];
  }
  return sum;
}

__device__ __forceinline__ float4 shrunk_await(const uint4 *from) {
  uint4 v;
  do v = strong_load(from);
  while (!there(v));
  return make_float4(__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z), __uint_as_float(v.w));
}

/* A row of b of a slot, filled up to `rank`. */
__device__ __forceinline__ const uint8_t *b_row(const few &f, int slot, int rank, int row) {
  return f.linear.rows.factors.b + slot * f.linear.rows.factors.slot_bytes + (size_t)row * rank * 2;
}

/* What a token's adapters make of a product; scale: of the input's norm, which h lacks. Of any adapters. */
__device__ __forceinline__ float adapted_product(const chain &c, const few &f, const uint4 *set, int token, int row,
                                                 float product, float scale) {
  const cuda_adapter_factors &all = f.linear.rows.factors;
  int i = c.first[token], part = part_of_row(all, row), within = token % 8;
  float change = 0;
  bool adapted = false;
  while (i >= 0) {
    const cuda_adapter_pair *pair = c.pair + i;
    const cuda_adapter_site site = site_of(all, pair->slot);
    int slot = pair->slot, rank = whole_rank(site.rank);
    float s = pair->scale[within], delta = 0;
    const uint4 *b = (const uint4 *)b_row(f, slot, rank, row);
    for (; i >= 0 && c.pair[i].slot == slot; i = c.pair[i].next[within], b += 2) {
      if (c.pair[i].strip * RANK_STRIP >= rank) continue;
      const uint4 *from = shrunk_at(f, set, i * all.n_part + part) + within * 4;
      float4 h[4];
      for (int k = 0; k < 4; k++) h[k] = shrunk_await(from + k);
      delta = ranks_multiply({b[0], b[1]}, h, delta);
    }
    if (!site.used) continue;
    change += change_of(all, site, slot, row, s, product, delta * scale);
    adapted = true;
  }
  return adapted ? bounded(product + change, all.most) : product;
}

/* What a thread knows of a result's token before its products: most have one adapter without magnitudes and shifts, of
 * 16 ranks at most, whose rows of b and whose h are near when products are there. */
enum token_kind { TOKEN_PLAIN, TOKEN_ALONE, TOKEN_ANY };
struct token_adapter {
  const uint8_t *b;
  float scale;
  int kind; /* enum token_kind; b and scale are of TOKEN_ALONE */
};

__device__ __forceinline__ token_adapter token_find(const chain &c, const few &f, int token) {
  token_adapter t = {nullptr, 0, TOKEN_PLAIN};
  int i = token < f.linear.n_row ? c.first[token] : -1;
  if (i < 0) return t;
  const cuda_adapter_pair *pair = c.pair + i;
  const cuda_adapter_site site = site_of(f.linear.rows.factors, pair->slot);
  bool alone = pair->next[token % 8] < 0 && !site.shift && !site.magnitude && site.rank <= RANK_STRIP;
  t.kind = !alone ? TOKEN_ANY : site.used && site.rank > 0 ? TOKEN_ALONE : TOKEN_PLAIN;
  t.b = b_row(f, pair->slot, 0, 0), t.scale = pair->scale[token % 8];
  return t;
}

/* 256 threads: h of the block's tokens that have TOKEN_ALONE, to shared memory, as soon as it is there. */
__device__ __forceinline__ void shrunk_bring(const chain &c, const few &f, const uint4 *set, int first, int n,
                                             float4 *to) {
  int own = threadIdx.x / 16, part = threadIdx.x / 4 % ADAPTER_PARTS, quarter = threadIdx.x % 4, token = first + own;
  if (own >= n || part >= f.linear.rows.factors.n_part || token_find(c, f, token).kind != TOKEN_ALONE) return;
  int unit = c.first[token] * f.linear.rows.factors.n_part + part;
  to[threadIdx.x] = shrunk_await(shrunk_at(f, set, unit) + token % 8 * 4 + quarter);
}

} // namespace linear_chain

#endif
