/* The expansion: products of a linear become its results, with what the rows' adapters change of them. A thread makes a
 * column (of a gate: both of its rows) of some tokens, one use of each after the other. Rows of b are asked for before
 * the first is multiplied. Of linears whose kernels do not end with adapters (adapter_end.cuh), and of embeddings. */
#include "backend/cuda/adapter_end.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/matrix_read.cuh"

namespace {

enum { EXPAND_THREADS = 128, N = EXPAND_TOKENS };

/* What a block knows of the l-th uses of its tokens. */
struct uses {
  int slot[N], rank[N]; /* rank: filled up */
  float scale[N];
  cuda_adapter_site site[N];
  int most; /* rank */
  bool any;
};

__device__ __forceinline__ uses uses_find(const cuda_expand &a, int first, int l) {
  uses u = {};
#pragma unroll
  for (int t = 0; t < N; t++) {
    cuda_adapter_use use = {-1, 0};
    if (first + t < a.n) use = a.linear.rows.use[(first + t) * USES + l];
    u.any = u.any || use.slot >= 0;
    u.slot[t] = use.slot, u.scale[t] = use.scale;
    if (use.slot >= 0) u.site[t] = site_of(a.linear.rows.factors, use.slot);
    if (!u.site[t].used) u.slot[t] = -1;
    u.rank[t] = u.slot[t] < 0 ? 0 : whole_rank(u.site[t].rank);
    u.most = max(u.most, u.rank[t]);
  }
  return u;
}

/* h of a block's tokens: [N][part × rank] in shared memory. */
__device__ void shrunk_copy(const cuda_expand &a, const uses &u, int first, int l, float *h) {
  const cuda_adapter_factors &f = a.linear.rows.factors;
  int width = f.n_part * f.rank;
#pragma unroll
  for (int t = 0; t < N; t++) {
    const float *from = a.linear.rows.h + ((size_t)(first + t) * USES + l) * width;
    for (int k = threadIdx.x; k < width && u.rank[t] > 0; k += EXPAND_THREADS)
      h[t * width + k] = k % f.rank < u.rank[t] ? from[k] : 0;
  }
}

/* b · h of a thread's rows and tokens. */
template <typename F, int ROWS>
__device__ __forceinline__ void rows_multiply(const cuda_expand &a, const uses &u, const int row[ROWS], const float *h,
                                              float delta[ROWS][N]) {
  const cuda_adapter_factors &f = a.linear.rows.factors;
  int width = f.n_part * f.rank;
  for (int k0 = 0; k0 < u.most; k0 += RANK_STRIP) {
    run<F> b[N][ROWS];
#pragma unroll
    for (int t = 0; t < N; t++) {
      bool again = t > 0 && u.slot[t] == u.slot[t > 0 ? t - 1 : 0];
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        if (again)
          b[t][r] = b[t > 0 ? t - 1 : 0][r];
        else if (k0 < u.rank[t])
          b[t][r] = run_load((const F *)(f.b + u.slot[t] * f.slot_bytes) + (size_t)row[r] * u.rank[t] + k0);
      }
    }
#pragma unroll
    for (int t = 0; t < N; t++)
#pragma unroll
      for (int r = 0; r < ROWS; r++)
        if (k0 < u.rank[t])
          delta[r][t] = run_multiply(b[t][r], h + t * width + part_of_row(f, row[r]) * f.rank + k0, delta[r][t]);
  }
}

