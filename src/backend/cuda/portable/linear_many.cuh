/* The portable linear of many tokens: tiles of 128 weight rows × 64 or 128 tokens, of which each warp multiplies 32 ×
 * 64, stages of 64 columns coming through a ring in shared memory. Weights come as they are packed, tokens in the same
 * swizzle, so `ldmatrix` meets no bank conflict. Blocks that run at once share weights: tokens go fastest.
 *
 * Bound: the matrix units, at some distance; a block's last stages and results are not hidden. */
#ifndef SPATE_BACKEND_CUDA_PORTABLE_LINEAR_MANY_CUH
#define SPATE_BACKEND_CUDA_PORTABLE_LINEAR_MANY_CUH

#include "backend/cuda/portable/linear_prepare.cuh"

namespace portable {

template <typename ISA, int TOKENS> struct tile {
  static constexpr int strips = 8, threads = TOKENS * 2; /* warps: 4 × TOKENS / 64 */
  static constexpr int weight_bytes = strips * PIECE, token_bytes = TOKENS * PIECE_COLS * 2;
  static constexpr int bytes = weight_bytes + token_bytes, fit = ISA::shared_most / bytes;
  static constexpr int stages = fit < 4 ? fit : 4, shared_bytes = stages * bytes;
  static_assert(shared_bytes <= ISA::shared_most, "a block's shared memory");
};

/* A thread's part of a stage, 16 bytes at a time. */
template <typename ISA, int TOKENS>
static __device__ __forceinline__ void stage_copy(const linear_work &a, int strip, int token, int piece, uint8_t *to) {
  using T = tile<ISA, TOKENS>;
#pragma unroll
  for (int i = 0; i < T::weight_bytes / 16 / T::threads; i++) {
    int at = threadIdx.x + i * T::threads, s = strip + at / (PIECE / 16);
    bool there = s < a.n_strip;
    size_t from = ((size_t)(there ? s : 0) * a.n_piece + piece) * PIECE + at % (PIECE / 16) * 16;
    ISA::copy(to + at * 16, a.linear.matrix.data + from, there);
  }
#pragma unroll
  for (int i = 0; i < T::token_bytes / 16 / T::threads; i++) {
    int at = threadIdx.x + i * T::threads, row = at / 8, chunk = at % 8;
    bool there = token + row < a.linear.n_row;
    const uint16_t *from = a.tokens + ((size_t)(there ? token + row : 0) * a.n_piece + piece) * PIECE_COLS + chunk * 8;
    ISA::copy(to + T::weight_bytes + row * 128 + ((chunk ^ row % 8) << 4), from, there);
  }
}

/* 32 rows × 64 tokens of a stage. */
template <typename ISA, int KIND>
static __device__ __forceinline__ void stage_multiply(float sum[2][8][4], uint32_t weights, uint32_t tokens,
                                                      const int lower[2]) {
  using O = operand16<ISA, KIND>;
  int lane = threadIdx.x % 32, row = lane % 16, token = lane / 16 * 8 + lane % 8;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    uint32_t w[2][4], x[4];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      matrices_load(w[i], weights + i * PIECE + row * 128 + ((2 * k + lane / 16 ^ row % 8) << 4));
#pragma unroll
      for (int j = 0; j < 4; j++) w[i][j] = O::pair(w[i][j], lower[i]);
    }
#pragma unroll
    for (int t = 0; t < 8; t += 2) {
      matrices_load(x, tokens + (t * 8 + token) * 128 + ((2 * k + lane / 8 % 2 ^ token % 8) << 4));
#pragma unroll
      for (int i = 0; i < 2; i++) {
        O::multiply(sum[i][t], w[i], x[0], x[1]);
        O::multiply(sum[i][t + 1], w[i], x[2], x[3]);
      }
    }
  }
}

