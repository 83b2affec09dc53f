/* From sums to results in linear_few.cu: half a warp makes those of 16 columns of a token. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_FINISH_CUH
#define SPATE_BACKEND_CUDA_LINEAR_FINISH_CUH

#include "backend/cuda/adapter_few.cuh"
#include "backend/cuda/linear_chain.cuh"
#include "backend/cuda/linear_fragments.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/linear_sums.cuh"
#include "backend/cuda/peak.cuh"

#include <type_traits>

namespace linear_chain {

/* One that a thread makes: half a warp has 16 columns of a token. */
struct place {
  int own, token; /* among the block's, and among all */
  int row, col;   /* of the group's sums (of a gate), of the results */
  bool has;
};

template <typename S, int TILES>
__device__ __forceinline__ place place_of(const few &f, const group &g, int shift, int i) {
  const streamed &w = f.weights;
  int unit = i / 16 >> shift, within = i % 16;
  place p = {i / 16 & ((1 << shift) - 1)};
  p.token = team_rank<TILES>() * own_of(TILES) * 8 + p.own;
  p.row = unit * w.unit * 16 + within;
  p.col = (g.first + unit * w.teams) * 16 + within;
  p.has = unit * w.unit < g.n && p.token < f.linear.n_row && p.col < f.linear.result_cols;
  return p;
}

/* Most that a thread makes of a group. */
template <typename S> __host__ __device__ constexpr int turns_of(int tiles) {
  return (own_of(tiles) * 8 * strips_of<S>(tiles) * 16 + WARPS * 32 - 1) / (WARPS * 32);
}

/* What a result takes beside its products. */
struct extras {
  float scale, scale_up, bias, bias_up, residual, next_norm;
};

template <typename S> __device__ __forceinline__ extras extras_load(const few &f, const place &p) {
  const struct cuda_linear &a = f.linear;
  extras e = {1, 1, 0, 0, 0, 1};
  if (!p.has) return e;
  int at = result_row(a, p.col);
  if (S::head > 0) {
    const uint8_t *strip = a.matrix.data + at / 16 * f.weights.strip_bytes;
    e.scale = ((const float *)strip)[at % 16];
    if (a.gated) e.scale_up = ((const float *)(strip + f.weights.strip_bytes))[at % 16];
  }
  if (a.bias) e.bias = a.bias[at];
  if (a.bias && a.gated) e.bias_up = a.bias[at + GATE_RUN];
  if (a.residual) e.residual = a.residual[(size_t)p.token * a.residual_cols + p.col];
  if (a.next_norm) e.next_norm = a.next_norm[p.col];
  return e;
}

/* Has a group results for the threads' k-th turn? */
__device__ __forceinline__ bool turn_has(const few &f, const group &g, int shift, int k) {
  return (k * WARPS * 2 >> shift) * f.weights.unit < g.n;
}

template <typename S, int TILES>
__device__ __forceinline__ void group_extras(const few &f, const group &g, int shift, extras *e) {
#pragma unroll
  for (int k = 0; k < turns_of<S>(TILES); k++)
    if (turn_has(f, g, shift, k))
      e[k] = extras_load<S>(f, place_of<S, TILES>(f, g, shift, threadIdx.x + k * WARPS * 32));
}

/* Of steps with adapters: what the thread's results take of their factors. */
template <typename S, int TILES> struct factors_ahead {
  static constexpr int turns = turns_of<S>(TILES);
  static constexpr bool held = TILES < 4;
  token_adapter token[turns];
  ranks row[held ? turns : 1][2]; /* of a gate and its up */

  __device__ __forceinline__ factors_ahead(const chain &c, const few &f, const group &g) {
#pragma unroll
    for (int k = 0; k < turns; k++) token[k] = token_find(c, f, at(c, f, g, k).token);
  }

  static __device__ __forceinline__ place at(const chain &c, const few &f, const group &g, int k) {
    return place_of<S, TILES>(f, g, c.shift, threadIdx.x + k * WARPS * 32);
  }

  __device__ __forceinline__ const uint4 *row_at(const few &f, const place &p, int k, int i) const {
    return (const uint4 *)token[k].b + (result_row(f.linear, p.col) + i * GATE_RUN) * 2;
  }

  /* Before a group's products: nearer. */
  __device__ __forceinline__ void ask(const chain &c, const few &f, const group &g) const {
#pragma unroll
    for (int k = 0; k < turns; k++) {
      place p = at(c, f, g, k);
      if (!p.has || token[k].kind != TOKEN_ALONE) continue;
      asm volatile("prefetch.global.L2 [%0];" ::"l"(row_at(f, p, k, 0)));
      if (f.linear.gated) asm volatile("prefetch.global.L2 [%0];" ::"l"(row_at(f, p, k, 1)));
    }
  }

  __device__ __forceinline__ ranks row_load(const few &f, const place &p, int k, int i) const {
    const uint4 *from = row_at(f, p, k, i);
    return {from[0], from[1]};
  }

  /* After them; h only once a part. Of 32 tokens there are no registers for rows. */
  __device__ __forceinline__ void bring(const chain &c, const few &f, const uint4 *set, const ring<S, TILES> &r,
                                        const group &g, int part, bool first) {
    constexpr int own = own_of(TILES) * 8;
#pragma unroll
    for (int k = 0; k < turns && held; k++) {
      place p = at(c, f, g, k);
      if (!p.has || token[k].kind != TOKEN_ALONE) continue;
      row[held ? k : 0][0] = row_load(f, p, k, 0);
      if (f.linear.gated) row[held ? k : 0][1] = row_load(f, p, k, 1);
    }
    if (first) shrunk_bring(c, f, set, team_rank<TILES>() * own, own, shrunk_of(r, part));
  }

  static __device__ __forceinline__ float4 *shrunk_of(const ring<S, TILES> &r, int part) {
    return r.shrunk + part % 2 * own_of(TILES) * 8 * ADAPTER_PARTS * 4;
  }

  /* The product of the i-th of a result's rows in the k-th turn, adapted. */
  __device__ __forceinline__ float product(const chain &c, const few &f, const uint4 *set, const ring<S, TILES> &r,
                                           const place &p, int part, int k, int i, float product, float scale) const {
    const cuda_adapter_factors &all = f.linear.rows.factors;
    int at = result_row(f.linear, p.col) + i * GATE_RUN;
    if (token[k].kind == TOKEN_PLAIN) return product;
    if (token[k].kind == TOKEN_ANY) return adapted_product(c, f, set, p.token, at, product, scale);
    const float4 *h = shrunk_of(r, part) + (p.own * ADAPTER_PARTS + part_of_row(all, at)) * 4;
    ranks b = held ? row[held ? k : 0][i] : row_load(f, p, k, i);
    return bounded(product + token[k].scale * (ranks_multiply(b, h, 0) * scale), all.most);
  }
};

