/* What attention within images reads, where the linear before it cannot leave it as it is: queries and keys that are
 * normed or rotated, in 16 bits, in the panels of their blocks. A warp for each head of each token. */
#include "backend/cuda/attend_fresh.cuh"
#include "backend/cuda/image_chunks.cuh"
#include "backend/cuda/launch.cuh"

namespace {

enum { WARPS = 8, DIM_MOST = 128, UNIT = 8 /* numbers of 16 bytes */ };

__device__ __forceinline__ uint4 unit_round(const float *x, float scale) {
  uint32_t pair[UNIT / 2];
#pragma unroll
  for (int i = 0; i < UNIT / 2; i++) pair[i] = cache_f16::pair(x[2 * i] * scale, x[2 * i + 1] * scale);
  return make_uint4(pair[0], pair[1], pair[2], pair[3]);
}

/* Heads of queries, then of keys with their values. */
__global__ void __launch_bounds__(WARPS * 32)
    heads(cuda_attend a, const __grid_constant__ cuda_image_ends e, cuda_batch batch) {
  __shared__ float room[WARPS][DIM_MOST];
  int token = blockIdx.x, h = blockIdx.y * WARPS + threadIdx.x / 32, d = threadIdx.x % 32 * UNIT;
  float *head = room[threadIdx.x / 32];
  dependents_launch();
  dependencies_wait();
  if (h >= 2 * e.n_head) return;
  int place = (int)e.cached[token], of = h % e.n_head;
  bool key = h >= e.n_head;
  head_prepare<DIM_MOST>(a, fresh_head(a, token, h), key ? a.norm_k : a.norm_q, fresh_angle(a, token), head);
  if (d >= e.dim) return;
  *head_chunk(e, place, key, of, d) = unit_round(head + d, key ? 1 : e.scale);
  if (key) *head_chunk(e, place, 2, of, d) = unit_round(fresh_head(a, token, h + e.n_head) + d, 1);
}

} // namespace

void cuda_image_heads(const struct cuda_attend *attend, const struct cuda_image_ends *ends,
                      const struct cuda_batch *batch, cuda_stream stream) {
  launch_shape shape = {batch->n_token, WARPS * 32, 0, 1, (2 * ends->n_head + WARPS - 1) / WARPS};
  early_launch(heads, shape, stream, *attend, *ends, *batch);
}
