/* Linears over experts of weights of 4 and 8 bits, of many tokens: tiles of 128 rows × 64 or 128 pairs of an expert
 * (expert_lists.cuh). Stages of 128 columns hold codes as they are packed, and tokens' rows, gathered by the copies;
 * each warp unpacks the codes of its 32 rows once for 64 pairs.
 *
 * Bound: the matrix units by mma.sync, at some distance; of few pairs an expert the read of the weights. */
#include "backend/cuda/experts_coded.cuh"
#include "backend/cuda/portable/instructions.cuh"

using namespace experts_coded;

namespace {

template <typename C, int TOKENS> struct coded_tile {
  static constexpr int strips = 8, threads = TOKENS * 2; /* warps: 4 × TOKENS / 64 */
  static constexpr int slot = C::slot_bytes, weight_bytes = strips * slot, half_bytes = TOKENS * 128;
  static constexpr int bytes = (weight_bytes + HALVES * half_bytes + 127) / 128 * 128;
  static constexpr int stages = TOKENS > 64 ? 2 : 3, shared_bytes = stages * bytes;
  static_assert(slot % 16 == 0 && weight_bytes % 128 == 0, "tokens begin where the swizzle does");
  static_assert(shared_bytes <= 99 * 1024, "two blocks on a multiprocessor");
};

/* A thread's part of a stage: codes as they are packed, tokens by their pairs' rows. */
template <typename C, int TOKENS>
__device__ __forceinline__ void stage_gather(const work &f, const uint8_t *weights, int strip, const int *rows,
                                             int piece, uint8_t *to) {
  using T = coded_tile<C, TOKENS>;
  const struct cuda_matrix &m = f.e.linear.matrix;
  constexpr int each = T::threads / T::strips;
  int s = threadIdx.x / each, chunks = m.piece_bytes / 16;
  bool there = strip + s < f.n_strip;
  const uint8_t *from = weights + (size_t)(there ? s : 0) * m.strip_bytes + (size_t)piece * m.piece_bytes;
#pragma unroll 4
  for (int i = threadIdx.x % each; i < chunks; i += each) sm80::copy(to + s * T::slot + i * 16, from + i * 16, there);
#pragma unroll
  for (int i = 0; i < HALVES * T::half_bytes / 16 / T::threads; i++) {
    int at = threadIdx.x + i * T::threads, half = at / (TOKENS * 8), row = at / 8 % TOKENS, chunk = at % 8;
    bool has = rows[row] >= 0 && piece * HALVES + half < f.n_half;
    const uint16_t *token = f.e.tokens + (size_t)max(rows[row], 0) * f.e.padded;
    if (has) token += piece * CODED_COLS + half * 64 + chunk * 8;
    sm80::copy(to + T::weight_bytes + half * T::half_bytes + row * 128 + ((chunk ^ row % 8) << 4), token, has);
  }
}

/* 32 rows × 64 pairs of a stage. codes: of the warp's first strip; tokens: of its first pair. */
template <typename C, int TOKENS>
__device__ __forceinline__ void coded_multiply(const work &f, float sum[2][8][4], const uint8_t *codes,
                                               uint32_t tokens) {
  using T = coded_tile<C, TOKENS>;
  int lane = threadIdx.x % 32, token = lane / 16 * 8 + lane % 8;
  typename C::scales scales[2];
#pragma unroll
  for (int two = 0; two < 4; two++) {
    typename C::words words[2];
#pragma unroll
    for (int s = 0; s < 2; s++) {
      C::words_load(words[s], codes + s * T::slot, two);
      if (two == 0 || C::groups > 1) C::scales_load(scales[s], codes + s * T::slot, f.scales, two);
    }
#pragma unroll
    for (int k = 0; k < 2; k++) {
      uint32_t a[2][4], x[4];
      int step = two % 2 * 2 + k;
#pragma unroll
      for (int s = 0; s < 2; s++) C::operand_make(a[s], words[s], scales[s], k);
#pragma unroll
      for (int t = 0; t < 8; t += 2) {
        matrices_load(x, tokens + two / 2 * T::half_bytes + (t * 8 + token) * 128 +
                             ((2 * step + lane / 8 % 2 ^ token % 8) << 4));
#pragma unroll
        for (int s = 0; s < 2; s++) {
          multiply_bf16(sum[s][t], a[s], x[0], x[1]);
          multiply_bf16(sum[s][t + 1], a[s], x[2], x[3]);
        }
      }
    }
  }
}

template <typename C, int TOKENS>
__global__ void __launch_bounds__(coded_tile<C, TOKENS>::threads) experts_many(const __grid_constant__ work f) {
  using T = coded_tile<C, TOKENS>;
  using R = ring<sm80, T::stages>;
  extern __shared__ __align__(128) uint8_t stages[];
  __shared__ int rows[TOKENS]; /* of the input; −1: there is no pair */
  int tall = (f.n_strip + T::strips - 1) / T::strips, warp = threadIdx.x / 32;
  int first_strip = blockIdx.x % tall * T::strips, strip = first_strip + warp % 4 * 2;
  expert_tile pairs = tile_of(f.e.lists, blockIdx.x / tall, f.e.n_token);
  if (pairs.n <= 0) return;
  const uint8_t *weights = strip_of(f, pairs.expert, first_strip) + f.e.linear.matrix.head_bytes;
  for (int i = threadIdx.x; i < TOKENS; i += T::threads) rows[i] = i < pairs.n ? input_row(f.e, pairs.pair_at(i)) : -1;
  __syncthreads();
  float sum[2][8][4] = {};
  auto ask = [&](int piece, int slot) {
    if (piece < f.n_piece) stage_gather<C, TOKENS>(f, weights, first_strip, rows, piece, stages + slot * T::bytes);
  };
  R::begin(ask);
  for (int piece = 0; piece < f.n_piece; piece++) {
    const uint8_t *stage = stages + R::next(piece, ask) * T::bytes;
    coded_multiply<C, TOKENS>(f, sum, stage + warp % 4 * 2 * T::slot,
                              shared_address(stage) + T::weight_bytes + warp / 4 * 64 * 128);
  }
  pairs_finish<C, 8>(f, pairs, sum, strip, warp / 4 * 64);
}

template <typename C, int TOKENS> void tiles_launch(const struct cuda_experts &e, cuda_stream stream) {
  using T = coded_tile<C, TOKENS>;
  work f = work_of(e);
  int tall = (f.n_strip + T::strips - 1) / T::strips;
  cudaFuncSetAttribute(experts_many<C, TOKENS>, cudaFuncAttributeMaxDynamicSharedMemorySize, T::shared_bytes);
  experts_many<C, TOKENS><<<tall * tiles_most(e), T::threads, T::shared_bytes, stream>>>(f);
}

template <typename C> void many_launch(const struct cuda_experts &e, cuda_stream stream) {
  (e.lists.tile_pairs > 64 ? tiles_launch<C, 128> : tiles_launch<C, 64>)(e, stream);
}

} // namespace

void cuda_experts_coded_many(const struct cuda_experts *e, cuda_stream stream) {
  auto run = [=](auto coding) { many_launch<decltype(coding)>(*e, stream); };
  if (e->linear.matrix.bytes)
    bytes_choose(e->linear.matrix, run);
  else
    nibbles_choose(e->linear.matrix, run);
}
