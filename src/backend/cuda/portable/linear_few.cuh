/* The portable linear of few tokens, up to 64: weights as the matrix units' A operand, which stream from device memory
 * straight into registers.
 *
 * A block takes a pair of strips (32 weight rows: a gate's and its up's are a pair), each of 8 warps every eighth piece
 * of 64 columns; the warps' sums are added in their order, so a result depends on its row and token alone. No operand
 * goes through shared memory: a lane reads 16 bytes, 8 columns of one row, and takes them as the columns that the units
 * give it in two steps of 16; tokens are read in the same order, which leaves sums the same set of products. So rows of
 * tokens are as they are in memory.
 *
 * Bound: the read of the weights, with 16 loads of 16 bytes of each lane in flight and as many blocks as fit. */
#ifndef SPATE_BACKEND_CUDA_PORTABLE_LINEAR_FEW_CUH
#define SPATE_BACKEND_CUDA_PORTABLE_LINEAR_FEW_CUH

#include "backend/cuda/portable/linear_prepare.cuh"

namespace portable {

enum { FEW_WARPS = 8, PAIR = 2, TOKEN_STRIDE = PAIR * STRIP + 4 /* sums of a token, on banks of their own */ };

/* Of a strip's piece: rows lane / 4 and + 8, of each half of the columns the eight at lane % 4 × 8. */
struct piece_part {
  uint4 row[2], below[2];
};

static __device__ __forceinline__ piece_part part_load(const uint8_t *piece) {
  int row = threadIdx.x % 32 / 4, quad = threadIdx.x % 4;
  piece_part p;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint8_t *from = piece + row * 128 + ((half * 4 + quad ^ row) << 4); /* the swizzle of cuda_layout.h */
    p.row[half] = __ldcs((const uint4 *)from);
    p.below[half] = __ldcs((const uint4 *)(from + 1024));
  }
  return p;
}

template <typename ISA, int KIND> static __device__ __forceinline__ void four_settle(uint4 &w, int lower) {
  using O = operand16<ISA, KIND>;
  w = make_uint4(O::pair(w.x, lower), O::pair(w.y, lower), O::pair(w.z, lower), O::pair(w.w, lower));
}

/* Half a piece's columns: two steps. */
template <typename ISA, int KIND>
static __device__ __forceinline__ void half_multiply(float sum[4], const uint4 &row, const uint4 &below,
                                                     const uint4 &x) {
  const uint32_t low[4] = {row.x, below.x, row.y, below.y}, high[4] = {row.z, below.z, row.w, below.w};
  operand16<ISA, KIND>::multiply(sum, low, x.x, x.y);
  operand16<ISA, KIND>::multiply(sum, high, x.z, x.w);
}

/* The warp's pieces of the pair. */
template <typename ISA, int KIND, int TILES>
static __device__ void pair_multiply(const linear_work &a, int strip, float sum[PAIR][TILES][4]) {
  constexpr int together = TILES < 4 ? TILES : 4; /* tiles of tokens whose operands wait */
  int lane = threadIdx.x % 32, n = min((int)PAIR, a.n_strip - strip), lower[PAIR];
  const uint8_t *from = a.linear.matrix.data + (size_t)strip * a.n_piece * PIECE;
  const uint16_t *tokens = a.tokens + (size_t)(lane / 4) * a.n_piece * PIECE_COLS + lane % 4 * 8;
  for (int i = 0; i < PAIR; i++) lower[i] = i < n ? operand16<ISA, KIND>::lower_of(a.linear.matrix, strip + i) : 0;
#pragma unroll(TILES <= 4 ? 2 : 1)
  for (int piece = threadIdx.x / 32; piece < a.n_piece; piece += FEW_WARPS) {
    piece_part w[PAIR] = {};
#pragma unroll
    for (int i = 0; i < PAIR; i++)
      if (i < n) w[i] = part_load(from + ((size_t)i * a.n_piece + piece) * PIECE);
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int i = 0; i < PAIR; i++) {
        four_settle<ISA, KIND>(w[i].row[half], lower[i]);
        four_settle<ISA, KIND>(w[i].below[half], lower[i]);
      }
#pragma unroll
      for (int t = 0; t < TILES; t += together) {
        uint4 x[together];
#pragma unroll
        for (int k = 0; k < together; k++)
          x[k] = *(const uint4 *)(tokens + ((size_t)(t + k) * 8 * a.n_piece + piece) * PIECE_COLS + half * 32);
#pragma unroll
        for (int k = 0; k < together * PAIR; k++)
          half_multiply<ISA, KIND>(sum[k % PAIR][t + k / PAIR], w[k % PAIR].row[half], w[k % PAIR].below[half],
                                   x[k / PAIR]);
      }
    }
  }
}

