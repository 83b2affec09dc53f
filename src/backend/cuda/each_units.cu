/* Linears of which each matrix has a part of the input and of the result (EXPERTS_EACH), such as heads' own projections
 * in latent attention: bf16 weights by mma.sync (capability 8.0 and later), which come straight into registers as in
 * portable/linear_few.cuh; tokens come as floats and are rounded here.
 *
 * Up to 32 tokens: weights are asked for before what the kernel before makes is there. A warp takes a slice of the
 * columns of a strip of 16 rows, two pieces at once; slices' sums are added in their order, and how many there are
 * depends on the matrices alone.
 *
 * More: a block takes 8 strips of a matrix, one a warp, and 64 tokens, whose piece of columns lies in shared memory
 * while the next one is on its way. Sums are added in the order of the columns. */
#include "backend/cuda/each_kernels.h"
#include "backend/cuda/launch.cuh"
#include "backend/cuda/portable/linear_few.cuh"

using namespace portable;

namespace {

enum { WARPS = 8, THREADS = WARPS * 32, TOGETHER = 2 /* pieces */ };

/* Eight columns of a token. */
__device__ __forceinline__ uint4 token_load(const float *from) {
  float4 low = *(const float4 *)from, high = *(const float4 *)(from + 4);
  return make_uint4(cache_bf16::pair(low.x, low.y), cache_bf16::pair(low.z, low.w), cache_bf16::pair(high.x, high.y),
                    cache_bf16::pair(high.z, high.w));
}

/* --- few tokens --------------------------------------------------------------------------------------------------- */

/* A block for as many strips of a matrix as its warps have slices for. */
template <int TILES> __global__ void __launch_bounds__(THREADS) each_few(cuda_each e, int slices) {
  __shared__ float sums[WARPS][TILES * 8][STRIP];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.y, together = WARPS / slices;
  int strips = (e.rows + STRIP - 1) / STRIP, strip = blockIdx.x * together + warp / slices, slice = warp % slices;
  int n_piece = e.cols / PIECE_COLS, piece = n_piece * slice / slices, end = n_piece * (slice + 1) / slices;
  const uint8_t *weights = e.weights + head * e.head_bytes + (size_t)strip * n_piece * PIECE;
  const float *tokens[TILES];
  float sum[TILES][4] = {};
  piece_part w[TOGETHER] = {};
  dependents_launch();
  if (strip >= strips) end = piece;
#pragma unroll
  for (int i = 0; i < TOGETHER; i++)
    if (piece + i < end) w[i] = part_load(weights + (size_t)(piece + i) * PIECE);
#pragma unroll
  for (int t = 0; t < TILES; t++) { /* of those that there are not the first, which nobody looks at */
    int token = t * 8 + lane / 4;
    tokens[t] = e.in + (size_t)(token < e.n_token ? token : 0) * e.in_cols + head * e.cols + lane % 4 * 8;
  }
  dependencies_wait();
  for (; piece < end; piece += TOGETHER)
#pragma unroll
    for (int i = 0; i < TOGETHER; i++) {
      if (piece + i >= end) break;
#pragma unroll
      for (int half = 0; half < 2; half++)
#pragma unroll
        for (int t = 0; t < TILES; t++)
          half_multiply<sm80, KIND_BF16>(sum[t], w[i].row[half], w[i].below[half],
                                         token_load(tokens[t] + (piece + i) * PIECE_COLS + half * 32));
      if (piece + i + TOGETHER < end) w[i] = part_load(weights + (size_t)(piece + i + TOGETHER) * PIECE);
    }
#pragma unroll
  for (int k = 0; k < TILES * 4; k++) /* rows lane / 4 and + 8, tokens lane % 4 × 2 and + 1 of each tile */
    sums[warp][k / 4 * 8 + lane % 4 * 2 + k % 2][lane / 4 + k % 4 / 2 * 8] = sum[k / 4][k % 4];
  __syncthreads();
  for (int i = threadIdx.x; i < together * e.n_token * STRIP; i += THREADS) {
    int at = i / STRIP / e.n_token, token = i / STRIP % e.n_token, within = i % STRIP;
    int row = (blockIdx.x * together + at) * STRIP + within;
    float x = 0;
    for (int s = 0; s < slices; s++) x += sums[at * slices + s][token][within];
    if (row < e.rows) e.out[(size_t)token * e.out_cols + head * e.rows + row] = x;
  }
}

/* So many that there are some blocks for each multiprocessor. */
int slices_of(const struct cuda_each &e, int strips) {
  int slices = 1, n_piece = e.cols / PIECE_COLS;
  while (slices < WARPS && 2 * slices <= n_piece && e.n_head * strips * slices < 2 * WARPS * e.multiprocessors)
    slices *= 2;
  return slices;
}

template <int TILES> void few_launch(const struct cuda_each &e, cuda_stream stream) {
  int strips = (e.rows + STRIP - 1) / STRIP, slices = slices_of(e, strips), together = WARPS / slices;
  int blocks = (strips + together - 1) / together;
  if (e.early)
    early_launch(each_few<TILES>, launch_shape{blocks, THREADS, 0, 1, e.n_head}, stream, e, slices);
  else
    each_few<TILES><<<dim3(blocks, e.n_head), THREADS, 0, stream>>>(e, slices);
}

/* --- many tokens -------------------------------------------------------------------------------------------------- */

enum {
  MANY = 64,                               /* tokens of a block */
  ROW_BYTES = PIECE_COLS * 2 + 16,         /* of a token in shared memory: without bank conflicts */
  TOKEN_THREADS = THREADS / MANY,          /* that load a token's piece, */
  CHUNKS = PIECE_COLS / 8 / TOKEN_THREADS, /* so many times eight columns each */
};

__global__ void __launch_bounds__(THREADS, 2) each_many(cuda_each e) {
  __shared__ __align__(16) uint8_t tokens[2][MANY * ROW_BYTES];
  int lane = threadIdx.x % 32, head = blockIdx.z, first = blockIdx.y * MANY, n_piece = e.cols / PIECE_COLS;
  int strip = blockIdx.x * WARPS + threadIdx.x / 32, strips = (e.rows + STRIP - 1) / STRIP;
  int own = first + threadIdx.x / TOKEN_THREADS, chunk = threadIdx.x % TOKEN_THREADS * CHUNKS;
  const uint8_t *weights = e.weights + head * e.head_bytes + (size_t)min(strip, strips - 1) * n_piece * PIECE;
  const float *in = e.in + (size_t)min(own, e.n_token - 1) * e.in_cols + head * e.cols + chunk * 8;
  uint8_t *to = tokens[0] + threadIdx.x / TOKEN_THREADS * ROW_BYTES + chunk * 16;
  float sum[MANY / 8][4] = {};
  uint4 x[CHUNKS];
  piece_part w = part_load(weights), next;
  for (int i = 0; i < CHUNKS; i++) x[i] = token_load(in + i * 8);
  for (int piece = 0; piece < n_piece; piece++) {
    uint8_t *place = to + piece % 2 * MANY * ROW_BYTES;
    bool more = piece + 1 < n_piece;
#pragma unroll
    for (int i = 0; i < CHUNKS; i++) *(uint4 *)(place + i * 16) = x[i];
    __syncthreads();
    if (more) next = part_load(weights + (size_t)(piece + 1) * PIECE);
#pragma unroll
    for (int i = 0; more && i < CHUNKS; i++) x[i] = token_load(in + (piece + 1) * PIECE_COLS + i * 8);
    const uint8_t *from = tokens[piece % 2] + lane / 4 * ROW_BYTES + lane % 4 * 16;
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
      for (int t = 0; t < MANY / 8; t++)
        half_multiply<sm80, KIND_BF16>(sum[t], w.row[half], w.below[half],
                                       *(const uint4 *)(from + t * 8 * ROW_BYTES + half * 64));
    if (more) w = next;
  }
  if (strip >= strips) return;
#pragma unroll
  for (int k = 0; k < MANY / 8 * 4; k++) { /* rows lane / 4 and + 8, tokens lane % 4 × 2 and + 1 of each tile */
    int token = first + k / 4 * 8 + lane % 4 * 2 + k % 2, row = strip * STRIP + lane / 4 + k % 4 / 2 * 8;
    if (token < e.n_token && row < e.rows) e.out[(size_t)token * e.out_cols + head * e.rows + row] = sum[k / 4][k % 4];
  }
}

} // namespace

void cuda_each_few(const struct cuda_each *each, cuda_stream stream) {
  const struct cuda_each &e = *each;
  (e.n_token <= 8 ? few_launch<1> : e.n_token <= 16 ? few_launch<2> : few_launch<4>)(e, stream);
}

void cuda_each_many(const struct cuda_each *each, cuda_stream stream) {
  const struct cuda_each &e = *each;
  int strips = (e.rows + STRIP - 1) / STRIP;
  each_many<<<dim3((strips + WARPS - 1) / WARPS, (e.n_token + MANY - 1) / MANY, e.n_head), THREADS, 0, stream>>>(e);
}
