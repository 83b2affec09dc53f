/* Linears over experts of bf16 weights on matrix units (mma.sync, capability 8.0 and later), of the portable linears'
 * parts: what is different is which rows of tokens a block takes.
 *
 * Few tokens: weights stream straight into registers, those of each chosen expert once. A spread's block takes a pair
 * of strips of one expert, each warp every eighth piece of columns (linear_few.cuh). A gather's block takes one strip
 * of all chosen experts, whose products meet in shared memory and are added up there in the order of the choice: so a
 * result is one block's, and nothing else is launched. A warp takes whole experts there, or, where there are fewer than
 * warps, a slice of an expert's columns.
 *
 * Many: tiles of 128 rows of an expert × 64 or 128 of its pairs (linear_many.cuh), whose rows are gathered by the
 * copies. Row tiles go fastest, so that blocks that run at once share tokens, then an expert's weights. */
#include "backend/cuda/expert_lists.cuh"
#include "backend/cuda/portable/linear_few.cuh"
#include "backend/cuda/portable/linear_many.cuh"

using namespace portable;

namespace {

typedef sm80 ISA;
constexpr int KIND = KIND_BF16, FEW_THREADS = FEW_WARPS * 32;

__device__ __forceinline__ const uint8_t *expert_weights(const cuda_experts &e, int expert) {
  return e.linear.matrix.data + (size_t)expert * e.expert_bytes;
}

__device__ __forceinline__ int strips_of(const struct cuda_matrix &m) { return (m.rows + STRIP - 1) / STRIP; }

/* A lane's rows of tokens of a tile of eight pairs: of those beyond the last some row that nobody looks at. */
__device__ __forceinline__ const uint16_t *token_row(const cuda_experts &e, const int32_t *pair, int n, int i) {
  return e.tokens + (size_t)input_row(e, pair[i < n ? i : 0]) * e.padded + threadIdx.x % 4 * 8;
}

/* --- few tokens --------------------------------------------------------------------------------------------------- */

/* Sums of STRIPS strips and TILES × 8 pairs over the pieces [first, end), each `step`-th. */
template <int STRIPS, int TILES>
__device__ __forceinline__ void pieces_multiply(const uint8_t *weights, int n_piece, int first, int end, int step,
                                                const uint16_t *const tokens[TILES], int n,
                                                float sum[STRIPS][TILES][4]) {
#pragma unroll(STRIPS == 1 ? 2 : 1)
  for (int piece = first; piece < end; piece += step) {
    piece_part w[STRIPS];
#pragma unroll
    for (int i = 0; i < STRIPS; i++) w[i] = part_load(weights + ((size_t)i * n_piece + piece) * PIECE);
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
      for (int t = 0; t < TILES; t++) {
        if (t * 8 >= n) continue;
        uint4 x = *(const uint4 *)(tokens[t] + (size_t)piece * PIECE_COLS + half * 32);
#pragma unroll
        for (int i = 0; i < STRIPS; i++) half_multiply<ISA, KIND>(sum[i][t], w[i].row[half], w[i].below[half], x);
      }
  }
}

/* Of eight tokens three blocks at once: at batch 1 all of a network of 128 experts are there then. */
template <int TILES>
__global__ void __launch_bounds__(FEW_THREADS, TILES == 1 ? 3 : 2) spread_few(const __grid_constant__ cuda_experts e) {
  using M = meeting<TILES>;
  __shared__ float sums[FEW_WARPS * M::warp];
  const struct cuda_linear &a = e.linear;
  int strips = strips_of(a.matrix), pairs = (strips + PAIR - 1) / PAIR, strip = blockIdx.x % pairs * PAIR;
  int index = blockIdx.x / pairs, n_piece = e.padded / PIECE_COLS, warp = threadIdx.x / 32;
  if (index >= e.lists.counts[0]) return;
  int expert = e.lists.active[index], begin = e.lists.first[expert], n = e.lists.first[expert + 1] - begin;
  const int32_t *pair = e.lists.pair + begin;
  const uint8_t *weights = expert_weights(e, expert) + (size_t)strip * n_piece * PIECE;
  const uint16_t *tokens[TILES];
#pragma unroll
  for (int t = 0; t < TILES; t++) tokens[t] = token_row(e, pair, n, t * 8 + threadIdx.x % 32 / 4);
  float sum[PAIR][TILES][4] = {};
  if (strip + 1 < strips) {
    pieces_multiply<PAIR, TILES>(weights, n_piece, warp, n_piece, FEW_WARPS, tokens, n, sum);
  } else { /* the last strip has no partner */
    float one[1][TILES][4] = {};
    pieces_multiply<1, TILES>(weights, n_piece, warp, n_piece, FEW_WARPS, tokens, n, one);
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
    float gate = M::total(sums, within, row) + (bias ? bias[at] : 0), up = 0;
    if (a.gated) up = M::total(sums, within, row + GATE_RUN) + (bias ? bias[at + GATE_RUN] : 0);
    result_put(e, pair[within], col, gate, up);
  }
}

/* Slices of columns that an expert's strip is cut into, of so many pairs at most. */
__host__ __device__ __forceinline__ int slices_of(int n_pair) {
  int slices = FEW_WARPS;
  while (slices > 1 && slices * n_pair > FEW_WARPS) slices /= 2;
  return slices;
}

template <int TILES>
__global__ void __launch_bounds__(FEW_THREADS, 2) gather_few(const __grid_constant__ cuda_experts e) {
  extern __shared__ float products[]; /* [slice][place][16 rows] */
  const struct cuda_linear &a = e.linear;
  const struct cuda_expert_lists &l = e.lists;
  int strip = blockIdx.x, n_piece = e.padded / PIECE_COLS, slices = slices_of(l.n_pair), lane = threadIdx.x % 32;
  for (int i = threadIdx.x / 32; i < l.counts[0] * slices; i += FEW_WARPS) {
    int expert = l.active[i / slices], slice = i % slices, begin = l.first[expert], n = l.first[expert + 1] - begin;
    const uint8_t *weights = expert_weights(e, expert) + (size_t)strip * n_piece * PIECE;
    const uint16_t *tokens[TILES];
    float sum[1][TILES][4] = {};
#pragma unroll
    for (int t = 0; t < TILES; t++) tokens[t] = token_row(e, l.pair + begin, n, t * 8 + lane / 4);
    pieces_multiply<1, TILES>(weights, n_piece, n_piece * slice / slices, n_piece * (slice + 1) / slices, 1, tokens, n,
                              sum);
    float *to = products + ((size_t)slice * l.n_pair + begin) * STRIP;
#pragma unroll
    for (int k = 0; k < TILES * 4; k++) { /* rows lane / 4 and + 8, pairs lane % 4 × 2 and + 1 of each tile */
      int at = k / 4 * 8 + lane % 4 * 2 + k % 2, row = lane / 4 + k % 4 / 2 * 8;
      if (at < n) to[at * STRIP + row] = sum[0][k / 4][k % 4];
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

/* A thread's part of a stage: weights as linear_many.cuh has them, tokens by their pairs' rows. */
template <int TOKENS>
__device__ __forceinline__ void stage_gather(const cuda_experts &e, const uint8_t *weights, int strips, int strip,
                                             const int *rows, int piece, uint8_t *to) {
  using T = tile<ISA, TOKENS>;
  int n_piece = e.padded / PIECE_COLS;
#pragma unroll
  for (int i = 0; i < T::weight_bytes / 16 / T::threads; i++) {
    int at = threadIdx.x + i * T::threads, s = strip + at / (PIECE / 16);
    bool there = s < strips;
    ISA::copy(to + at * 16, weights + ((size_t)(there ? s : 0) * n_piece + piece) * PIECE + at % (PIECE / 16) * 16,
              there);
  }
#pragma unroll
  for (int i = 0; i < T::token_bytes / 16 / T::threads; i++) {
    int at = threadIdx.x + i * T::threads, row = at / 8, chunk = at % 8;
    const uint16_t *from = e.tokens + (size_t)max(rows[row], 0) * e.padded + piece * PIECE_COLS + chunk * 8;
    ISA::copy(to + T::weight_bytes + row * 128 + ((chunk ^ row % 8) << 4), from, rows[row] >= 0);
  }
}

/* As linear_many.cuh's, of pairs: of a gather the products, in linear.product. */
__device__ void pairs_finish(const cuda_experts &e, const expert_tile &tile, const float sum[2][8][4], int strip,
                             int first) {
  const struct cuda_linear &a = e.linear;
  const float *bias = a.bias ? a.bias + (size_t)tile.expert * a.matrix.rows : nullptr;
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 2 * 8 * 4; i++) {
    int s = i / 32, row = (strip + s) * STRIP + lane / 4 + i / 2 % 2 * 8, col = result_col(a, row);
    int t = first + i / 4 % 8 * 8 + lane % 4 * 2 + i % 2;
    if (t >= tile.n || col >= a.result_cols || (a.gated && s == 1)) continue;
    int pair = tile.pair_at(t);
    float gate = sum[s][i / 4 % 8][i % 4] + (bias ? bias[row] : 0), up = 0;
    if (a.gated) up = sum[1][i / 4 % 8][i % 4] + (bias ? bias[row + GATE_RUN] : 0);
    if (e.gather)
      a.product[(size_t)pair * a.matrix.rows + row] = gate;
    else
      result_put(e, pair, col, gate, up);
  }
}

template <int TOKENS>
__global__ void __launch_bounds__(tile<ISA, TOKENS>::threads) experts_many(const __grid_constant__ cuda_experts e) {
  using T = tile<ISA, TOKENS>;
  using R = ring<ISA, T::stages>;
  extern __shared__ __align__(128) uint8_t stages[];
  __shared__ int rows[TOKENS]; /* of the input; −1: there is no pair */
  int strips = strips_of(e.linear.matrix), tall = (strips + T::strips - 1) / T::strips;
  int warp = threadIdx.x / 32, first_strip = blockIdx.x % tall * T::strips, strip = first_strip + warp % 4 * 2;
  expert_tile pairs = tile_of(e.lists, blockIdx.x / tall, e.n_token);
  if (pairs.n <= 0) return;
  const uint8_t *weights = expert_weights(e, pairs.expert);
  for (int i = threadIdx.x; i < TOKENS; i += T::threads) rows[i] = i < pairs.n ? input_row(e, pairs.pair_at(i)) : -1;
  __syncthreads();
  float sum[2][8][4] = {};
  const int lower[2] = {0, 0}, n_piece = e.padded / PIECE_COLS;
  auto ask = [&](int piece, int slot) {
    if (piece < n_piece) stage_gather<TOKENS>(e, weights, strips, first_strip, rows, piece, stages + slot * T::bytes);
  };
  R::begin(ask);
  for (int piece = 0; piece < n_piece; piece++) {
    uint32_t stage = shared_address(stages + R::next(piece, ask) * T::bytes);
    stage_multiply<ISA, KIND>(sum, stage + warp % 4 * 2 * PIECE, stage + T::weight_bytes + warp / 4 * 64 * 128, lower);
  }
  pairs_finish(e, pairs, sum, strip, warp / 4 * 64);
}

template <int TOKENS> void many_launch(const struct cuda_experts &e, cuda_stream stream) {
  using T = tile<ISA, TOKENS>;
  int strips = (e.linear.matrix.rows + STRIP - 1) / STRIP, tall = (strips + T::strips - 1) / T::strips;
  cudaFuncSetAttribute(experts_many<TOKENS>, cudaFuncAttributeMaxDynamicSharedMemorySize, T::shared_bytes);
  experts_many<TOKENS><<<tall * tiles_most(e), T::threads, T::shared_bytes, stream>>>(e);
}

} // namespace

void cuda_experts_few(const struct cuda_experts *of, cuda_stream stream) {
  const struct cuda_experts &e = *of;
  int strips = (e.linear.matrix.rows + STRIP - 1) / STRIP, n = e.n_token;
  int active = e.lists.n_pair < e.lists.n_expert ? e.lists.n_pair : e.lists.n_expert;
  if (e.gather) {
    int bytes = slices_of(e.lists.n_pair) * e.lists.n_pair * STRIP * (int)sizeof(float);
    auto kernel = n <= 8 ? gather_few<1> : n <= 16 ? gather_few<2> : gather_few<4>;
    static_assert(EXPERTS_FEW_PAIRS * STRIP * sizeof(float) <= 48 * 1024, "shared memory that needs no leave");
    kernel<<<strips, FEW_THREADS, bytes, stream>>>(e);
  } else {
    auto kernel = n <= 8 ? spread_few<1> : n <= 16 ? spread_few<2> : spread_few<4>;
    kernel<<<(strips + PAIR - 1) / PAIR * active, FEW_THREADS, 0, stream>>>(e);
  }
}

void cuda_experts_many(const struct cuda_experts *e, cuda_stream stream) {
  (e->lists.tile_pairs > 64 ? many_launch<128> : many_launch<64>)(*e, stream);
}
