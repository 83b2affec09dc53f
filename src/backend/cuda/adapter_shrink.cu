/* The shrink: what a linear's input, normed, makes with the factor a of its rows' adapters. A block takes up to eight
 * uses of one adapter, 16 ranks and some 1,024 columns: a warp multiplies 128 columns on the matrix units, with the
 * input as two numbers in bf16, which keep 16 bits of it. A use's sums depend on it alone: those of warps are added in
 * order, and so are those of columns, whether blocks of their own have made them or one after the other. Of blocks of
 * their own the last one to arrive adds them. What is left has the scale of the input's norm. */
#include "backend/cuda/adapter_launch.cuh"
#include "backend/cuda/linear_result.cuh"

namespace {

enum { SHRINK_WARPS = 8, SHRINK_THREADS = SHRINK_WARPS * 32, WARP_COLS = SPLIT_COLS / SHRINK_WARPS };

/* Two neighbours, zeros beyond the last column and where there is no token. */
__device__ __forceinline__ float2 two_load(const cuda_shrink &a, int token, int col) {
  const float *row = a.in + (size_t)token * a.in_cols;
  if (token >= 0 && a.in_cols % 2 == 0 && col + 2 <= a.factors.cols) return *(const float2 *)(row + col);
  return make_float2(token >= 0 && col < a.factors.cols ? row[col] : 0,
                     token >= 0 && col + 1 < a.factors.cols ? row[col + 1] : 0);
}

/* A lane's four of 16 columns (adapter_index) of a token's input, with the norm's weights, and their squares without.
 */
__device__ __forceinline__ float columns_load(const cuda_shrink &a, int token, int col, float x[4]) {
  float2 low = two_load(a, token, col), high = two_load(a, token, col + 8);
  x[0] = low.x, x[1] = low.y, x[2] = high.x, x[3] = high.y;
  if (!a.norm) return 0;
  float squares = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int at = col + i / 2 * 8 + i % 2;
    squares += x[i] * x[i];
    if (at < a.factors.cols) x[i] *= a.norm[at];
  }
  return squares;
}

/* A pair in bf16, and what that leaves. */
__device__ __forceinline__ uint32_t pair_split(float x, float y, uint32_t *rest) {
  __nv_bfloat162 pair = __floats2bfloat162_rn(x, y);
  *rest = pair_round(x - __low2float(pair), y - __high2float(pair));
  return *(uint32_t *)&pair;
}

/* A warp: sums of 16 ranks × 8 tokens over its columns of a split. */
__device__ __forceinline__ float warp_multiply(const cuda_shrink &a, const uint8_t *strip, int token, int first,
                                               float sum[4]) {
  enum { STEPS = WARP_COLS / 16 };
  int lane = threadIdx.x % 32, n_piece = (a.factors.cols + 63) / 64;
  uint4 w[STEPS];
  float x[STEPS][4], squares = 0;
#pragma unroll
  for (int i = 0; i < STEPS; i++) {
    int col = first + i * 16;
    bool there = col / 64 < n_piece;
    w[i] = there ? ((const uint4 *)strip)[(size_t)col / 64 * 128 + col % 64 / 16 * 32 + lane] : make_uint4(0, 0, 0, 0);
  }
#pragma unroll
  for (int i = 0; i < STEPS; i++) squares += columns_load(a, token, first + i * 16 + lane % 4 * 2, x[i]);
#if __CUDA_ARCH__ >= 800
#pragma unroll
  for (int i = 0; i < STEPS; i++) {
    uint32_t rest[2], low = pair_split(x[i][0], x[i][1], &rest[0]), high = pair_split(x[i][2], x[i][3], &rest[1]);
    const uint32_t ranks[4] = {w[i].x, w[i].y, w[i].z, w[i].w};
    multiply_bf16(sum, ranks, low, high);
    multiply_bf16(sum, ranks, rest[0], rest[1]);
  }
#endif
  return squares;
}

/* Of a chunk: the uses' places and tokens. */
__device__ __forceinline__ int place_at(const cuda_shrink &a, const cuda_adapter_chunk &chunk, int i) {
  return i < chunk.count ? a.lists.place[chunk.first + i] : -1;
}

/* A block has left what others are to read, or what it is to read itself: is it the last of so many? */
__device__ __forceinline__ bool block_last(uint32_t *arrived, uint32_t n) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(arrived, 1) == n - 1;
    if (last) *arrived = 0;
  }
  __syncthreads();
  __threadfence();
  return last;
}

