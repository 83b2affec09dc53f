/* Rows as row_kernels.h has them. A warp takes a row or a head, a block what wants whole rows at once. */
#include "backend/cuda/matrix_read.cuh"
#include "backend/cuda/row_ends.cuh"

namespace {

enum { WARPS = 8, POOL_THREADS = 128, END_THREADS = 256, CLAMP_THREADS = 256 };

__device__ __forceinline__ int warp_row() { return blockIdx.x * WARPS + threadIdx.x / 32; }

int blocks_of(int rows) { return (rows + WARPS - 1) / WARPS; }

/* --- embeddings --------------------------------------------------------------------------------------------------- */

/* The token, or its seat's last. */
__device__ int token_of(const cuda_batch &batch, int i) {
  int token = batch.token[i];
  return token >= 0 ? token : batch.last[batch.row[batch.token_row[i]].seat];
}

__device__ int place_of(const struct cuda_embed_rows &a, const cuda_batch &batch, int i) {
  if (a.place) return a.place[3 * i + a.axis];
  cuda_row r = batch.row[batch.token_row[i]];
  return a.axis == 0 ? r.length + i - r.first : 0;
}

__global__ void embed(struct cuda_embed_rows a, cuda_batch batch) {
  int i = warp_row(), cols = a.table.cols;
  if (i >= batch.n_token) return;
  int index = a.by_token ? token_of(batch, i) : a.skip + place_of(a, batch, i);
  float *out = a.out + (size_t)i * cols;
  for (int c = threadIdx.x % 32; c < cols; c += 32)
    out[c] = matrix_at(a.table, index, c) * a.scale + (a.in ? a.in[(size_t)i * cols + c] : 0);
  normed n = normed_of(a.norm, cols, [&](int c) { return out[c]; }); /* a lane reads what it has written */
  if (a.norm.kind == NORMED_NOT) return;
  for (int c = threadIdx.x % 32; c < cols; c += 32) out[c] = norm_apply(a.norm, n, out[c], cols, c);
}

/* --- outputs of whole rows ---------------------------------------------------------------------------------------- */

/* A block for an output and so many columns as it has threads; the row's tokens are added in their order, from the one
 * that batch.out names. */
__global__ void pool(struct cuda_pool_select a, cuda_batch batch) {
  int first = batch.out[blockIdx.x], col = blockIdx.y * POOL_THREADS + threadIdx.x;
  cuda_row r = batch.row[batch.token_row[first]];
  int count = a.mean ? r.first + r.count - first : 1;
  const float *from = a.in + (size_t)first * a.cols;
  float sum = 0;
#pragma unroll 8
  for (int k = 0; k < count; k++, from += a.cols) {
    normed n = columns_normed(a.norm, a.cols, [&](int c) { return from[c]; });
    if (col < a.cols) sum += norm_apply(a.norm, n, from[col], a.cols, col);
  }
  if (col < a.cols) a.out[(size_t)blockIdx.x * a.cols + col] = sum / count;
}

/* --- heads -------------------------------------------------------------------------------------------------------- */

__global__ void clamp(float *x, size_t n, float most) {
  size_t i = (size_t)blockIdx.x * CLAMP_THREADS + threadIdx.x;
  if (i < n && fabsf(x[i]) > most) x[i] = copysignf(most, x[i]);
}

/* A warp for each head of q, then of k. A lane writes what it alone has read. */
__global__ void heads_norm(cuda_attend a, float *in, int n) {
  int heads = a.n_head + a.n_kv_head, at = warp_row(), token = at / heads, h = at % heads;
  if (token >= n) return;
  const float *weight = h < a.n_head ? a.norm_q : a.norm_k;
  if (!weight) return;
  cuda_norm norm = {
      .weight = weight + (size_t)(h < a.n_head ? h : h - a.n_head) * a.dim_k, .eps = a.eps, .kind = NORMED_LAYER};
  float *head = in + (size_t)token * a.in_cols + (size_t)h * a.dim_k;
  normed to = normed_of(norm, a.dim_k, [&](int c) { return head[c]; });
  for (int c = threadIdx.x % 32; c < a.dim_k; c += 32) head[c] = (head[c] - to.mean) * to.scale * norm.weight[c];
}

/* --- ends of linears ---------------------------------------------------------------------------------------------- */

/* A row's results: what its products become, and what they are added to. */
struct ending {
  const cuda_linear &a;
  const cuda_gate &g;
  const float *products, *residual; /* residual: NULL: none */

  __device__ float result(int c) const {
    int row = result_row(a, c);
    return curved_of(a, g, products[row], a.gated ? products[row + GATE_RUN] : 0);
  }
  __device__ float sum(int c) const { return result(c) + (residual ? residual[c] : 0); }
};

/* One block a row. The residual may be where results go: a thread writes a column that it alone reads, when all sums
 * are made. */
__global__ void end_rows(cuda_linear a, cuda_norm norm, bool of_sum, cuda_gate g) {
  ending e = {a, g, a.product + (size_t)blockIdx.x * a.matrix.rows,
              a.residual ? a.residual + (size_t)blockIdx.x * a.residual_cols : nullptr};
  float *out = a.out + (size_t)blockIdx.x * a.out_cols;
  int cols = a.result_cols;
  if (of_sum) {
    normed n = columns_normed(norm, cols, [&](int c) { return e.sum(c); });
    for (int c = threadIdx.x; c < cols; c += blockDim.x) out[c] = norm_apply(norm, n, e.sum(c), cols, c);
    return;
  }
  normed n = columns_normed(norm, cols, [&](int c) { return e.result(c); });
  for (int c = threadIdx.x; c < cols; c += blockDim.x) {
    float x = norm_apply(norm, n, e.result(c), cols, c);
    out[c] = e.residual ? residual_add(a, x, e.residual[c]) : x;
  }
}

} // namespace

void cuda_embed_rows(const struct cuda_embed_rows *embed_of, const struct cuda_batch *batch, cuda_stream stream) {
  embed<<<blocks_of(batch->n_token), WARPS * 32, 0, stream>>>(*embed_of, *batch);
}

void cuda_pool_select(const struct cuda_pool_select *select, const struct cuda_batch *batch, cuda_stream stream) {
  dim3 grid(batch->n_out, (select->cols + POOL_THREADS - 1) / POOL_THREADS);
  pool<<<grid, POOL_THREADS, 0, stream>>>(*select, *batch);
}

void cuda_clamp(float *x, size_t n, float most, cuda_stream stream) {
  clamp<<<(unsigned)((n + CLAMP_THREADS - 1) / CLAMP_THREADS), CLAMP_THREADS, 0, stream>>>(x, n, most);
}

void cuda_heads_norm(const struct cuda_attend *attend, float *in, int n, cuda_stream stream) {
  int heads = n * (attend->n_head + attend->n_kv_head);
  heads_norm<<<blocks_of(heads), WARPS * 32, 0, stream>>>(*attend, in, n);
}

void cuda_linear_end(const struct cuda_linear *linear, const struct cuda_norm *norm, bool of_sum, struct cuda_gate gate,
                     cuda_stream stream) {
  end_rows<<<linear->n_row, END_THREADS, 0, stream>>>(*linear, *norm, of_sum, gate);
}
