/* Rows of encoders on any GPU: embeddings of patches and positions, norms that stand alone, outputs that join tokens,
 * activations after plain products; and rows of the pool in place of a decoder's embeddings. A warp takes a row. */
#include "backend/cuda/image_rows.cuh"
#include "backend/cuda/matrix_read.cuh"

namespace {

enum { WARPS = 8, ACT_THREADS = 256 };

__device__ __forceinline__ int warp_row() { return blockIdx.x * WARPS + threadIdx.x / 32; }

/* What `out` holds already becomes normed. */
__device__ void row_norm(const cuda_norm &norm, float *row, int cols) {
  if (norm.kind == NORMED_NOT) return;
  __syncwarp();
  normed n = normed_of(norm, cols, [&](int c) { return row[c]; });
  for (int c = threadIdx.x % 32; c < cols; c += 32) row[c] = norm_apply(norm, n, row[c], cols, c);
}

__global__ void embed(struct cuda_image_embed a, cuda_matrix table, bool of_table) {
  int i = warp_row();
  if (i >= a.n) return;
  int index = of_table ? a.index[i] : -1;
  float *out = a.out + (size_t)i * a.cols;
  for (int c = threadIdx.x % 32; c < a.cols; c += 32) {
    float x = of_table ? matrix_at(table, index, c) : a.rows[(size_t)i * a.cols + c];
    if (a.first && index == 0) x += a.first[c];
    out[c] = x * a.scale + (a.in ? a.in[(size_t)i * a.cols + c] : 0);
  }
  row_norm(a.norm, out, a.cols);
}

__global__ void select(struct cuda_image_select a) {
  int i = warp_row();
  if (i >= a.n * a.merged) return;
  const float *from = a.in + (size_t)(a.token[i / a.merged] + i % a.merged) * a.cols;
  float *out = a.out + (size_t)i * a.cols;
  for (int c = threadIdx.x % 32; c < a.cols; c += 32) out[c] = from[c];
  row_norm(a.norm, out, a.cols);
}

/* The mean of rows that are normed each. */
__global__ void select_mean(struct cuda_image_select a) {
  int i = warp_row();
  if (i >= a.n) return;
  float *out = a.out + (size_t)i * a.cols;
  for (int k = 0; k < a.merged; k++) {
    const float *from = a.in + (size_t)(a.token[i] + k) * a.cols;
    normed n = normed_of(a.norm, a.cols, [&](int c) { return from[c]; });
    for (int c = threadIdx.x % 32; c < a.cols; c += 32) {
      float sum = (k ? out[c] : 0) + norm_apply(a.norm, n, from[c], a.cols, c);
      out[c] = k + 1 < a.merged ? sum : sum / a.merged;
    }
  }
}

__global__ void norm_rows(const float *in, int n, int in_cols, int cols, cuda_norm norm, float *out) {
  int i = warp_row();
  if (i >= n) return;
  for (int c = threadIdx.x % 32; c < cols; c += 32) out[(size_t)i * cols + c] = in[(size_t)i * in_cols + c];
  row_norm(norm, out + (size_t)i * cols, cols);
}

__global__ void act_rows(float *x, int stride, int cols, int act, float factor) {
  float *row = x + (size_t)blockIdx.x * stride;
  for (int c = threadIdx.x; c < cols; c += blockDim.x) row[c] = curve_of(act, row[c]) * factor;
}

__global__ void pool_rows(const float *pool, const int32_t *embed, int n, int cols, float *out) {
  int i = warp_row();
  if (i >= n || embed[i] < 0) return;
  for (int c = threadIdx.x % 32; c < cols; c += 32) out[(size_t)i * cols + c] = pool[(size_t)embed[i] * cols + c];
}

int blocks_of(int rows) { return (rows + WARPS - 1) / WARPS; }

} // namespace

void cuda_image_embed(const struct cuda_image_embed *a, cuda_stream stream) {
  embed<<<blocks_of(a->n), WARPS * 32, 0, stream>>>(*a, a->table ? *a->table : cuda_matrix{}, a->table != nullptr);
}

void cuda_image_select(const struct cuda_image_select *a, cuda_stream stream) {
  if (a->mean)
    select_mean<<<blocks_of(a->n), WARPS * 32, 0, stream>>>(*a);
  else
    select<<<blocks_of(a->n * a->merged), WARPS * 32, 0, stream>>>(*a);
}

void cuda_image_norm(const float *in, int n, int in_cols, int cols, const struct cuda_norm *norm, float *out,
                     cuda_stream stream) {
  norm_rows<<<blocks_of(n), WARPS * 32, 0, stream>>>(in, n, in_cols, cols, *norm, out);
}

void cuda_image_act(float *x, int n, int stride, int cols, int act, float factor, cuda_stream stream) {
  act_rows<<<n, ACT_THREADS, 0, stream>>>(x, stride, cols, act, factor);
}

void cuda_pool_embed(const float *pool, const int32_t *embed, int n, int cols, float *out, cuda_stream stream) {
  pool_rows<<<blocks_of(n), WARPS * 32, 0, stream>>>(pool, embed, n, cols, out);
}
