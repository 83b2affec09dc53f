/* Before attention on the matrix units, but in decode steps, whose kernel does it itself: what tokens bring
 * (attend_fresh.cuh), keys and values to the cache's panels, queries to a buffer of their own. A warp for each head of
 * each token. */
#include "backend/cuda/attend_fresh.cuh"
#include "backend/cuda/cuda_paths.h"
#include "backend/cuda/launch.cuh"

namespace {

enum { WARPS = 8, DIM_MOST = 256, ANGLE_THREADS = 128 };

__global__ void angles(const float *frequency, const uint8_t *axis, const int32_t *place, int n_angle, cuda_batch batch,
                       float2 *angle) {
  int token = blockIdx.x, row = batch.token_row[token];
  cuda_row r = batch.row[row];
  for (int i = threadIdx.x; i < n_angle; i += blockDim.x) {
    double sine, cosine;
    sincos((double)token_place(place, r, token, axis, i) * (double)frequency[i], &sine, &cosine);
    angle[(size_t)token * n_angle + i] = make_float2((float)cosine, (float)sine);
  }
}

template <typename T>
__device__ void query_store(const cuda_attend &a, int token, int position, int h, const float *head) {
  float scale = query_scale(a, position);
  uint32_t *to = (uint32_t *)(a.query + ((size_t)token * a.n_head + h) * a.dim_k);
  for (int i = threadIdx.x % 32; i < a.dim_k / 2; i += 32)
    to[i] = T::pair(head[2 * i] * scale, head[2 * i + 1] * scale);
}

/* Heads of queries, then of keys with their values. */
template <typename T> __global__ void __launch_bounds__(WARPS * 32) store(cuda_attend a, cuda_batch batch) {
  __shared__ float heads[WARPS][DIM_MOST];
  int token = blockIdx.x, h = blockIdx.y * WARPS + threadIdx.x / 32, kv = h - a.n_head;
  float *head = heads[threadIdx.x / 32];
  dependents_launch();
  if (kv >= a.n_kv_head) return;
  int row = batch.token_row[token];
  cuda_row r = batch.row[row];
  if (r.count == 0) return;
  int position = r.length + token - r.first;
  uint32_t block = kv < 0 ? 0 : table_of(a, batch, r)[position / a.block_size];
  dependencies_wait();
  const float *from = fresh_head(a, token, h);
  head_prepare<DIM_MOST>(a, from, kv < 0 ? a.norm_q : a.norm_k, fresh_angle(a, token), head);
  if (kv < 0) {
    query_store<T>(a, token, position, h, head);
    return;
  }
  int dim = a.dim_k, tokens = a.block_size, at = position % tokens;
  head_store<T>(dim, tokens, block_at<T>(a, block, kv, 0), at, head);
  head_store<T>(dim, tokens, block_at<T>(a, block, kv, 1), at, from + (size_t)a.n_kv_head * dim);
}

} // namespace

void cuda_angles(const float *frequency, const uint8_t *axis, const int32_t *place, int n_angle,
                 const struct cuda_batch *batch, float *angle, cuda_stream stream) {
  angles<<<batch->n_token, ANGLE_THREADS, 0, stream>>>(frequency, axis, place, n_angle, *batch, (float2 *)angle);
}

void portable_attend_store(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
  int heads = attend->n_head + attend->n_kv_head;
  dim3 grid(batch->n_token, (heads + WARPS - 1) / WARPS);
  (attend->kv == CACHE_BF16 ? store<cache_bf16> : store<cache_f16>)<<<grid, WARPS * 32, 0, stream>>>(*attend, *batch);
}

void cuda_attend_store(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
  static void (*const stores[])(cuda_attend, cuda_batch) = {nullptr, store<cache_f16>, store<cache_bf16>,
                                                            store<cache_e4m3>, store<cache_int8>}; /* CACHE_… */
  int heads = attend->n_head + attend->n_kv_head;
  launch_shape shape = {batch->n_token, WARPS * 32, 0, 1, (heads + WARPS - 1) / WARPS};
  early_launch(stores[attend->kv], shape, stream, *attend, *batch);
}
