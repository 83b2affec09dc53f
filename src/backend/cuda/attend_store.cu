/* Before attention on the matrix units: queries and keys are normed and rotated, keys and values go to the cache's
 * panels, queries to a buffer of their own, scaled, all in fp16. A warp for each head of each token. Angles depend on
 * token and frequency alone: their cosines and sines are made once a step. */
#include "backend/cuda/attend.cuh"
#include "backend/cuda/cuda_paths.h"

namespace {

enum { WARPS = 8, DIM_MOST = 256, ANGLE_THREADS = 128 };

__global__ void angles(const float *frequency, int n_angle, cuda_batch batch, float2 *angle) {
  int token = blockIdx.x, row = batch.token_row[token];
  cuda_row r = batch.row[row];
  double position = r.length + token - r.first;
  for (int i = threadIdx.x; i < n_angle; i += blockDim.x) {
    double sine, cosine;
    sincos(position * (double)frequency[i], &sine, &cosine);
    angle[(size_t)token * n_angle + i] = make_float2((float)cosine, (float)sine);
  }
}

/* A head of q or k into `head`: normed, rotated. All lanes of a warp; all that memory has is asked for at once. */
__device__ void head_prepare(const cuda_attend &a, const float *from, const float *norm, const float2 *angle,
                             float *head) {
  constexpr int each = DIM_MOST / 32;
  int lane = threadIdx.x % 32, pairs = a.rope_style ? a.rope_dim / 2 : 0;
  float x[each], squares = 0;
  float2 turn[each / 2];
#pragma unroll
  for (int j = 0; j < each; j++) x[j] = lane + 32 * j < a.dim_k ? from[lane + 32 * j] : 0;
#pragma unroll
  for (int j = 0; j < each / 2; j++) turn[j] = lane + 32 * j < pairs ? angle[lane + 32 * j] : make_float2(1, 0);
  if (norm) {
#pragma unroll
    for (int j = 0; j < each; j++) squares += x[j] * x[j];
    for (int step = 16; step > 0; step /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, step);
    float scale = rsqrtf(squares / a.dim_k + a.eps);
#pragma unroll
    for (int j = 0; j < each; j++) x[j] = lane + 32 * j < a.dim_k ? x[j] * scale * norm[lane + 32 * j] : 0;
  }
#pragma unroll
  for (int j = 0; j < each; j++) head[lane + 32 * j] = x[j];
  __syncwarp();
#pragma unroll
  for (int j = 0; j < each / 2; j++) {
    int i = lane + 32 * j, low = a.rope_style == ROTATE_PAIRS ? 2 * i : i,
        high = a.rope_style == ROTATE_PAIRS ? low + 1 : i + pairs;
    if (i >= pairs) continue;
    float c = turn[j].x * a.rope_scale, sine = turn[j].y * a.rope_scale, y = head[low], z = head[high];
    head[low] = y * c - z * sine;
    head[high] = y * sine + z * c;
  }
  __syncwarp();
}

__device__ void query_store(const cuda_attend &a, int token, int h, const float *head) {
  float scale = a.softcap > 0 ? a.scale : a.scale * LOG2_E;
  __half2 *to = (__half2 *)(a.query + ((size_t)token * a.n_head + h) * a.dim_k);
  for (int i = threadIdx.x % 32; i < a.dim_k / 2; i += 32)
    to[i] = __floats2half2_rn(head[2 * i] * scale, head[2 * i + 1] * scale);
}

__device__ void cache_store(const cuda_attend &a, __half *to, int token, const float *head) {
  for (int i = threadIdx.x % 32; i < a.dim_k / 2; i += 32)
    *(__half2 *)(to + panel_index(a.dim_k, a.block_size, token, 2 * i)) =
        __floats2half2_rn(head[2 * i], head[2 * i + 1]);
}

/* Heads of queries, then of keys with their values. */
__global__ void __launch_bounds__(WARPS * 32) store(cuda_attend a, cuda_batch batch) {
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
  const float *from = a.in + (size_t)token * a.in_cols + (size_t)h * a.dim_k;
  head_prepare(a, from, kv < 0 ? a.norm_q : a.norm_k, (const float2 *)a.angle + (size_t)token * a.n_angle, head);
  if (kv < 0) {
    query_store(a, token, h, head);
    return;
  }
  __half *cache = (__half *)a.cache;
  cache_store(a, cache + block_index(a, block, kv, 0), position % a.block_size, head);
  cache_store(a, cache + block_index(a, block, kv, 1), position % a.block_size, from + (size_t)a.n_kv_head * a.dim_k);
}

} // namespace

void cuda_angles(const float *frequency, int n_angle, const struct cuda_batch *batch, float *angle,
                 cuda_stream stream) {
  if (n_angle > 0) angles<<<batch->n_token, ANGLE_THREADS, 0, stream>>>(frequency, n_angle, *batch, (float2 *)angle);
}

void portable_attend_store(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
  int heads = attend->n_head + attend->n_kv_head;
  store<<<dim3(batch->n_token, (heads + WARPS - 1) / WARPS), WARPS * 32, 0, stream>>>(*attend, *batch);
}

void cuda_attend_store(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
  int heads = attend->n_head + attend->n_kv_head;
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(batch->n_token, (heads + WARPS - 1) / WARPS);
  config.blockDim = WARPS * 32;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, store, *attend, *batch);
}