/* Of splits, in order, each so many floats from the one before. */
__device__ __forceinline__ float splits_add(const float *from, size_t stride, int n) {
  float total = 0;
  for (int s = 0; s < n; s++) total += __ldcg(from + s * stride);
  return total;
}

__device__ __forceinline__ float norm_scale(const cuda_shrink &a, float squares) {
  return a.norm ? rsqrtf(squares / a.factors.cols + a.eps) : 1;
}

/* A chunk's ranks of a part. Threads have the sum of a rank and use each. */
__device__ void strip_shrink(const cuda_shrink &a, const cuda_adapter_chunk &chunk, int part, int k0,
                             uint32_t *arrived) {
  __shared__ __align__(8) float sums[SHRINK_WARPS][16][CHUNK_USES];
  __shared__ float squares[SHRINK_WARPS][CHUNK_USES], scale[CHUNK_USES];
  const cuda_adapter_factors &f = a.factors;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, rank = whole_rank(site_of(f, chunk.slot).rank);
  int use = place_at(a, chunk, lane / 4), token = use < 0 ? -1 : use / USES;
  int n_split = (f.cols + SPLIT_COLS - 1) / SPLIT_COLS, width = f.n_part * f.rank;
  const uint8_t *strip =
      f.a + chunk.slot * f.slot_bytes + (size_t)(part * rank + k0) / RANK_STRIP * ((f.cols + 63) / 64) * 2048;
  int k = threadIdx.x / CHUNK_USES, of = threadIdx.x % CHUNK_USES, mine = place_at(a, chunk, of);
  bool apart = a.sums.n_split > 1, adds = k < 16 && mine >= 0, squared = k == 16 && mine >= 0;
  float total = 0;
  for (int split = apart ? blockIdx.z : 0; split < n_split; split++) {
    float sum[4] = {0, 0, 0, 0};
    float square = warp_multiply(a, strip, token, split * SPLIT_COLS + warp * WARP_COLS, sum);
    square += __shfl_xor_sync(~0u, square, 1);
    square += __shfl_xor_sync(~0u, square, 2);
    __syncthreads(); /* the sums before have been read */
    *(float2 *)&sums[warp][lane / 4][lane % 4 * 2] = make_float2(sum[0], sum[1]);
    *(float2 *)&sums[warp][lane / 4 + 8][lane % 4 * 2] = make_float2(sum[2], sum[3]);
    if (lane % 4 == 0) squares[warp][lane / 4] = square;
    __syncthreads();
    float one = 0;
    for (int w = 0; w < SHRINK_WARPS; w++) one += k < 16 ? sums[w][k][of] : squares[w][of];
    total += one;
    if (apart) break;
  }
  float *h = a.sums.h + (size_t)mine * width + part * f.rank + k0 + k;
  size_t stride = (size_t)a.n * USES;
  if (apart) { /* strips leave the same squares */
    if (adds) h[blockIdx.z * stride * width] = total;
    if (squared) a.sums.squares[blockIdx.z * stride + mine] = total;
    if (!block_last(arrived, gridDim.z)) return;
    if (adds) total = splits_add(h, stride * width, n_split);
    if (squared) total = splits_add(a.sums.squares + mine, stride, n_split);
  }
  if (squared) scale[of] = norm_scale(a, total);
  __syncthreads();
  if (adds) *h = total * scale[of];
}

__global__ void __launch_bounds__(SHRINK_THREADS) shrink_units(const __grid_constant__ cuda_shrink a) {
  dependencies_wait();
  dependents_launch(); /* now: who comes next finds its input without waiting */
  int strips = a.factors.rank / RANK_STRIP, part = blockIdx.y / strips, k0 = blockIdx.y % strips * RANK_STRIP;
  int n = *a.lists.n_chunk;
  for (int i = blockIdx.x; i < n; i += gridDim.x) {
    cuda_adapter_chunk chunk = a.lists.chunk[i];
    if (k0 < site_of(a.factors, chunk.slot).rank)
      strip_shrink(a, chunk, part, k0, a.sums.arrived + (size_t)i * gridDim.y + blockIdx.y);
  }
}

/* The same in float arithmetic: of factors that are floats, and where there are no such units. */
template <typename F> __device__ __forceinline__ float a_at(const F *a, int n_piece, int row, int col);