/* Sums of all warps meet, of 32 tokens at a time: [warp][token][TOKEN_STRIDE]. */
template <int TILES> struct meeting {
  static constexpr int tiles = TILES < 4 ? TILES : 4, warp = tiles * 8 * TOKEN_STRIDE;

  static __device__ __forceinline__ void put(float *sums, const float sum[PAIR][TILES][4], int first) {
    int lane = threadIdx.x % 32;
    float *mine = sums + threadIdx.x / 32 * warp + lane % 4 * 2 * TOKEN_STRIDE + lane / 4;
#pragma unroll
    for (int i = 0; i < PAIR * tiles * 4; i++)
      mine[(i / 4 % tiles * 8 + i % 2) * TOKEN_STRIDE + i / (tiles * 4) * STRIP + i / 2 % 2 * 8] =
          sum[i / (tiles * 4)][first + i / 4 % tiles][i % 4];
  }

  static __device__ __forceinline__ float total(const float *sums, int token, int row) {
    float total = 0;
#pragma unroll
    for (int w = 0; w < FEW_WARPS; w++) total += sums[w * warp + token * TOKEN_STRIDE + row];
    return total;
  }
};

/* From the warps' sums to results, of the tokens from `first` on. */
template <typename ISA, int KIND, int TILES>
static __device__ void pair_finish(const linear_work &f, const float *sums, int strip, int first) {
  using O = operand16<ISA, KIND>;
  using M = meeting<TILES>;
  const struct cuda_linear &a = f.linear;
  int width = a.gated ? GATE_RUN : PAIR * STRIP, tokens = min(M::tiles * 8, a.n_row - first);
  for (int i = threadIdx.x; i < tokens * width; i += FEW_WARPS * 32) {
    int within = i / width, token = first + within, row = i % width, at = strip * STRIP + row, col = result_col(a, at);
    if (col >= a.result_cols) continue;
    float scale = f.scales ? f.scales[token] : 1, up = 0;
    float gate = M::total(sums, within, row) * scale * O::scale_of(a.matrix, at / STRIP);
    if (a.gated)
      up = M::total(sums, within, row + GATE_RUN) * scale * O::scale_of(a.matrix, strip + 1) +
           (a.bias ? a.bias[at + GATE_RUN] : 0);
    float x = result_of(a, gate + (a.bias ? a.bias[at] : 0), up);
    if (a.residual) x = residual_add(a, x, a.residual[(size_t)token * a.residual_cols + col]);
    a.out[(size_t)token * a.out_cols + col] = x;
  }
}

template <typename ISA, int KIND, int TILES>
__global__ void __launch_bounds__(FEW_WARPS * 32, TILES <= 4 ? 2 : 1)
    linear_few(const __grid_constant__ linear_work a) {
  using M = meeting<TILES>;
  __shared__ float sums[FEW_WARPS * M::warp];
  static_assert(sizeof sums <= 48 * 1024, "static shared memory");
  int strip = blockIdx.x * PAIR;
  float sum[PAIR][TILES][4] = {};
  pair_multiply<ISA, KIND, TILES>(a, strip, sum);
#pragma unroll
  for (int first = 0; first < TILES; first += M::tiles) {
    if (first > 0) __syncthreads();
    M::put(sums, sum, first);
    __syncthreads();
    pair_finish<ISA, KIND, TILES>(a, sums, strip, first * 8);
  }
}

template <typename ISA, int KIND> static void few_run(const struct cuda_linear *linear, cuda_stream stream) {
  linear_work a = linear_begin<ISA, KIND>(linear, stream);
  int blocks = (a.n_strip + PAIR - 1) / PAIR, n = linear->n_row;
  auto kernel = n <= 8    ? linear_few<ISA, KIND, 1>
                : n <= 16 ? linear_few<ISA, KIND, 2>
                : n <= 32 ? linear_few<ISA, KIND, 4>
                          : linear_few<ISA, KIND, 8>;
  kernel<<<blocks, FEW_WARPS * 32, 0, stream>>>(a);
  if (linear->has_post_norm) cuda_linear_tail(linear, stream);
}

} // namespace portable

#endif