/* And of others: nothing. */
template <typename S, int TILES> struct no_factors {
  __device__ __forceinline__ no_factors(const chain &, const few &, const group &) {}
  __device__ __forceinline__ void ask(const chain &, const few &, const group &) const {}
  __device__ __forceinline__ void bring(const chain &, const few &, const uint4 *, const ring<S, TILES> &,
                                        const group &, int, bool) {}
  __device__ __forceinline__ float product(const chain &, const few &, const uint4 *, const ring<S, TILES> &,
                                           const place &, int, int, int, float product, float) const {
    return product;
  }
};

template <typename S, int TILES>
using factors_of =
    typename std::conditional<has_adapters<S>::value, factors_ahead<S, TILES>, no_factors<S, TILES>>::type;

/* A result as the next linear takes it: two columns are a word. */
__device__ __forceinline__ void next_prepare(const struct cuda_linear &a, const input &to, float x, float norm,
                                             const place &p) {
  uint32_t half = 0xffffu << threadIdx.x % 32 / 16 * 16;
  float y = x * norm, beside = __shfl_xor_sync(half, y, 1), square = x * x;
  if (p.col % 2 == 0)
    strong_store((uint32_t *)to.tokens + fragment_index(p.token, p.col, a.result_cols / 64) / 2, pair_round(y, beside));
  int at = p.token * (a.result_cols / 16) + p.col / 16;
  if (to.peaks) { /* of what is left: rounded */
    float peak = fabsf(__bfloat162float(__float2bfloat16_rn(y)));
#pragma unroll
    for (int step = 8; step > 0; step /= 2) peak = peak_of(peak, __shfl_xor_sync(half, peak, step));
    if (p.col % 16 == 0) strong_store((uint32_t *)to.peaks + at, __float_as_uint(peak));
  }
  if (!to.squares) return;
#pragma unroll
  for (int step = 8; step > 0; step /= 2) square += __shfl_xor_sync(half, square, step);
  if (p.col % 16 == 0) strong_store((uint32_t *)to.squares + at, __float_as_uint(square));
}

/* The product of the i-th of a result's rows, the gate's or its up's, in the k-th turn. */
template <typename S, int TILES>
__device__ __forceinline__ float product_make(const chain &c, const uint4 *set, int part, const ring<S, TILES> &r,
                                              const factors_of<S, TILES> &factors, const place &p, float row_scale,
                                              int k, int i) {
  float norm = r.scale[p.token], scale = S::top > 0 ? norm * r.factor[p.token] : norm;
  float product = (float)total_of<S, TILES>(r, p.own, p.row + i * GATE_RUN) * (scale * row_scale);
  return factors.product(c, c.part[part], set, r, p, part, k, i, product, norm);
}

template <typename S, int TILES>
__device__ __forceinline__ void result_make(const chain &c, const uint4 *set, int part, const ring<S, TILES> &r,
                                            const factors_of<S, TILES> &factors, const input &to, const extras &e,
                                            const place &p, int k) {
  const struct cuda_linear &a = c.part[part].linear;
  float gate = product_make<S, TILES>(c, set, part, r, factors, p, e.scale, k, 0) + e.bias, up = 0;
  if (a.gated) up = product_make<S, TILES>(c, set, part, r, factors, p, e.scale_up, k, 1) + e.bias_up;
  float x = result_of(a, gate, up);
  if (a.residual) x = residual_add(a, x, e.residual);
  if (to.tokens) next_prepare(a, to, x, e.next_norm, p);
  a.out[(size_t)p.token * a.out_cols + p.col] = x;
}

template <typename S, int TILES>
__device__ void group_finish(const chain &c, const uint4 *set, int part, const ring<S, TILES> &r,
                             const factors_of<S, TILES> &factors, const group &g, const extras *e) {
  const few &f = c.part[part];
  input to = output_of<S, TILES>(c, set, part);
#pragma unroll
  for (int k = 0; k < turns_of<S>(TILES); k++) {
    if (!turn_has(f, g, c.shift, k)) break;
    place p = place_of<S, TILES>(f, g, c.shift, threadIdx.x + k * WARPS * 32);
    if (p.has) result_make<S, TILES>(c, set, part, r, factors, to, e[k], p, k);
  }
}

} // namespace linear_chain

#endif
