/* The shrink and the expansion of experts' adapters, for any GPU. Both know of a pair nothing but its token's uses and
 * its expert, so its numbers depend on nothing else of the step. The expansion is where products become results.
 *
 * Bound: of few pairs the way to factors (choice, use, site); of many the read of b for each pair, and of products. */
#include "backend/cuda/adapter_end.cuh"
#include "backend/cuda/expert_adapter.h"
#include "backend/cuda/expert_lists.cuh"

namespace {

enum {
  SHRINK_WARPS = 8,
  SHRINK_THREADS = SHRINK_WARPS * 32,
  RANKS = 4, /* that are multiplied at once */
  BLOCK_RANKS = SHRINK_WARPS * RANKS,
  LANE_COLS = 8,
  TILE_PAIRS = 8, /* of an expert that are shrunk together, where there are so many in the mean */
  END_THREADS = 128,
};

/* What a use has for the expert of a pair; rank 0: nothing. */
__device__ __forceinline__ cuda_expert_site site_find(const cuda_experts &e, const cuda_expert_adapters &x, int pair,
                                                      int l) {
  int token = pair / e.k, slot = x.use ? x.use[(size_t)token * USES + l].slot : -1;
  int expert = min(max((int)e.choice[(size_t)token * 2 * e.k + pair % e.k], 0), e.lists.n_expert - 1);
  return slot < 0 ? cuda_expert_site{} : x.site[(size_t)slot * x.n_site + expert];
}

__device__ __forceinline__ float *shrunk_of(const cuda_expert_adapters &x, int pair, int l) {
  return x.h + ((size_t)pair * USES + l) * x.factors.n_part * x.factors.rank;
}

/* --- shrink ------------------------------------------------------------------------------------------------------- */

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

/* The same of a row of floats, zeros beyond its last; fours: it is whole fours, and begins at one. */
__device__ __forceinline__ void floats_load(float (&to)[LANE_COLS], const float *from, int col, int cols, bool fours) {
#pragma unroll
  for (int i = 0; i < LANE_COLS; i += 4)
    *(float4 *)(to + i) =
        fours && col + i + 4 <= cols ? *(const float4 *)(from + col + i) : four_at(from, col + i, cols);
}

/* A pair's input before it is scaled: with the weights of its norm. Adds to the squares of an RMS norm. */
__device__ __forceinline__ void input_load(float (&to)[LANE_COLS], const cuda_norm &norm, const normed &n,
                                           const float (&weight)[LANE_COLS], const float *row, int col, int cols,
                                           bool fours, float *squares) {
  floats_load(to, row, col, cols, fours);
  if (norm.kind == NORMED_NOT) return;
#pragma unroll
  for (int i = 0; i < LANE_COLS; i++) {
    *squares += to[i] * to[i];
    if (norm.kind == NORMED_RMS)
      to[i] *= weight[i];
    else
      to[i] = col + i < cols ? norm_apply(norm, n, to[i], cols, col + i) : 0;
  }
}

/* Of a site the ranks [first, first + RANKS) of the parts, of columns of PAIRS inputs from one on, each `step`-th
 * eight: a lane's sums, and the squares of an RMS norm. n: of a norm with a mean. */
template <typename F, int PAIRS>
__device__ __forceinline__ void columns_multiply(float (&sum)[PAIRS][RANKS], float (&squares)[PAIRS],
                                                 const cuda_expert_adapters &x, const cuda_expert_site &site,
                                                 const normed &n, const float *const (&row)[PAIRS], bool fours,
                                                 int first, int from, int step) {
  int cols = x.factors.cols, padded = (cols + 63) / 64 * 64;
  const F *a = (const F *)site.a + (size_t)first * padded;
  for (int c = from * LANE_COLS; c < padded; c += step * LANE_COLS) {
    float weight[LANE_COLS], factor[RANKS][LANE_COLS];
#pragma unroll
    for (int r = 0; r < RANKS; r++) columns_load(factor[r], a + (size_t)r * padded + c);
    if (x.norm.kind != NORMED_NOT) floats_load(weight, x.norm.weight, c, cols, fours);
#pragma unroll
    for (int p = 0; p < PAIRS; p++) {
      float in[LANE_COLS];
      input_load(in, x.norm, n, weight, row[p], c, cols, fours, &squares[p]);
#pragma unroll
      for (int r = 0; r < RANKS; r++)
#pragma unroll
        for (int i = 0; i < LANE_COLS; i++) sum[p][r] += factor[r][i] * in[i];
    }
  }
}

/* An RMS norm's scale, which comes last, so that nobody waits for it. */
__device__ __forceinline__ float scale_of(const cuda_expert_adapters &x, float squares) {
  return x.norm.kind == NORMED_RMS ? rsqrtf(squares / x.factors.cols + x.norm.eps) : 1;
}

/* Where the sum of a rank among the parts' goes. */
__device__ __forceinline__ float *rank_of(const cuda_expert_adapters &x, const cuda_expert_site &site, float *h,
                                          int k) {
  return h + k / site.rank * x.factors.rank + k % site.rank;
}

struct shrink_work {
  cuda_experts e;
  cuda_expert_adapters x;
  bool fours; /* rows of the input are whole fours */
};

__device__ __forceinline__ const float *input_of(const cuda_experts &e, int pair) {
  return e.linear.in + (size_t)input_row(e, pair) * e.linear.in_cols;
}

/* A block: a few ranks of a pair, warps its columns, whose sums are added in order: all that is read is asked for at
 * once. Ranks of a part are whole strips, so those of a block are there or not, all of them. */
template <typename F> __global__ void __launch_bounds__(SHRINK_THREADS) shrink(const __grid_constant__ shrink_work w) {
  static_assert(RANK_STRIP % RANKS == 0, "no block's ranks are cut");
  __shared__ float sums[SHRINK_WARPS][RANKS + 1];
  const cuda_expert_adapters &x = w.x;
  int pair = blockIdx.x, first = blockIdx.y * RANKS, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  cuda_expert_site site[USES];
  bool any = false;
  dependents_launch();
  dependencies_wait();
#pragma unroll
  for (int l = 0; l < USES; l++) {
    site[l] = site_find(w.e, x, pair, l);
    any = any || first < x.factors.n_part * site[l].rank;
  }
  if (!any) return;
  const float *row[1] = {input_of(w.e, pair)};
  normed n = {0, 1};
  if (x.norm.kind == NORMED_LAYER) n = columns_normed(x.norm, x.factors.cols, [&](int c) { return row[0][c]; });
#pragma unroll
  for (int l = 0; l < USES; l++) {
    float sum[1][RANKS] = {}, squares[1] = {};
    if (first >= x.factors.n_part * site[l].rank) continue;
    columns_multiply<F, 1>(sum, squares, x, site[l], n, row, w.fours, first, threadIdx.x, SHRINK_THREADS);
    __syncthreads(); /* the sums before have been read */
#pragma unroll
    for (int r = 0; r <= RANKS; r++) {
      float all = lanes_sum(r < RANKS ? sum[0][r < RANKS ? r : 0] : squares[0]);
      if (lane == 0) sums[warp][r] = all;
    }
    __syncthreads();
    if (threadIdx.x >= RANKS) continue;
    float all = 0, square = 0;
    for (int i = 0; i < SHRINK_WARPS; i++) all += sums[i][threadIdx.x], square += sums[i][RANKS];
    *rank_of(x, site[l], shrunk_of(x, pair, l), first + threadIdx.x) = all * scale_of(x, square);
  }
}

/* The l-th uses of the pairs whose bits are set, those of one slot after the other. */
template <typename F>
__device__ void uses_shrink(const shrink_work &w, int expert, const int pair[TILE_PAIRS], int l, uint32_t left,
                            int first) {
  const cuda_expert_adapters &x = w.x;
  int slot[TILE_PAIRS];
#pragma unroll
  for (int p = 0; p < TILE_PAIRS; p++) slot[p] = left >> p & 1 ? x.use[(size_t)(pair[p] / w.e.k) * USES + l].slot : -1;
  for (;;) {
    int next = -1;
#pragma unroll
    for (int p = 0; p < TILE_PAIRS; p++)
      if (slot[p] >= 0) next = slot[p];
    if (next < 0) return;
    const float *row[TILE_PAIRS];
    float sum[TILE_PAIRS][RANKS] = {}, squares[TILE_PAIRS] = {};
    cuda_expert_site site = x.site[(size_t)next * x.n_site + expert];
    bool has = first < x.factors.n_part * site.rank;
#pragma unroll
    for (int p = 0; p < TILE_PAIRS; p++) row[p] = input_of(w.e, pair[p]);
    if (has) columns_multiply<F, TILE_PAIRS>(sum, squares, x, site, {0, 1}, row, w.fours, first, threadIdx.x % 32, 32);
#pragma unroll
    for (int p = 0; p < TILE_PAIRS; p++) {
      float scale = scale_of(x, lanes_sum(squares[p]));
#pragma unroll
      for (int r = 0; r < RANKS; r++) {
        float all = lanes_sum(sum[p][r]) * scale;
        if (has && slot[p] == next && threadIdx.x % 32 == 0)
          *rank_of(x, site, shrunk_of(x, pair[p], l), first + r) = all;
      }
      if (slot[p] == next) slot[p] = -1;
    }
  }
}

/* A block: some ranks of some pairs of an expert, for which factors are read once. */
template <typename F>
__global__ void __launch_bounds__(SHRINK_THREADS) shrink_tiles(const __grid_constant__ shrink_work w) {
  dependents_launch();
  dependencies_wait();
  int each = w.e.lists.tile_pairs / TILE_PAIRS, from = blockIdx.x % each * TILE_PAIRS;
  int first = blockIdx.y * BLOCK_RANKS + threadIdx.x / 32 * RANKS, pair[TILE_PAIRS];
  expert_tile tile = tile_of(w.e.lists, blockIdx.x / each, w.e.n_token);
  if (from >= tile.n) return;
#pragma unroll
  for (int p = 0; p < TILE_PAIRS; p++) pair[p] = tile.pair_at(from + p < tile.n ? from + p : from);
  uint32_t there = (1u << min((int)TILE_PAIRS, tile.n - from)) - 1;
  for (int l = 0; l < USES; l++) uses_shrink<F>(w, tile.expert, pair, l, there, first);
}

/* --- products to results ------------------------------------------------------------------------------------------ */

/* Of a use and a pair. */
struct change {
  const uint8_t *b;
  const float *h;
  int rank; /* 0: none */
  float scale;
};

/* Those of `n` pairs from one on, which all threads of the block read. */
__device__ __forceinline__ void changes_find(const cuda_experts &e, const cuda_expert_adapters &x, int first, int n,
                                             change *to) {
  for (int i = threadIdx.x; i < n * USES; i += blockDim.x) {
    int pair = first + i / USES, l = i % USES;
    cuda_expert_site site = site_find(e, x, pair, l);
    float scale = site.rank > 0 ? x.use[(size_t)(pair / e.k) * USES + l].scale : 0;
    to[i] = {site.b, shrunk_of(x, pair, l), site.rank, scale};
  }
  __syncthreads();
}

/* A pair's products of some rows, with what its uses change. */
template <typename F, int ROWS>
__device__ __forceinline__ void products_change(const cuda_expert_adapters &x, const change *of, const int (&row)[ROWS],
                                                float (&product)[ROWS]) {
  float sum[ROWS] = {};
  bool changed = false;
#pragma unroll
  for (int l = 0; l < USES; l++) {
    if (of[l].rank == 0) continue;
    float delta[ROWS] = {};
#pragma unroll 1
    for (int k = 0; k < of[l].rank; k += RANK_STRIP) {
      run<F> b[ROWS];
#pragma unroll
      for (int r = 0; r < ROWS; r++) b[r] = run_load((const F *)of[l].b + (size_t)row[r] * of[l].rank + k);
#pragma unroll
      for (int r = 0; r < ROWS; r++)
        delta[r] = run_multiply(b[r], of[l].h + part_of_row(x.factors, row[r]) * x.factors.rank + k, delta[r]);
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) sum[r] += of[l].scale * delta[r];
    changed = true;
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    if (changed) product[r] = bounded(product[r] + sum[r], x.factors.most);
}

struct end_work {
  cuda_experts e;
  cuda_expert_adapters x;
};

/* A block: some columns of a pair, as result_put has them, but for both: the gather's shrink wants them whole, its
 * product in bf16. What nobody has made is nobody's. ROWS: 2 of a gate and its up. */
template <typename F, int ROWS>
__global__ void __launch_bounds__(END_THREADS) end_pairs(const __grid_constant__ end_work w) {
  __shared__ change changes[USES];
  const cuda_linear &a = w.e.linear;
  int pair = blockIdx.x, col = blockIdx.y * END_THREADS + threadIdx.x, row[ROWS];
  float product[ROWS];
  bool has = col < a.result_cols;
  dependents_launch();
  dependencies_wait();
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    row[r] = result_row(a, col) + r * GATE_RUN;
    product[r] = has ? a.product[(size_t)pair * a.matrix.rows + row[r]] : 0;
  }
  has = has && w.e.lists.place[pair] >= 0;
  changes_find(w.e, w.x, pair, 1, changes);
  if (!has) return;
  products_change<F, ROWS>(w.x, changes, row, product);
  float result = curved_of(a, w.e.gate, product[0], ROWS == 2 ? product[ROWS - 1] : 0);
  size_t at = (size_t)(pair % w.e.k) * a.result_cols + col;
  if (a.residual) result = residual_add(a, result, a.residual[(size_t)(pair / w.e.k) * a.residual_cols + at]);
  a.out[(size_t)(pair / w.e.k) * a.out_cols + at] = result;
  if (w.e.next_tokens)
    w.e.next_tokens[(size_t)pair * w.e.next_padded + col] = __bfloat16_as_ushort(__float2bfloat16_rn(result));
}

/* A block: some columns of a token, LANES of its pairs side by side, which are added in the order of its choice. */
template <typename F, int COLS, int LANES>
__global__ void __launch_bounds__(COLS *LANES) end_tokens(const __grid_constant__ end_work w) {
  extern __shared__ __align__(16) uint8_t room[];
  const cuda_experts &e = w.e;
  const cuda_linear &a = e.linear;
  change *changes = (change *)room;                  /* [k][USES] */
  float *products = (float *)(changes + e.k * USES); /* [k][COLS] */
  int t = blockIdx.x, within = threadIdx.x % COLS, col = blockIdx.y * COLS + within, rows = a.matrix.rows;
  dependents_launch();
  dependencies_wait();
  bool has = col < rows && e.lists.place[t * e.k] >= 0;
  changes_find(e, w.x, t * e.k, e.k, changes);
  const int row[1] = {col};
  for (int j = threadIdx.x / COLS; j < e.k && has; j += LANES) {
    float product[1] = {a.product[((size_t)t * e.k + j) * rows + col]};
    products_change<F, 1>(w.x, changes + j * USES, row, product);
    products[j * COLS + within] = product[0];
  }
  __syncthreads();
  if (threadIdx.x >= COLS || !has) return;
  const float *weight = e.choice + (size_t)t * 2 * e.k + e.k;
  float sum = 0;
  for (int j = 0; j < e.k; j++) sum += weight[j] * products[j * COLS + within];
  sum *= a.factor;
  a.out[(size_t)t * a.out_cols + col] = a.residual ? sum + a.residual[(size_t)t * a.residual_cols + col] : sum;
}

template <typename F>
void shrink_launch(const cuda_experts &e, const cuda_expert_adapters &x, bool early, cuda_stream stream) {
  int pairs = e.n_token * e.k, ranks = x.factors.n_part * x.factors.rank;
  bool fours = e.linear.in_cols % 4 == 0 && x.factors.cols % 4 == 0 && (uintptr_t)e.linear.in % 16 == 0;
  bool many = pairs >= TILE_PAIRS * e.lists.n_expert && x.norm.kind != NORMED_LAYER && !e.linear.one_order;
  dim3 few(pairs, ranks / RANKS);
  dim3 tiles(tiles_most(e) * (e.lists.tile_pairs / TILE_PAIRS), (ranks + BLOCK_RANKS - 1) / BLOCK_RANKS);
  adapter_launch(many ? shrink_tiles<F> : shrink<F>, many ? tiles : few, SHRINK_THREADS, 0, early, stream,
                 shrink_work{e, x, fours});
}

template <typename F, int COLS, int LANES>
void tokens_launch(const cuda_experts &e, const cuda_expert_adapters &x, bool early, cuda_stream stream) {
  int shared = e.k * (USES * (int)sizeof(change) + COLS * (int)sizeof(float));
  adapter_launch(end_tokens<F, COLS, LANES>, dim3(e.n_token, (e.linear.result_cols + COLS - 1) / COLS), COLS * LANES,
                 shared, early, stream, end_work{e, x});
}

/* Of few tokens all that is read is asked for at once; of many there are blocks enough. */
template <typename F>
void end_launch(const cuda_experts &e, const cuda_expert_adapters &x, bool early, cuda_stream stream) {
  if (e.gather) {
    (e.n_token <= EXPERTS_FEW ? tokens_launch<F, 32, 8> : tokens_launch<F, END_THREADS, 1>)(e, x, early, stream);
    return;
  }
  dim3 grid(e.n_token * e.k, (e.linear.result_cols + END_THREADS - 1) / END_THREADS);
  adapter_launch(e.linear.gated ? end_pairs<F, 2> : end_pairs<F, 1>, grid, END_THREADS, 0, early, stream,
                 end_work{e, x});
}

} // namespace

void cuda_experts_shrink(const struct cuda_experts *e, const struct cuda_expert_adapters *x, bool early,
                         cuda_stream stream) {
  (x->factors.floats ? shrink_launch<float> : shrink_launch<__nv_bfloat16>)(*e, *x, early, stream);
}

void cuda_experts_adapt(const struct cuda_experts *e, const struct cuda_expert_adapters *x, bool early,
                        cuda_stream stream) {
  (x->factors.floats ? end_launch<float> : end_launch<__nv_bfloat16>)(*e, *x, early, stream);
}