/* ROWS: 2 of a gate and its up. */
template <typename F, int ROWS>
__global__ void __launch_bounds__(EXPAND_THREADS) expand(const __grid_constant__ cuda_expand a) {
  extern __shared__ __align__(16) float h[];
  const cuda_adapter_factors &f = a.linear.rows.factors;
  const cuda_linear &l = a.linear;
  int first = blockIdx.y * N, col = blockIdx.x * EXPAND_THREADS + threadIdx.x;
  bool has = col < l.result_cols;
  int at = has ? col : 0, row[ROWS] = {ROWS == 2 ? at / GATE_RUN * 2 * GATE_RUN + at % GATE_RUN : at};
  if (ROWS == 2) row[ROWS - 1] = row[0] + GATE_RUN;
  float change[ROWS][N] = {};
  uint32_t adapted = 0;
  dependents_launch();
  dependencies_wait();
  float product[ROWS][N], residual[N];
#pragma unroll
  for (int t = 0; t < N; t++) {
    bool there = has && first + t < a.n;
#pragma unroll
    for (int r = 0; r < ROWS; r++) product[r][t] = there ? l.product[(size_t)(first + t) * a.product_cols + row[r]] : 0;
    residual[t] = there && l.residual ? l.residual[(size_t)(first + t) * l.residual_cols + col] : 0;
  }
  for (int i = 0; i < USES; i++) {
    uses u = uses_find(a, first, i);
    float delta[ROWS][N] = {};
    if (!u.any) break;
    __syncthreads(); /* h has been read */
    shrunk_copy(a, u, first, i, h);
    __syncthreads();
    rows_multiply<F, ROWS>(a, u, row, h, delta);
#pragma unroll
    for (int t = 0; t < N; t++) {
      if (u.slot[t] < 0) continue;
      adapted |= 1u << t;
#pragma unroll
      for (int r = 0; r < ROWS; r++)
        change[r][t] += change_of(f, u.site[t], u.slot[t], row[r], u.scale[t], product[r][t], delta[r][t]);
    }
  }
#pragma unroll
  for (int t = 0; t < N; t++) {
    float y[ROWS];
    if (!has || first + t >= a.n) continue;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      y[r] = adapted >> t & 1 ? bounded(product[r][t] + change[r][t], f.most) : product[r][t];
      if (l.bias) y[r] += l.bias[row[r]];
    }
    float x = result_of(l, y[0], y[ROWS - 1]);
    l.out[(size_t)(first + t) * l.out_cols + col] = l.residual ? residual_add(l, x, residual[t]) : x;
  }
}

/* --- embeddings --------------------------------------------------------------------------------------------------- */

struct embedding {
  cuda_matrix table;
  cuda_adapter_factors factors;
  const cuda_adapter_use *use;
  cuda_batch batch;
  float scale, *out;
  int out_cols;
};

template <typename F> __global__ void __launch_bounds__(EXPAND_THREADS) embed_adapted(embedding e) {
  const cuda_adapter_factors &f = e.factors;
  int i = blockIdx.x, id = e.batch.token[i], col = blockIdx.y * EXPAND_THREADS + threadIdx.x;
  if (id < 0) id = e.batch.last[e.batch.row[e.batch.token_row[i]].seat];
  if (col >= e.table.cols) return;
  float product = matrix_at(e.table, id, col), change = 0;
  bool adapted = false;
  for (int l = 0; l < USES; l++) {
    cuda_adapter_use use = e.use[i * USES + l];
    if (use.slot < 0) break;
    cuda_adapter_site site = site_of(f, use.slot);
    if (!site.used) continue;
    int rank = whole_rank(site.rank);
    const F *a = (const F *)(f.a + use.slot * f.slot_bytes) + (size_t)id * rank;
    const F *b = (const F *)(f.b + use.slot * f.slot_bytes) + (size_t)col * rank;
    float delta = 0;
    for (int k = 0; k < site.rank; k++) delta += factor_at(b, k) * factor_at(a, k);
    change += change_of(f, site, use.slot, col, use.scale, product, delta);
    adapted = true;
  }
  e.out[(size_t)i * e.out_cols + col] = (adapted ? bounded(product + change, f.most) : product) * e.scale;
}

} // namespace

void cuda_adapter_expand(const struct cuda_expand *expand_of, bool early, cuda_stream stream) {
  const struct cuda_adapter_factors &f = expand_of->linear.rows.factors;
  const struct cuda_linear &l = expand_of->linear;
  dim3 grid((l.result_cols + EXPAND_THREADS - 1) / EXPAND_THREADS, (expand_of->n + N - 1) / N);
  void (*kernel)(cuda_expand) = f.floats ? (l.gated ? expand<float, 2> : expand<float, 1>)
                                         : (l.gated ? expand<__nv_bfloat16, 2> : expand<__nv_bfloat16, 1>);
  adapter_launch(kernel, grid, EXPAND_THREADS, N * f.n_part * f.rank * (int)sizeof(float), early, stream, *expand_of);
}

void cuda_adapter_embed(const struct cuda_matrix *table, const struct cuda_adapter_factors *factors,
                        const struct cuda_adapter_use *use, const struct cuda_batch *batch, float scale, float *out,
                        int out_cols, cuda_stream stream) {
  embedding e = {*table, *factors, use, *batch, scale, out, out_cols};
  dim3 grid(batch->n_token, (table->cols + EXPAND_THREADS - 1) / EXPAND_THREADS);
  (factors->floats ? embed_adapted<float> : embed_adapted<__nv_bfloat16>)<<<grid, EXPAND_THREADS, 0, stream>>>(e);
}
