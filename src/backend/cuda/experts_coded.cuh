/* Linears over experts of weights of 4 and 8 bits, by mma.sync: the kernels of experts_coded_*.cu, templates over a
 * coding (coded_operand.cuh), which makes bf16 of codes in registers. Tokens are bf16; those that a scheme rounds to
 * 8 bits are whole numbers of bf16, or E4M3's, exact, with a scale for each row (token_scales). Which rows of tokens a
 * block takes is as in experts_units.cu.
 *
 * Few tokens: codes stream from memory straight into registers. 16 bytes of a lane are, of eight bits, 16 columns of a
 * row, of which four steps of the units take a quarter each, tokens in the same order; of four bits they are what
 * cuda_layout.h made of them, the operands of four steps.
 *
 * Many: tiles of 128 rows × 64 or 128 pairs of an expert. Stages of 128 columns hold codes as they are packed; each
 * warp unpacks those of its 32 rows once for 64 pairs. */
#ifndef SPATE_BACKEND_CUDA_EXPERTS_CODED_CUH
#define SPATE_BACKEND_CUDA_EXPERTS_CODED_CUH

#include "backend/cuda/coded_operand.cuh"
#include "backend/cuda/expert_lists.cuh"
#include "backend/cuda/portable/linear_few.cuh"
#include "backend/cuda/portable/linear_many.cuh"

