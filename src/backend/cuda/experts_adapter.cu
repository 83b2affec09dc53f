/* The shrink and the expansion of experts' adapters, for any GPU. Both know of a pair nothing but its token's uses and
 * its expert, so its numbers depend on nothing else of the step; pairs without factors leave at once.
 *
 * Bound: the read of factors from the second-level cache, once for each pair that has them. */
#include "backend/cuda/adapter_end.cuh"
#include "backend/cuda/expert_adapter.h"
#include "backend/cuda/expert_lists.cuh"

namespace {

enum {
  SHRINK_WARPS = 8,
  SHRINK_THREADS = SHRINK_WARPS * 32,
  WARP_RANKS = 4, /* rows of a that a warp multiplies at once */
  BLOCK_RANKS = SHRINK_WARPS * WARP_RANKS,
  LANE_COLS = 8,
  EXPAND_THREADS = 256,
};

/* A pair's expert, and the factors that its token's uses have for it. */
struct pair_sites {
  const cuda_expert_site *site; /* of the first slot */
  const cuda_adapter_use *use;  /* [USES] */
  size_t n_site;

  /* Of a use that there is. */
  __device__ __forceinline__ const cuda_expert_site &at(int l) const { return site[use[l].slot * n_site]; }
  __device__ __forceinline__ bool has(int l) const { return l < USES && use[l].slot >= 0; }
};

__device__ __forceinline__ pair_sites sites_of(const cuda_experts &e, const cuda_expert_adapters &x, int pair) {
  int token = pair / e.k, last = e.lists.n_expert - 1;
  int expert = min(max((int)e.choice[(size_t)token * 2 * e.k + pair % e.k], 0), last);
  return {x.site + expert, x.use + (size_t)token * USES, (size_t)x.n_site};
}

__device__ __forceinline__ float *shrunk_of(const cuda_expert_adapters &x, int pair, int l) {
  return x.h + ((size_t)pair * USES + l) * x.factors.n_part * x.factors.rank;
}

/* Eight neighbours of a row of a. */
__device__ __forceinline__ void columns_load(float (&to)[LANE_COLS], const float *from) {
#pragma unroll
  for (int i = 0; i < LANE_COLS; i += 4) *(float4 *)(to + i) = *(const float4 *)(from + i);
}

__device__ __forceinline__ void columns_load(float (&to)[LANE_COLS], const __nv_bfloat16 *from) {
  uint4 x = *(const uint4 *)from;
  const uint32_t word[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
  for (int i = 0; i < LANE_COLS; i++) to[i] = __uint_as_float(i % 2 ? word[i / 2] & 0xffff0000u : word[i / 2] << 16);
}

/* The same of the pair's input, normed; zeros beyond the last. */
__device__ __forceinline__ void input_load(float (&to)[LANE_COLS], const cuda_norm &norm, const normed &n,
                                           const float *row, int col, int cols) {
#pragma unroll
  for (int i = 0; i < LANE_COLS; i++) to[i] = col + i < cols ? norm_apply(norm, n, row[col + i], cols, col + i) : 0;
}

/* Of one use a warp's rows [first, first + WARP_RANKS) of the parts' ranks. */
template <typename F>
__device__ __forceinline__ void ranks_shrink(const cuda_experts &e, const cuda_expert_adapters &x,
                                             const cuda_expert_site &site, const normed &n, const float *row, int first,
                                             float *h) {
  int cols = x.factors.cols, padded = (cols + 63) / 64 * 64, lane = threadIdx.x % 32;
  const F *a = (const F *)site.a + (size_t)first * padded;
  float sum[WARP_RANKS] = {};
  for (int c = lane * LANE_COLS; c < padded; c += 32 * LANE_COLS) {
    float in[LANE_COLS], factor[WARP_RANKS][LANE_COLS];
#pragma unroll
    for (int r = 0; r < WARP_RANKS; r++) columns_load(factor[r], a + (size_t)r * padded + c);
    input_load(in, x.norm, n, row, c, cols);
#pragma unroll
    for (int r = 0; r < WARP_RANKS; r++)
#pragma unroll
      for (int i = 0; i < LANE_COLS; i++) sum[r] += factor[r][i] * in[i];
  }
#pragma unroll
  for (int r = 0; r < WARP_RANKS; r++) {
    int k = first + r;
    sum[r] = lanes_sum(sum[r]);
    if (lane == 0) h[k / site.rank * x.factors.rank + k % site.rank] = sum[r];
  }
}

/* A block: some ranks of a pair. Ranks of a part are whole strips, so a warp's rows are there or not, all of them. */
template <typename F>
__global__ void __launch_bounds__(SHRINK_THREADS)
    shrink(const __grid_constant__ cuda_experts e, const __grid_constant__ cuda_expert_adapters x) {
  static_assert(RANK_STRIP % WARP_RANKS == 0, "no warp's rows are cut");
  int pair = blockIdx.x, begin = blockIdx.y * BLOCK_RANKS, first = begin + threadIdx.x / 32 * WARP_RANKS;
  pair_sites sites = sites_of(e, x, pair);
  bool any = false;
  for (int l = 0; sites.has(l); l++) any = any || begin < x.factors.n_part * sites.at(l).rank;
  if (!any) return;
  const float *row = e.linear.in + (size_t)input_row(e, pair) * e.linear.in_cols;
  normed n = columns_normed(x.norm, x.factors.cols, [&](int c) { return row[c]; });
  for (int l = 0; sites.has(l); l++)
    if (first < x.factors.n_part * sites.at(l).rank)
      ranks_shrink<F>(e, x, sites.at(l), n, row, first, shrunk_of(x, pair, l));
}

/* A thread: a row of a pair. */
template <typename F>
__global__ void __launch_bounds__(EXPAND_THREADS)
    expand(const __grid_constant__ cuda_experts e, const __grid_constant__ cuda_expert_adapters x) {
  int pair = blockIdx.x, row = blockIdx.y * EXPAND_THREADS + threadIdx.x;
  pair_sites sites = sites_of(e, x, pair);
  if (row >= x.factors.rows) return;
  float change = 0;
  bool changed = false;
  for (int l = 0; sites.has(l); l++) {
    const cuda_expert_site &site = sites.at(l);
    if (site.rank == 0) continue;
    const float *h = shrunk_of(x, pair, l) + part_of_row(x.factors, row) * x.factors.rank;
    const F *b = (const F *)site.b + (size_t)row * site.rank;
    float delta = 0;
    for (int k = 0; k < site.rank; k += RANK_STRIP) delta = run_multiply(run_load(b + k), h + k, delta);
    change += sites.use[l].scale * delta;
    changed = true;
  }
  float *product = e.linear.product + (size_t)pair * x.factors.rows + row;
  if (changed) *product = bounded(*product + change, x.factors.most);
}

} // namespace

void cuda_experts_shrink(const struct cuda_experts *e, const struct cuda_expert_adapters *x, cuda_stream stream) {
  dim3 grid(e->n_token * e->k, (x->factors.n_part * x->factors.rank + BLOCK_RANKS - 1) / BLOCK_RANKS);
  (x->factors.floats ? shrink<float> : shrink<__nv_bfloat16>)<<<grid, SHRINK_THREADS, 0, stream>>>(*e, *x);
}

void cuda_experts_expand(const struct cuda_experts *e, const struct cuda_expert_adapters *x, cuda_stream stream) {
  dim3 grid(e->n_token * e->k, (x->factors.rows + EXPAND_THREADS - 1) / EXPAND_THREADS);
  (x->factors.floats ? expand<float> : expand<__nv_bfloat16>)<<<grid, EXPAND_THREADS, 0, stream>>>(*e, *x);
}
