/* Linears over weights of 4 and 8 bits, tokens in bf16: weights stream once for each 32 tokens, as the matrix units' A
 * operand, into which they are turned in registers (coded_few.cuh).
 *
 * A block per multiprocessor takes strips of 16 weight rows, all as many, two at a time. Each of 8 warps has a run of the
 * columns, whose pieces it copies into a ring of its own: a slot that is used up is asked for again by the warp that has
 * used it. At the end of two strips the warps' sums are added in the order of the warps, and become results: a gate's
 * strip and its up's go together. So a result depends on its row and token alone, not on how many tokens there are.
 *
 * With 8 tokens two blocks fit a multiprocessor: those of the next linear fill their rings while those of this one
 * multiply (programmatic dependent launch), so memory does not idle between them.
 *
 * Bound: the read of the weights; from 17 tokens on the tokens' fragments, which come from the second-level cache anew
 * for each two strips.
 */
#include "backend/cuda/coded_few.cuh"
#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_fragments.cuh"
#include "backend/cuda/linear_result.cuh"

namespace {

using namespace coded;

enum {
  WARPS = 8,
  THREADS = WARPS * 32,
  STRIPS = 2,                     /* that share the tokens' fragments */
  TOKEN_STRIDE = STRIPS * 16 + 4, /* sums of a token: its distance to the next keeps lanes on banks of their own */
};

struct few {
  struct cuda_linear linear;
  const uint4 *tokens; /* [tile of 8][half piece][2][lane]: B fragments of two 16-column steps each */
  int n_strip, n_piece, n_half, unit;
  int piece_bytes, head_bytes; /* head: a strip's F32 scales of rows */
  const float *scales;         /* of tokens that are codes; NULL: they are not */
  bool has_min;
};

template <typename C, int TILES> struct shape {
  static constexpr int resident = TILES == 1 ? 2 : 1; /* blocks on a multiprocessor */
  static constexpr int sums = TILES * 8 * TOKEN_STRIDE; /* of a warp */
  static constexpr int room = (228 / resident - 1) * 1024 - 1024 - 2 * WARPS * sums * 4;
  static constexpr int most = room / (WARPS * C::slot_bytes), slots = most < 12 ? most : 12; /* of a warp */
  static constexpr int shared_bytes = 1024 + 2 * WARPS * sums * 4 + WARPS * slots * C::slot_bytes;
  static_assert(slots >= 4 && slots * WARPS * 8 + 32 * 4 <= 1024, "slots enough to hide a copy, room for barriers");
};

template <typename C, int TILES> struct ring {
  using S = shape<C, TILES>;
  uint64_t *full; /* [slots] of the warp */
  float *scale;   /* [token]: what products are multiplied by: of a norm that the input still lacks */
  float *sums;    /* [2][WARPS][token][TOKEN_STRIDE]: of strips in turn */
  uint8_t *slot;  /* [slots] of the warp */

  __device__ explicit ring(uint8_t *shared) {
    int warp = threadIdx.x / 32;
    full = (uint64_t *)shared + warp * S::slots;
    scale = (float *)(shared + S::slots * WARPS * 8);
    sums = (float *)(shared + 1024);
    slot = shared + 1024 + 2 * WARPS * S::sums * 4 + warp * S::slots * C::slot_bytes;
  }
};

/* --- who multiplies what ------------------------------------------------------------------------------------------ */

/* Strips that a block multiplies together. */
struct group {
  int strip, n;
};

/* A block's group of a round; n 0: there is none any more. */
__device__ __forceinline__ group group_of(const few &f, int round) {
  int units = f.n_strip / f.unit, most = STRIPS / f.unit;
  int first = (int)((int64_t)units * blockIdx.x / gridDim.x), end = (int)((int64_t)units * (blockIdx.x + 1) / gridDim.x);
  int unit = first + round * most;
  return {unit * f.unit, max(0, min(most, end - unit)) * f.unit};
}

/* The order in which a warp goes through the pieces of its columns: of each group, piece by piece, strip by strip. */
struct walk {
  int first, end; /* pieces of the warp */
  int round, piece, i;
  group g;
};

__device__ __forceinline__ walk walk_begin(const few &f) {
  int warp = threadIdx.x / 32;
  walk w = {f.n_piece * warp / WARPS, f.n_piece * (warp + 1) / WARPS};
  w.round = 0, w.piece = w.first, w.i = 0;
  w.g = group_of(f, 0);
  if (w.first == w.end) w.g.n = 0; /* it has nothing */
  return w;
}

__device__ __forceinline__ void walk_next(const few &f, walk *w) {
  if (++w->i < w->g.n) return;
  w->i = 0;
  if (++w->piece < w->end) return;
  w->piece = w->first;
  w->g = group_of(f, ++w->round);
}

/* A thread: asks for the next piece, if there is one, into a slot. */
template <typename C, int TILES>
__device__ __forceinline__ void piece_ask(const few &f, const ring<C, TILES> &r, walk *w, int slot, uint64_t policy) {
  if (w->g.n == 0) return;
  const struct cuda_matrix &m = f.linear.matrix;
  const uint8_t *from =
      m.data + (size_t)(w->g.strip + w->i) * m.strip_bytes + f.head_bytes + (size_t)w->piece * f.piece_bytes;
  barrier_expect(&r.full[slot], f.piece_bytes);
  bulk_copy(r.slot + slot * C::slot_bytes, from, f.piece_bytes, &r.full[slot], policy);
  walk_next(f, w);
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

/* A warp: the scale of a token, its codes' or of sums of squares that the linear before has left. */
__device__ __forceinline__ float scale_of(const few &f, int token) {
  const struct cuda_linear &a = f.linear;
  float sum = 0;
  if (f.scales) return token < a.n_row ? f.scales[token] : 0;
  if (a.squares && token < a.n_row)
    for (int i = threadIdx.x % 32; i < a.n_square; i += 32) sum += a.squares[token * a.n_square + i];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  return a.squares ? rsqrtf(sum / a.matrix.cols + a.eps) : 1;
}

template <int TILES>
__device__ __forceinline__ void fragments_load(fragments<TILES> &b, const few &f, int piece, int lane) {
#pragma unroll
  for (int t = 0; t < TILES; t++)
#pragma unroll
    for (int i = 0; i < STEPS / 2; i++) {
      int half = piece * 2 + i / 2;
      bool has = half < f.n_half && t * 8 + lane / 4 < f.linear.n_row;
      b.pair[t][i] = has ? f.tokens[((size_t)t * f.n_half + half) * 64 + i % 2 * 32 + lane] : make_uint4(0, 0, 0, 0);
    }
}

/* --- from sums to results ----------------------------------------------------------------------------------------- */

/* A result as the next linear takes it. Half a warp has 16 columns of a token. */
__device__ __forceinline__ void next_prepare(const struct cuda_linear &a, float x, int token, int col) {
  float y = a.next_norm ? x * a.next_norm[col] : x, square = x * x;
  ((__nv_bfloat16 *)a.next_fragments)[fragment_index(token, col, a.result_cols / 64)] = __float2bfloat16_rn(y);
  if (!a.next_squares) return;
#pragma unroll
  for (int step = 8; step > 0; step /= 2)
    square += __shfl_xor_sync(0xffffu << threadIdx.x % 32 / 16 * 16, square, step);
  if (threadIdx.x % 16 == 0) a.next_squares[token * (a.result_cols / 16) + col / 16] = square;
}

template <typename C, int TILES>
__device__ __forceinline__ float total_of(const few &f, const ring<C, TILES> &r, int turn, int token, int within,
                                          int row) {
  const float *sums = r.sums + turn * WARPS * shape<C, TILES>::sums + token * TOKEN_STRIDE + within;
  float total = 0;
#pragma unroll
  for (int w = 0; w < WARPS; w++) total += sums[w * shape<C, TILES>::sums];
  const struct cuda_matrix &m = f.linear.matrix;
  if (f.head_bytes) total *= ((const float *)(m.data + (size_t)(row / 16) * m.strip_bytes))[row % 16];
  total *= r.scale[token];
  return f.linear.bias && row < m.rows ? total + f.linear.bias[row] : total;
}

/* From the warps' sums of a group, always added in the order of the warps, to results. */
template <typename C, int TILES>
__device__ __forceinline__ void sums_finish(const few &f, const ring<C, TILES> &r, const group &g, int turn,
                                            const float sum[STRIPS][TILES][4]) {
  const struct cuda_linear &a = f.linear;
  int lane = threadIdx.x % 32, width = a.gated ? GATE_RUN : g.n * 16;
  float *mine = r.sums + (turn * WARPS + threadIdx.x / 32) * shape<C, TILES>::sums;
  mine += lane % 4 * 2 * TOKEN_STRIDE + lane / 4;
#pragma unroll
  for (int i = 0; i < STRIPS * TILES * 4; i++)
    mine[(i / 4 % TILES * 8 + i % 2) * TOKEN_STRIDE + i / (TILES * 4) * 16 + i / 2 % 2 * 8] =
        sum[i / (TILES * 4)][i / 4 % TILES][i % 4];
  __syncthreads();
  for (int i = threadIdx.x; i < a.n_row * width; i += THREADS) {
    int token = i / width, within = i % width, row = g.strip * 16 + within, col = result_col(a, row);
    if (col >= a.result_cols) continue;
    float residual = a.residual ? a.residual[(size_t)token * a.residual_cols + col] : 0;
    float gate = total_of<C, TILES>(f, r, turn, token, within, row);
    float up = a.gated ? total_of<C, TILES>(f, r, turn, token, within + GATE_RUN, row + GATE_RUN) : 0;
    float x = result_of(a, gate, up);
    if (a.residual) x = residual_add(a, x, residual);
    a.out[(size_t)token * a.out_cols + col] = x;
    if (a.next_fragments) next_prepare(a, x, token, col);
  }
}

/* --- the kernel --------------------------------------------------------------------------------------------------- */

template <typename C, int TILES>
__global__ void __launch_bounds__(THREADS, TILES == 1 ? 2 : 1) linear_coded(const __grid_constant__ few f) {
  using S = shape<C, TILES>;
  extern __shared__ __align__(1024) uint8_t shared[];
  ring<C, TILES> r(shared);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, slot = 0;
  uint32_t phase = 0;
  uint64_t policy = policy_evict_first();
  walk asked = walk_begin(f);
  dependents_launch();
  if (lane == 0) {
    for (int i = 0; i < S::slots; i++) barrier_init(&r.full[i], 1);
    barriers_publish();
    for (int i = 0; i < S::slots; i++) piece_ask<C, TILES>(f, r, &asked, i, policy);
  }
  __syncwarp();
  dependencies_wait();
  int first = f.n_piece * warp / WARPS, end = f.n_piece * (warp + 1) / WARPS;
  fragments<TILES> b;
  fragments_load<TILES>(b, f, first, lane);
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    float scale = scale_of(f, t * 8 + warp);
    if (lane == 0) r.scale[t * 8 + warp] = scale;
  }
  group g;
  for (int round = 0; (g = group_of(f, round)).n > 0; round++) {
    float sum[STRIPS][TILES][4] = {};
    for (int piece = first; piece < end; piece++) {
      fragments<TILES> next;
      typename C::template helpers<TILES> help;
      fragments_load<TILES>(next, f, piece + 1 < end ? piece + 1 : first, lane);
      C::template prepare<TILES>(help, b);
#pragma unroll
      for (int i = 0; i < STRIPS; i++) {
        if (i >= g.n) break;
        barrier_wait(&r.full[slot], phase);
        C::template multiply<TILES>(sum[i], r.slot + slot * C::slot_bytes, f.has_min, b, help, lane);
        __syncwarp();
        if (lane == 0) piece_ask<C, TILES>(f, r, &asked, slot, policy);
        if (++slot == S::slots) slot = 0, phase ^= 1;
      }
      b = next;
    }
    sums_finish<C, TILES>(f, r, g, round & 1, sum);
  }
}

template <typename C, int TILES> void few_launch(const few &f, int multiprocessors, cuda_stream stream) {
  int units = f.n_strip / f.unit, blocks = units < multiprocessors ? units : multiprocessors;
  early_launch(linear_coded<C, TILES>, {blocks, THREADS, shape<C, TILES>::shared_bytes, 1}, stream, f);
}

template <typename C> void coding_launch(const few &f, int multiprocessors, cuda_stream stream) {
  if (f.linear.n_row <= 8)
    few_launch<C, 1>(f, multiprocessors, stream);
  else if (f.linear.n_row <= 16)
    few_launch<C, 2>(f, multiprocessors, stream);
  else
    few_launch<C, 4>(f, multiprocessors, stream);
}

void chunk_launch(const few &f, int multiprocessors, cuda_stream stream) {
  const struct cuda_matrix &m = f.linear.matrix;
  if (m.kind == KIND_F8)
    coding_launch<bytes<e4m3>>(f, multiprocessors, stream);
  else if (m.bits == 8)
    coding_launch<bytes<int8>>(f, multiprocessors, stream);
  else if (m.group == 128)
    coding_launch<nibbles<1>>(f, multiprocessors, stream);
  else
    coding_launch<nibbles<4>>(f, multiprocessors, stream);
}

few few_of(const struct cuda_linear *linear) {
  const struct cuda_matrix &m = linear->matrix;
  few f = {linear->has_post_norm ? products_alone(linear) : *linear, (const uint4 *)linear->fragments};
  f.n_strip = (m.rows + 15) / 16;
  f.n_piece = (m.cols + 127) / 128, f.n_half = (m.cols + 63) / 64;
  f.unit = linear->gated && !linear->has_post_norm ? 2 : 1;
  f.head_bytes = m.bytes ? 64 : 0;
  f.piece_bytes = (int)(m.strip_bytes - f.head_bytes) / f.n_piece;
  f.has_min = m.has_min;
  f.scales = m.activation ? linear->scales : nullptr;
  return f;
}

} // namespace

void cuda_linear_coded(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream) {
  few f = few_of(linear);
  int n_row = linear->n_row;
  if (f.scales)
    cuda_coded_prepare(linear, stream);
  else if (!linear->ready)
    cuda_linear_prepare(linear, false, stream);
  for (int first = 0; first < n_row; first += LINEAR_FEW) {
    f.linear.n_row = n_row - first < LINEAR_FEW ? n_row - first : LINEAR_FEW;
    chunk_launch(f, multiprocessors, stream);
    f.tokens += (size_t)LINEAR_FEW / 8 * f.n_half * 64;
    if (f.scales) f.scales += LINEAR_FEW;
    f.linear.out += (size_t)LINEAR_FEW * f.linear.out_cols;
    if (f.linear.residual) f.linear.residual += (size_t)LINEAR_FEW * f.linear.residual_cols;
  }
  if (linear->has_post_norm) cuda_linear_tail(linear, stream);
}
