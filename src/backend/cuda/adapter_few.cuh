/* Adapters within linear_few.cuh, for tokens in tiles of 8 as that has them. The shrink is the first thing that a part
 * does with its input: blocks take panels of 64 columns of it, warps units (a pair of adapter and tile, 16 ranks, a
 * part of the matrix), and leave sums of a panel as words (linear_between.cuh). A warp beside those that multiply adds
 * the panels up in order while the first weights are multiplied, and leaves h, times the tokens' scales. The expansion
 * is a piece more of each strip of weights, at the end of the others, whose rows of b come into shared memory
 * meanwhile: one warp of a team multiplies it with h, as two numbers in bf16, so that what b makes of h meets the
 * strip's sums, and the norm's scale with them.
 *
 * Bound: at 32 tokens what multipliers do beside weights, which they hardly keep up with: of one adapter's 1.1 ms in a
 * step of an 8B 0.25 are the shrink, 0.1 the stage less in the ring, the rest the ends of groups. Of few tokens the
 * shrink and the wait for h, some 3 µs a linear (SPEED.md). */
#ifndef SPATE_BACKEND_CUDA_ADAPTER_FEW_CUH
#define SPATE_BACKEND_CUDA_ADAPTER_FEW_CUH

#include "backend/cuda/adapter_launch.cuh"
#include "backend/cuda/linear_chain.cuh"
#include "backend/cuda/linear_result.cuh"

namespace linear_chain {

/* A pair, 16 ranks of a part. has: the adapter changes the op. */
struct adapter_unit {
  int slot, tile, strip, part, rank; /* rank: of each part, filled up */
  bool has;
};

__device__ __forceinline__ int units_of(const chain &c, const few &f) { return *c.n_pair * f.adapter.n_part; }

__device__ __forceinline__ adapter_unit pair_of(const chain &c, const few &f, int pair) {
  const cuda_adapter_pair *p = c.pair + pair;
  adapter_unit u = {p->slot, p->tile, p->strip, 0, 0, false};
  const cuda_adapter_site &site = site_of(f.adapter, u.slot);
  u.rank = whole_rank(site.rank);
  u.has = site.used && u.strip * RANK_STRIP < u.rank;
  return u;
}

__device__ __forceinline__ adapter_unit unit_of(const chain &c, const few &f, int unit) {
  adapter_unit u = pair_of(c, f, unit / f.adapter.n_part);
  u.part = unit % f.adapter.n_part;
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
  return (const uint4 *)(f.adapter.a + u.slot * f.adapter.slot_bytes) + (strip * f.n_panel + panel) * 128;
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

/* A token that has not named the adapter gets 0, whatever the sum. */
__device__ __forceinline__ void shrunk_leave(uint32_t *to, int rank, int token, float sum, const float *scale) {
  float s = scale[token];
  strong_store(to + token * RANK_STRIP + rank, __float_as_uint(s == 0 ? 0 : sum * s));
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
    const float *scale = c.pair[unit / f.adapter.n_part].scale;
    int rank = at / 4, token = at % 4 * 2;
    shrunk_leave(to, rank, token, sum.x, scale), shrunk_leave(to, rank, token + 1, sum.y, scale);
    shrunk_leave(to, rank + 8, token, sum.z, scale), shrunk_leave(to, rank + 8, token + 1, sum.w, scale);
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

__device__ __forceinline__ int part_of_strip(const few &f, int strip) { return part_of_row(f.adapter, strip * 16); }

/* 16 rows of b into shared memory, 16 ranks of each, by a lane's 16 bytes; zeros beyond the last row. Not now: nearer.
 */
__device__ __forceinline__ void rows_copy(uint8_t *to, const few &f, const adapter_unit &u, int first, bool now) {
  const cuda_adapter_factors &a = f.adapter;
  int lane = threadIdx.x % 32, row = first + lane / 2, there = row < a.rows ? 16 : 0;
  const uint8_t *from = a.b + u.slot * a.slot_bytes + ((size_t)(there ? row : 0) * u.rank + u.strip * RANK_STRIP) * 2;
  if (!now) {
    if (there && lane % 2 == 0) asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
    return;
  }
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to) + lane * 16),
               "l"(from + lane % 2 * 16), "r"(there)
               : "memory");
}

__device__ __forceinline__ void copies_await() {
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncwarp();
}

__device__ __forceinline__ uint2 shared_pair(const uint8_t *from) {
  uint2 v;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(shared_address(from)) : "memory");
  return v;
}

/* Every group waits for the words of h that it reads: those of a later part may come after the first group's. */
__device__ __forceinline__ float4 shrunk_load(const uint4 *from) {
  uint4 v;
  do v = strong_load(from);
  while (!__all_sync(~0u, there(v)));
  return make_float4(__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z), __uint_as_float(v.w));
}