/* A lane has rows lane / 4 and + 8 of each strip, tokens lane % 4 × 2 and + 1 of each 8. */
template <typename ISA, int KIND>
static __device__ void tile_finish(const linear_work &f, const float sum[2][8][4], int strip, int token) {
  const struct cuda_linear &a = f.linear;
  int lane = threadIdx.x % 32;
  float scale[2];
  for (int i = 0; i < 2; i++)
    scale[i] = strip + i < f.n_strip ? operand16<ISA, KIND>::scale_of(a.matrix, strip + i) : 0;
#pragma unroll
  for (int i = 0; i < 2 * 8 * 4; i++) {
    int s = i / 32, row = (strip + s) * STRIP + lane / 4 + i / 2 % 2 * 8, col = result_col(a, row);
    int t = token + i / 4 % 8 * 8 + lane % 4 * 2 + i % 2;
    if (t >= a.n_row || col >= a.result_cols || (a.gated && s == 1)) continue;
    float lift = f.scales ? f.scales[t] : 1, up = 0;
    float gate = sum[s][i / 4 % 8][i % 4] * lift * scale[s] + (a.bias ? a.bias[row] : 0);
    if (a.gated) up = sum[1][i / 4 % 8][i % 4] * lift * scale[1] + (a.bias ? a.bias[row + GATE_RUN] : 0);
    float x = result_of(a, gate, up);
    if (a.residual) x = residual_add(a, x, a.residual[(size_t)t * a.residual_cols + col]);
    a.out[(size_t)t * a.out_cols + col] = x;
  }
}

template <typename ISA, int KIND, int TOKENS>
__global__ void __launch_bounds__(tile<ISA, TOKENS>::threads) linear_many(const __grid_constant__ linear_work a) {
  using T = tile<ISA, TOKENS>;
  using R = ring<ISA, T::stages>;
  extern __shared__ __align__(128) uint8_t stages[];
  int warp = threadIdx.x / 32, first_strip = blockIdx.y * T::strips, first_token = blockIdx.x * TOKENS;
  int strip = first_strip + warp % 4 * 2, lower[2];
  float sum[2][8][4] = {};
  for (int i = 0; i < 2; i++)
    lower[i] = strip + i < a.n_strip ? operand16<ISA, KIND>::lower_of(a.linear.matrix, strip + i) : 0;
  auto ask = [&](int piece, int slot) {
    if (piece < a.n_piece) stage_copy<ISA, TOKENS>(a, first_strip, first_token, piece, stages + slot * T::bytes);
  };
  R::begin(ask);
  for (int piece = 0; piece < a.n_piece; piece++) {
    uint32_t stage = shared_address(stages + R::next(piece, ask) * T::bytes);
    stage_multiply<ISA, KIND>(sum, stage + warp % 4 * 2 * PIECE, stage + T::weight_bytes + warp / 4 * 64 * 128, lower);
  }
  tile_finish<ISA, KIND>(a, sum, strip, first_token + warp / 4 * 64);
}

template <typename ISA, int KIND, int TOKENS> static void many_launch(const linear_work &a, cuda_stream stream) {
  using T = tile<ISA, TOKENS>;
  cudaFuncSetAttribute(linear_many<ISA, KIND, TOKENS>, cudaFuncAttributeMaxDynamicSharedMemorySize, T::shared_bytes);
  dim3 grid((a.linear.n_row + TOKENS - 1) / TOKENS, (a.n_strip + T::strips - 1) / T::strips);
  linear_many<ISA, KIND, TOKENS><<<grid, T::threads, T::shared_bytes, stream>>>(a);
}

/* Wide tiles where they leave no multiprocessor idle, and where two stages of them fit. */
template <typename ISA, int KIND>
static void many_run(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream) {
  linear_work a = linear_begin<ISA, KIND>(linear, stream);
  int wide = (linear->n_row + 127) / 128 * ((a.n_strip + 7) / 8);
  if constexpr (tile<ISA, 128>::stages > 2) {
    if (wide >= multiprocessors)
      many_launch<ISA, KIND, 128>(a, stream);
    else
      many_launch<ISA, KIND, 64>(a, stream);
  } else {
    many_launch<ISA, KIND, 64>(a, stream);
  }
  if (linear->has_post_norm) cuda_linear_tail(linear, stream);
}

} // namespace portable

#endif