namespace experts_coded {

using namespace portable;

enum { CODED_COLS = 128 /* of a piece */, HALVES = 2, FEW_THREADS = FEW_WARPS * 32 };

struct work {
  cuda_experts e;
  coded_wide::scale_shape scales;
  int n_strip, n_piece, n_half; /* n_half: of 64 columns, which tokens have */
};

template <typename C> constexpr bool four_bits = C::slot_bytes < BYTES_CODES;

static __device__ __forceinline__ const uint8_t *strip_of(const work &f, int expert, int strip) {
  const struct cuda_matrix &m = f.e.linear.matrix;
  return m.data + (size_t)expert * f.e.expert_bytes + (size_t)strip * m.strip_bytes;
}

/* What the products of a row are multiplied by: of eight bits with one scale a row. */
template <typename C> static __device__ __forceinline__ float row_scale(const work &f, int expert, int row) {
  if (!f.e.linear.matrix.head_bytes) return C::up;
  return C::up * ((const float *)strip_of(f, expert, row / STRIP))[row % STRIP];
}

static __device__ __forceinline__ float token_scale(const work &f, int pair) {
  return f.e.token_scales ? f.e.token_scales[input_row(f.e, pair)] : 1;
}

/* --- few tokens --------------------------------------------------------------------------------------------------- */

/* A lane's codes of a piece, and scales of its two rows. */
template <typename C> struct piece_codes {
  piece_part part; /* of four bits the halves' in row[] */
  typename C::scales scales[C::groups > 1 ? 4 : 1];

  __device__ __forceinline__ void load(const uint8_t *piece, const coded_wide::scale_shape &shape) {
    if constexpr (four_bits<C>) {
#pragma unroll
      for (int half = 0; half < HALVES; half++)
        part.row[half] = __ldcs((const uint4 *)piece + half * 32 + threadIdx.x % 32);
    } else {
      part = part_load(piece);
    }
#pragma unroll
    for (int two = 0; two < (C::groups > 1 ? 4 : 1); two++) C::scales_load(scales[two], piece, shape, two);
  }

  /* Of two steps. */
  __device__ __forceinline__ typename C::words words(int half, int two) const {
    const uint32_t *row = &part.row[half].x + two * 2;
    const uint32_t *below = &part.below[half].x + two * 2;
    if constexpr (four_bits<C>)
      return {make_uint2(row[0], row[1])};
    else
      return {{row[0], below[0], row[1], below[1]}};
  }

  __device__ __forceinline__ const typename C::scales &scales_of(int half, int two) const {
    return scales[C::groups > 1 ? half * 2 + two : 0];
  }
};

/* The operands of four steps, of a row of tokens from a half of a piece on. */
template <typename C> static __device__ __forceinline__ void tokens_load(uint32_t x[4][2], const uint16_t *half) {
  int quad = threadIdx.x % 4;
  if constexpr (four_bits<C>) {
#pragma unroll
    for (int i = 0; i < 8; i++) x[i / 2][i % 2] = *(const uint32_t *)(half + i * 8 + quad * 2);
  } else {
    uint4 first = *(const uint4 *)(half + quad * 16), second = *(const uint4 *)(half + quad * 16 + 8);
#pragma unroll
    for (int i = 0; i < 4; i++) x[i][0] = (&first.x)[i], x[i][1] = (&second.x)[i];
  }
}

/* Sums of STRIPS strips and TILES × 8 pairs over the pieces [first, end), each `step`-th. weights: of the first strip's
 * first piece. */
template <typename C, int STRIPS, int TILES>
static __device__ __forceinline__ void pieces_multiply(const work &f, const uint8_t *weights, int first, int end,
                                                       int step, const uint16_t *const tokens[TILES], int n,
                                                       float sum[STRIPS][TILES][4]) {
  const struct cuda_matrix &m = f.e.linear.matrix;
#pragma unroll(TILES > 1 ? 1 : STRIPS == 1 && four_bits<C> ? 4 : 2)
  for (int piece = first; piece < end; piece += step) {
    piece_codes<C> w[STRIPS];
#pragma unroll
    for (int s = 0; s < STRIPS; s++)
      w[s].load(weights + s * m.strip_bytes + (size_t)piece * m.piece_bytes, f.scales);
#pragma unroll
    for (int half = 0; half < HALVES; half++) {
      if (piece * HALVES + half >= f.n_half) continue;
      uint32_t x[TILES][4][2];
#pragma unroll
      for (int t = 0; t < TILES; t++)
        if (t * 8 < n) tokens_load<C>(x[t], tokens[t] + (size_t)piece * CODED_COLS + half * 64);
#pragma unroll
      for (int i = 0; i < 4 * STRIPS; i++) {
        int step16 = i / STRIPS, s = i % STRIPS;
        uint32_t a[4];
        C::operand_make(a, w[s].words(half, step16 / 2), w[s].scales_of(half, step16 / 2), step16 % 2);
#pragma unroll
        for (int t = 0; t < TILES; t++)
          if (t * 8 < n) multiply_bf16(sum[s][t], a, x[t][step16][0], x[t][step16][1]);
      }
    }
  }
}

/* A lane's row of tokens of a tile of eight pairs: of those beyond the last some row that nobody looks at. */
static __device__ __forceinline__ const uint16_t *token_row(const work &f, const int32_t *pair, int n, int tile) {
  int i = tile * 8 + threadIdx.x % 32 / 4;
  return f.e.tokens + (size_t)input_row(f.e, pair[i < n ? i : 0]) * f.e.padded;
}

/* A block has a pair of strips of one expert, each warp every eighth piece. */
template <typename C, int TILES>
static __global__ void __launch_bounds__(FEW_THREADS, 2) spread_few(const __grid_constant__ work f) {
  using M = meeting<TILES>;
  __shared__ float sums[FEW_WARPS * M::warp];
  const struct cuda_linear &a = f.e.linear;
  const struct cuda_expert_lists &l = f.e.lists;
  int pairs = (f.n_strip + PAIR - 1) / PAIR, strip = blockIdx.x % pairs * PAIR, index = blockIdx.x / pairs;
  if (index >= l.counts[0]) return;
  int expert = l.active[index], begin = l.first[expert], n = l.first[expert + 1] - begin, warp = threadIdx.x / 32;
  const int32_t *pair = l.pair + begin;
  const uint8_t *weights = strip_of(f, expert, strip) + a.matrix.head_bytes;
  const uint16_t *tokens[TILES];
#pragma unroll
  for (int t = 0; t < TILES; t++) tokens[t] = token_row(f, pair, n, t);
  float sum[PAIR][TILES][4] = {};
  if (strip + 1 < f.n_strip) {
    pieces_multiply<C, PAIR, TILES>(f, weights, warp, f.n_piece, FEW_WARPS, tokens, n, sum);
  } else { /* the last strip has no partner */
    float one[1][TILES][4] = {};
    pieces_multiply<C, 1, TILES>(f, weights, warp, f.n_piece, FEW_WARPS, tokens, n, one);
#pragma unroll
    for (int i = 0; i < TILES * 4; i++) sum[0][i / 4][i % 4] = one[0][i / 4][i % 4];
  }
  M::put(sums, sum, 0);
  __syncthreads();
  const float *bias = a.bias ? a.bias + (size_t)expert * a.matrix.rows : nullptr;
  int width = a.gated ? GATE_RUN : PAIR * STRIP;
  for (int i = threadIdx.x; i < n * width; i += FEW_THREADS) {
    int within = i / width, row = i % width, at = strip * STRIP + row, col = result_col(a, at);
    if (col >= a.result_cols) continue;
    float by = token_scale(f, pair[within]), up = 0;
    float gate = M::total(sums, within, row) * row_scale<C>(f, expert, at) * by + (bias ? bias[at] : 0);
    if (a.gated)
      up = M::total(sums, within, row + GATE_RUN) * row_scale<C>(f, expert, at + GATE_RUN) * by +
           (bias ? bias[at + GATE_RUN] : 0);
    result_put(f.e, pair[within], col, gate, up);
  }
}

/* Slices of columns that an expert's strip is cut into, of so many pairs at most. */
static __host__ __device__ __forceinline__ int slices_of(int n_pair) {
  int slices = FEW_WARPS;
  while (slices > 1 && slices * n_pair > FEW_WARPS) slices /= 2;
  return slices;
}

/* A block has a strip of all chosen experts, and adds their products up in the order of the choice. */
template <typename C, int TILES>
static __global__ void __launch_bounds__(FEW_THREADS, 2) gather_few(const __grid_constant__ work f) {
  extern __shared__ float products[]; /* [slice][place][16 rows] */
  const struct cuda_experts &e = f.e;
  const struct cuda_linear &a = e.linear;
  const struct cuda_expert_lists &l = e.lists;
  int strip = blockIdx.x, slices = slices_of(l.n_pair), lane = threadIdx.x % 32;
  for (int i = threadIdx.x / 32; i < l.counts[0] * slices; i += FEW_WARPS) {
    int expert = l.active[i / slices], slice = i % slices, begin = l.first[expert], n = l.first[expert + 1] - begin;
    const uint16_t *tokens[TILES];
    float sum[1][TILES][4] = {};
#pragma unroll
    for (int t = 0; t < TILES; t++) tokens[t] = token_row(f, l.pair + begin, n, t);
    pieces_multiply<C, 1, TILES>(f, strip_of(f, expert, strip) + a.matrix.head_bytes, f.n_piece * slice / slices,
                                 f.n_piece * (slice + 1) / slices, 1, tokens, n, sum);
    float *to = products + ((size_t)slice * l.n_pair + begin) * STRIP;
    float by[2] = {row_scale<C>(f, expert, strip * STRIP + lane / 4),
                   row_scale<C>(f, expert, strip * STRIP + lane / 4 + 8)};
#pragma unroll
    for (int k = 0; k < TILES * 4; k++) { /* rows lane / 4 and + 8, pairs lane % 4 × 2 and + 1 of each tile */
      int at = k / 4 * 8 + lane % 4 * 2 + k % 2, row = lane / 4 + k % 4 / 2 * 8;
      if (at < n) to[at * STRIP + row] = sum[0][k / 4][k % 4] * by[k % 4 / 2] * token_scale(f, l.pair[begin + at]);
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < e.n_token * STRIP; i += FEW_THREADS) {
    int t = i / STRIP, row = i % STRIP, col = strip * STRIP + row;
    const float *choice = e.choice + (size_t)t * 2 * e.k;
    float all = 0;
    if (col >= a.matrix.rows || l.place[t * e.k] < 0) continue;
    for (int j = 0; j < e.k; j++) {
      const float *from = products + (size_t)l.place[t * e.k + j] * STRIP + row;
      float x = 0;
      for (int s = 0; s < slices; s++) x += from[(size_t)s * l.n_pair * STRIP];
      if (a.bias) x += a.bias[(size_t)choice[j] * a.matrix.rows + col];
      all += choice[e.k + j] * x;
    }
    all *= a.factor;
    a.out[(size_t)t * a.out_cols + col] = a.residual ? all + a.residual[(size_t)t * a.residual_cols + col] : all;
  }
}

/* --- many tokens -------------------------------------------------------------------------------------------------- */

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
static __device__ __forceinline__ void stage_gather(const work &f, const uint8_t *weights, int strip, const int *rows,
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
static __device__ __forceinline__ void coded_multiply(const work &f, float sum[2][8][4], const uint8_t *codes,
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

/* To results; of a gather to products, in linear.product. */
template <typename C>
static __device__ void pairs_finish(const work &f, const expert_tile &tile, const float sum[2][8][4], int strip,
                                    int first) {
  const struct cuda_linear &a = f.e.linear;
  const float *bias = a.bias ? a.bias + (size_t)tile.expert * a.matrix.rows : nullptr;
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 2 * 8 * 4; i++) {
    int s = i / 32, row = (strip + s) * STRIP + lane / 4 + i / 2 % 2 * 8, col = result_col(a, row);
    int t = first + i / 4 % 8 * 8 + lane % 4 * 2 + i % 2;
    if (t >= tile.n || col >= a.result_cols || (a.gated && s == 1)) continue;
    int pair = tile.pair_at(t);
    float by = token_scale(f, pair), up = 0;
    float gate = sum[s][i / 4 % 8][i % 4] * row_scale<C>(f, tile.expert, row) * by + (bias ? bias[row] : 0);
    if (a.gated)
      up = sum[1][i / 4 % 8][i % 4] * row_scale<C>(f, tile.expert, row + GATE_RUN) * by +
           (bias ? bias[row + GATE_RUN] : 0);
    if (f.e.gather)
      a.product[(size_t)pair * a.matrix.rows + row] = gate;
    else
      result_put(f.e, pair, col, gate, up);
  }
}

template <typename C, int TOKENS>
static __global__ void __launch_bounds__(coded_tile<C, TOKENS>::threads) experts_many(const __grid_constant__ work f) {
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
  pairs_finish<C>(f, pairs, sum, strip, warp / 4 * 64);
}

/* --- launches ----------------------------------------------------------------------------------------------------- */

static inline work work_of(const struct cuda_experts &e) {
  int halves = e.padded / PIECE_COLS;
  return {e, coded_wide::scale_shape_of(e.linear.matrix.has_min), (e.linear.matrix.rows + STRIP - 1) / STRIP,
          (halves + HALVES - 1) / HALVES, halves};
}

template <typename C> static void few_launch(const struct cuda_experts &e, cuda_stream stream) {
  work f = work_of(e);
  int active = e.lists.n_pair < e.lists.n_expert ? e.lists.n_pair : e.lists.n_expert;
  if (e.gather) {
    int bytes = slices_of(e.lists.n_pair) * e.lists.n_pair * STRIP * (int)sizeof(float);
    auto kernel = e.n_token <= 8 ? gather_few<C, 1> : gather_few<C, 4>;
    kernel<<<f.n_strip, FEW_THREADS, bytes, stream>>>(f);
  } else {
    auto kernel = e.n_token <= 8 ? spread_few<C, 1> : spread_few<C, 4>;
    kernel<<<(f.n_strip + PAIR - 1) / PAIR * active, FEW_THREADS, 0, stream>>>(f);
  }
}

template <typename C, int TOKENS> static void tiles_launch(const struct cuda_experts &e, cuda_stream stream) {
  using T = coded_tile<C, TOKENS>;
  work f = work_of(e);
  int tall = (f.n_strip + T::strips - 1) / T::strips;
  cudaFuncSetAttribute(experts_many<C, TOKENS>, cudaFuncAttributeMaxDynamicSharedMemorySize, T::shared_bytes);
  experts_many<C, TOKENS><<<tall * tiles_most(e), T::threads, T::shared_bytes, stream>>>(f);
}

template <typename C> static void many_launch(const struct cuda_experts &e, cuda_stream stream) {
  (e.lists.tile_pairs > 64 ? tiles_launch<C, 128> : tiles_launch<C, 64>)(e, stream);
}

/* RUN: a functor whose call takes a coding. */
template <typename RUN> static void bytes_choose(const struct cuda_matrix &m, const RUN &run) {
  if (m.kind == KIND_F8 && m.group)
    run(coded_wide::grouped());
  else if (m.kind == KIND_F8)
    run(coded_wide::bytes<coded_wide::e4m3>());
  else if (m.has_min)
    run(coded_wide::least());
  else
    run(coded_wide::bytes<coded_wide::int8>());
}

template <typename RUN> static void nibbles_choose(const struct cuda_matrix &m, const RUN &run) {
  if (m.codebook)
    run(coded_wide::e2m1());
  else if (m.group == 128)
    run(coded_wide::nibbles<1>());
  else
    run(coded_wide::nibbles<4>());
}

} // namespace experts_coded

#endif
