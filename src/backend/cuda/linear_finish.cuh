/* From sums to results in linear_few.cu: half a warp makes those of 16 columns of a token. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_FINISH_CUH
#define SPATE_BACKEND_CUDA_LINEAR_FINISH_CUH

#include "backend/cuda/adapter_few.cuh"
#include "backend/cuda/linear_chain.cuh"
#include "backend/cuda/linear_fragments.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/linear_sums.cuh"
#include "backend/cuda/peak.cuh"

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

/* Of steps with adapters: what results take of their factors. */
template <typename S, int TILES> struct factors_ahead : ahead<turns_of<S>(TILES)> {
  __device__ __forceinline__ factors_ahead(const chain &c, const few &f, const group &g) {
#pragma unroll
    for (int k = 0; k < turns_of<S>(TILES); k++)
      this->begin(c, f, k, place_of<S, TILES>(f, g, c.shift, threadIdx.x + k * WARPS * 32).token);
  }

  __device__ __forceinline__ void ask(const chain &c, const few &f, const group &g) const {
#pragma unroll
    for (int k = 0; k < turns_of<S>(TILES); k++) {
      place p = place_of<S, TILES>(f, g, c.shift, threadIdx.x + k * WARPS * 32);
      if (!p.has) continue;
      this->fetch(k, result_row(f.linear, p.col));
      if (f.linear.gated) this->fetch(k, result_row(f.linear, p.col) + GATE_RUN);
    }
  }
};

/* And of others: nothing. */
struct no_factors {
  __device__ __forceinline__ no_factors(const chain &, const few &, const group &) {}
  __device__ __forceinline__ void ask(const chain &, const few &, const group &) const {}
};

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

/* The product of the i-th of a result's rows, the gate's or its up's. */
template <typename S, int TILES>
__device__ __forceinline__ float product_make(const chain &c, const few &f, const uint4 *set, const ring<S, TILES> &r,
                                              const place &p, float row_scale, int i) {
  float norm = r.scale[p.token], scale = S::top > 0 ? norm * r.factor[p.token] : norm;
  float product = (float)total_of<S, TILES>(r, p.own, p.row + i * GATE_RUN) * (scale * row_scale);
  if (!has_adapters<S>::value) return product;
  return adapted_product(c, f, set, p.token, result_row(f.linear, p.col) + i * GATE_RUN, product, norm);
}

template <typename S, int TILES>
__device__ __forceinline__ void result_make(const chain &c, const few &f, const uint4 *set, const ring<S, TILES> &r,
                                            const input &to, const extras &e, const place &p) {
  const struct cuda_linear &a = f.linear;
  float gate = product_make<S, TILES>(c, f, set, r, p, e.scale, 0) + e.bias, up = 0;
  if (a.gated) up = product_make<S, TILES>(c, f, set, r, p, e.scale_up, 1) + e.bias_up;
  float x = result_of(a, gate, up);
  if (a.residual) x = residual_add(a, x, e.residual);
  if (to.tokens) next_prepare(a, to, x, e.next_norm, p);
  a.out[(size_t)p.token * a.out_cols + p.col] = x;
}

template <typename S, int TILES>
__device__ void group_finish(const chain &c, const few &f, const uint4 *set, const ring<S, TILES> &r, const input &to,
                             const group &g, const extras *e) {
#pragma unroll
  for (int k = 0; k < turns_of<S>(TILES); k++) {
    if (!turn_has(f, g, c.shift, k)) break;
    place p = place_of<S, TILES>(f, g, c.shift, threadIdx.x + k * WARPS * 32);
    if (p.has) result_make<S, TILES>(c, f, set, r, to, e[k], p);
  }
}

} // namespace linear_chain

#endif
