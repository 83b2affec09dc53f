/* Rows in and out: embedding, and the selection of outputs. */
#include "backend/cuda/matrix_read.cuh"

namespace {

enum { ROW_THREADS = 256 };

/* The token, or its seat's last. */
__device__ int token_of(const struct cuda_batch &batch, int i) {
  int token = batch.token[i];
  return token >= 0 ? token : batch.last[batch.row[batch.token_row[i]].seat];
}

/* One block a token. */
__global__ void embed(struct cuda_matrix table, struct cuda_batch batch, float scale, float *out, int out_cols) {
  int id = token_of(batch, blockIdx.x);
  for (int c = threadIdx.x; c < table.cols; c += blockDim.x)
    out[(size_t)blockIdx.x * out_cols + c] = matrix_at(table, id, c) * scale;
}

__global__ void select(const float *in, float *out, int cols, struct cuda_batch batch) {
  const float *from = in + (size_t)batch.out[blockIdx.x] * cols;
  for (int c = threadIdx.x; c < cols; c += blockDim.x) out[(size_t)blockIdx.x * cols + c] = from[c];
}

} // namespace

void cuda_embed(const struct cuda_matrix *table, const struct cuda_batch *batch, float scale, float *out, int out_cols,
                cuda_stream stream) {
  embed<<<batch->n_token, ROW_THREADS, 0, stream>>>(*table, *batch, scale, out, out_cols);
}

void cuda_select(const float *in, float *out, int cols, const struct cuda_batch *batch, cuda_stream stream) {
  select<<<batch->n_out, ROW_THREADS, 0, stream>>>(in, out, cols, *batch);
}