/* A pair in bf16 and what that leaves, but of what is infinite. */
__device__ __forceinline__ uint32_t pair_part(float x, float y, uint32_t *rest) {
  __nv_bfloat162 pair = __floats2bfloat162_rn(x, y);
  float dx = x - __low2float(pair), dy = y - __high2float(pair);
  *rest = pair_round(fabsf(dx) <= 3e38f ? dx : 0, fabsf(dy) <= 3e38f ? dy : 0);
  return *(uint32_t *)&pair;
}

/* multiply_bf16 by a warp whose `has` is the same in all lanes. The predicate is in the instruction: of branches to
 * sums in different registers the compiler made an index, and of the sums local memory. */
__device__ __forceinline__ void multiply_if(bool has, float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\n"
      "@p mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"((int)has));
}

/* What a warp multiplies at the end of a group: of each pair that is its own, and of each strip, 16 rows of b, which
 * come meanwhile. A team's warps take pairs in turn. */
template <int STRIPS, int TILES> struct expansion {
  uint8_t *room;  /* [ADAPTER_TURNS][STRIPS][ADAPTER_STRIP] */
  int n;          /* turns of this warp */
  adapter_unit u; /* of the first, which is the only one as long as there are few adapters */

  __device__ __forceinline__ expansion(const chain &c, const few &f) {
    int step = team_of(TILES) * WARPS;
    n = (*c.n_pair - pair_at(0) + step - 1) / step;
    u.has = false;
    if (n > 0) u = pair_of(c, f, pair_at(0));
  }

  static __device__ __forceinline__ int pair_at(int turn) {
    return (turn * team_of(TILES) + team_rank<TILES>()) * WARPS + (int)threadIdx.x / 32;
  }

  __device__ __forceinline__ adapter_unit unit_at(const chain &c, const few &f, int turn) const {
    return turn == 0 ? u : pair_of(c, f, pair_at(turn));
  }

  __device__ __forceinline__ void ask(const chain &c, const few &f, const group &g, int turn, bool now) const {
    adapter_unit u = unit_at(c, f, turn);
    uint8_t *to = room + turn % ADAPTER_TURNS * STRIPS * ADAPTER_STRIP;
#pragma unroll 1
    for (int i = 0; i < g.n && u.has; i++) rows_copy(to + i * ADAPTER_STRIP, f, u, strip_of(f.weights, g, i) * 16, now);
  }

  __device__ __forceinline__ void begin(const chain &c, const few &f, const group &g, uint8_t *factors) {
    room = factors + threadIdx.x / 32 * ADAPTER_TURNS * STRIPS * ADAPTER_STRIP;
#pragma unroll 1
    for (int turn = 0; turn < n; turn++) ask(c, f, g, turn, turn < ADAPTER_TURNS);
  }

  __device__ __forceinline__ void multiply(const few &f, const uint4 *set, const group &g, const adapter_unit &u,
                                           int turn, float (*sum)[TILES][4]) const {
    int lane = threadIdx.x % 32;
    const uint8_t *from = room + turn % ADAPTER_TURNS * STRIPS * ADAPTER_STRIP + lane * 8;
#pragma unroll
    for (int i = 0; i < STRIPS; i++, from += ADAPTER_STRIP) {
      if (i >= g.n) break;
      int unit = pair_at(turn) * f.adapter.n_part + part_of_strip(f, strip_of(f.weights, g, i));
      float4 h = shrunk_load(shrunk_at(f, set, unit) + lane);
      uint2 low = shared_pair(from), high = shared_pair(from + ADAPTER_STRIP / 2);
      uint32_t rest[2], one = pair_part(h.x, h.y, &rest[0]), two = pair_part(h.z, h.w, &rest[1]);
      const uint32_t w[4] = {low.x, high.x, low.y, high.y};
#pragma unroll
      for (int t = 0; t < TILES; t++) {
        multiply_if(t == u.tile, sum[i][t], w, one, two);
        multiply_if(t == u.tile, sum[i][t], w, rest[0], rest[1]);
      }
    }
  }

  __device__ __forceinline__ void add(const chain &c, const few &f, const uint4 *set, const group &g,
                                      float (*sum)[TILES][4]) const {
#pragma unroll 1
    for (int turn = 0; turn < n; turn++) {
      if (turn == 0 || turn >= ADAPTER_TURNS) copies_await();
      adapter_unit u = unit_at(c, f, turn);
      if (u.has) multiply(f, set, g, u, turn, sum);
      __syncwarp(); /* all have read what the next copy overwrites */
      if (turn + ADAPTER_TURNS < n) ask(c, f, g, turn + ADAPTER_TURNS, true);
    }
    __syncwarp();
  }
};

} // namespace linear_chain

#endif