template <> __device__ __forceinline__ float a_at(const float *a, int n_piece, int row, int col) {
  return a[(size_t)row * n_piece * 64 + col];
}

template <> __device__ __forceinline__ float a_at(const __nv_bfloat16 *a, int n_piece, int row, int col) {
  size_t piece = (size_t)(row / 16) * n_piece + col / 64;
  return __bfloat162float(a[piece * ADAPTER_PIECE + adapter_index(row % 16, col % 64)]);
}

__device__ __forceinline__ float lanes_add(float x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

/* A block takes a use; a warp each eighth row of a. */
template <typename F> __device__ void use_shrink(const cuda_shrink &a, int slot, int use) {
  __shared__ float x[SPLIT_COLS], scale;
  const cuda_adapter_factors &f = a.factors;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, token = use / USES;
  int rank = whole_rank(site_of(f, slot).rank), n_piece = (f.cols + 63) / 64, width = f.n_part * f.rank;
  bool apart = a.sums.n_split > 1;
  const F *from = (const F *)(f.a + slot * f.slot_bytes);
  const float *row = a.in + (size_t)token * a.in_cols;
  int n_split = (f.cols + SPLIT_COLS - 1) / SPLIT_COLS;
  size_t stride = (size_t)a.n * USES;
  float *h = a.sums.h + (size_t)use * width, *square = a.sums.squares + use;
  for (int split = apart ? blockIdx.z : 0; split < n_split; split++) {
    int first = split * SPLIT_COLS, n = min(SPLIT_COLS, f.cols - first);
    float squares = 0;
    size_t at = apart ? split * stride : 0;
    bool adds = !apart && split > 0;
    __syncthreads();
    for (int c = threadIdx.x; c < n; c += SHRINK_THREADS) x[c] = row[first + c] * (a.norm ? a.norm[first + c] : 1);
    __syncthreads();
    if (warp == 0) {
      for (int c = lane; c < n; c += 32) squares += row[first + c] * row[first + c];
      squares = lanes_add(squares);
      if (lane == 0) square[at] = adds ? square[at] + squares : squares;
    }
    for (int k = warp; k < f.n_part * rank; k += SHRINK_WARPS) {
      int part = k / rank, within = k % rank;
      float sum = 0;
      for (int c = lane; c < n; c += 32) sum += a_at<F>(from, n_piece, part * rank + within, first + c) * x[c];
      sum = lanes_add(sum);
      float *to = h + at * width + part * f.rank + within;
      if (lane == 0) *to = adds ? *to + sum : sum;
    }
    if (apart) break;
  }
  if (apart && !block_last(a.sums.arrived + use, gridDim.z)) return;
  __syncthreads();
  if (threadIdx.x == 0) scale = norm_scale(a, splits_add(square, stride, a.sums.n_split));
  __syncthreads();
  for (int k = threadIdx.x; k < width; k += SHRINK_THREADS)
    if (k % f.rank < rank) h[k] = splits_add(h + k, stride * width, a.sums.n_split) * scale;
}

template <typename F> __global__ void __launch_bounds__(SHRINK_THREADS) shrink_plain(cuda_shrink a) {
  dependencies_wait();
  dependents_launch();
  int n = *a.lists.n_chunk;
  for (int i = blockIdx.x; i < n; i += gridDim.x) {
    cuda_adapter_chunk chunk = a.lists.chunk[i];
    for (int k = blockIdx.y; k < chunk.count && site_of(a.factors, chunk.slot).rank > 0; k += gridDim.y)
      use_shrink<F>(a, chunk.slot, a.lists.place[chunk.first + k]);
  }
}

} // namespace

void cuda_adapter_shrink(const struct cuda_shrink *shrink, bool units, bool early, cuda_stream stream) {
  const struct cuda_adapter_factors &f = shrink->factors;
  int chunks = shrink->n <= SHRINK_APART ? shrink->n : (shrink->n + CHUNK_USES - 1) / CHUNK_USES;
  if (units && !f.floats)
    adapter_launch(shrink_units, dim3(chunks, f.n_part * f.rank / RANK_STRIP, shrink->sums.n_split), SHRINK_THREADS, 0,
                   early, stream, *shrink);
  else
    adapter_launch(f.floats ? shrink_plain<float> : shrink_plain<__nv_bfloat16>,
                   dim3(chunks, CHUNK_USES, shrink->sums.n_split), SHRINK_THREADS, 0, early, stream, *shrink);
}
