/* Linears over weights of 4 and 8 bits, tokens in bf16: weights stream once for each 32 tokens, as the matrix units' A
 * operand, into which they are turned in registers (coded_few.cuh).
 *
 * A block per multiprocessor takes strips of 16 weight rows, all as many, two at a time. Each of 8 warps has a run of
 * the columns, whose pieces it copies into a ring of its own: a slot that is used up is asked for again by the warp
 * that has used it. At the end of two strips the warps' sums are added in the order of the warps, and become results: a
 * gate's strip and its up's go together. So a result depends on its row and token alone, not on how many tokens there
 * are.
 *
 * With 8 tokens two blocks fit a multiprocessor: those of the next linear fill their rings while those of this one
 * multiply (programmatic dependent launch), so memory does not idle between them.
 *
 * Bound: the read of the weights; from 17 tokens on the tokens' fragments, which come from the second-level cache anew
 * for each two strips.
 */
#include "backend/cuda/coded_ring.cuh"
#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_fragments.cuh"
#include "backend/cuda/linear_result.cuh"

namespace {

using namespace coded;

/* --- tokens ------------------------------------------------------------------------------------------------------- */

/* A warp: the scale of a token, of sums of squares that the linear before has left. */
__device__ __forceinline__ float scale_of(const struct cuda_linear &a, int token) {
  float sum = 0;
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
__device__ __forceinline__ void next_prepare(const struct cuda_linear &a, float x, float norm, int token, int col) {
  float y = x * norm, square = x * x;
  ((__nv_bfloat16 *)a.next_fragments)[fragment_index(token, col, a.result_cols / 64)] = __float2bfloat16_rn(y);
  if (!a.next_squares) return;
#pragma unroll
  for (int step = 8; step > 0; step /= 2)
    square += __shfl_xor_sync(0xffffu << threadIdx.x % 32 / 16 * 16, square, step);
  if (threadIdx.x % 16 == 0) a.next_squares[token * (a.result_cols / 16) + col / 16] = square;
}

/* What a result takes beside its products. */
struct extras {
  float scale, scale_up, bias, bias_up, residual, next_norm;
};

/* Of a group's results, token by token, so many of each, the i-th. */
__device__ __forceinline__ extras extras_load(const few &f, const group &g, int token, int within) {
  const struct cuda_linear &a = f.linear;
  const struct cuda_matrix &m = a.matrix;
  int row = g.strip * 16 + within, col = result_col(a, row);
  extras e = {1, 1, 0, 0, 0, 1};
  if (token >= a.n_row || col >= a.result_cols) return e;
  const uint8_t *strip = m.data + (size_t)(row / 16) * m.strip_bytes;
  if (f.head_bytes) e.scale = ((const float *)strip)[row % 16];
  if (f.head_bytes && a.gated) e.scale_up = ((const float *)(strip + m.strip_bytes))[row % 16];
  if (a.bias) e.bias = a.bias[row];
  if (a.bias && a.gated) e.bias_up = a.bias[row + GATE_RUN];
  if (a.residual) e.residual = a.residual[(size_t)token * a.residual_cols + col];
  if (a.next_norm) e.next_norm = a.next_norm[col];
  return e;
}

template <typename C, int TILES>
__device__ __forceinline__ float total_of(const ring<C, TILES> &r, int turn, int token, int within) {
  const float *sums = r.sums + turn * WARPS * shape<C, TILES>::sums + token * TOKEN_STRIDE + within;
  float total = 0;
#pragma unroll
  for (int w = 0; w < WARPS; w++) total += sums[w * shape<C, TILES>::sums];
  return total * r.scale[token];
}

/* The group's results of a token. */
__device__ __forceinline__ int width_of(const few &f, const group &g) { return f.linear.gated ? GATE_RUN : g.n * 16; }

/* From the warps' sums of a group, always added in the order of the warps, to results. extras: of the thread's first
 * one. */
template <typename C, int TILES>
__device__ __forceinline__ void sums_finish(const few &f, const ring<C, TILES> &r, const group &g, extras e, int turn,
                                            const float sum[STRIPS][TILES][4]) {
  const struct cuda_linear &a = f.linear;
  int lane = threadIdx.x % 32, width = width_of(f, g);
  float *mine = r.sums + (turn * WARPS + threadIdx.x / 32) * shape<C, TILES>::sums;
  mine += lane % 4 * 2 * TOKEN_STRIDE + lane / 4;
#pragma unroll
  for (int i = 0; i < STRIPS * TILES * 4; i++)
    mine[(i / 4 % TILES * 8 + i % 2) * TOKEN_STRIDE + i / (TILES * 4) * 16 + i / 2 % 2 * 8] =
        sum[i / (TILES * 4)][i / 4 % TILES][i % 4];
  __syncthreads();
  for (int i = threadIdx.x; i < a.n_row * width; i += THREADS) {
    int token = i / width, within = i % width, col = result_col(a, g.strip * 16 + within);
    if (i >= THREADS) e = extras_load(f, g, token, within);
    if (col >= a.result_cols) continue;
    /* rounded before the bias, as where an expansion comes between */
    float gate = __fmul_rn(total_of<C, TILES>(r, turn, token, within), e.scale) + e.bias, up = 0;
    if (a.gated) up = __fmul_rn(total_of<C, TILES>(r, turn, token, within + GATE_RUN), e.scale_up) + e.bias_up;
    float x = result_of(a, gate, up);
    if (a.residual) x = residual_add(a, x, e.residual);
    a.out[(size_t)token * a.out_cols + col] = x;
    if (a.next_fragments) next_prepare(a, x, e.next_norm, token, col);
  }
}

/* --- products ----------------------------------------------------------------------------------------------------- */

/* A piece of each of n strips, of which there may be one less than go abreast: it is then multiplied for nothing. */
template <typename C, int TILES>
__device__ __forceinline__ void
strips_multiply(const few &f, const ring<C, TILES> &r, float (*sum)[TILES][4], int n, const fragments<TILES> &b,
                const typename C::template helpers<TILES> &help, place *at, walk *asked) {
  using S = shape<C, TILES>;
  const uint8_t *piece[S::abreast];
  int first = at->slot;
#pragma unroll
  for (int i = 0; i < S::abreast; i++) {
    if (i < n) {
      barrier_wait(&r.full[at->slot], at->phase);
      piece[i] = r.slot + at->slot * C::slot_bytes;
      if (++at->slot == S::slots) at->slot = 0, at->phase ^= 1;
    } else
      piece[i] = piece[0];
  }
  C::template multiply<TILES, S::abreast>(sum, piece, f.has_min, b, help, threadIdx.x % 32);
  __syncwarp();
  if (threadIdx.x % 32 == 0)
    for (int i = 0; i < n; i++) piece_ask<C, TILES>(f, r, asked, (first + i) % S::slots);
}

/* --- the kernel --------------------------------------------------------------------------------------------------- */

template <typename C, int TILES>
__global__ void __launch_bounds__(THREADS, TILES == 1 ? 2 : 1) linear_coded(const __grid_constant__ few f) {
  using S = shape<C, TILES>;
  extern __shared__ __align__(1024) uint8_t shared[];
  ring<C, TILES> r(shared);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  place at = {0, 0};
  walk asked = walk_begin(f);
  dependents_launch();
  if (lane == 0) {
    for (int i = 0; i < S::slots; i++) barrier_init(&r.full[i], 1);
    barriers_publish();
    for (int i = 0; i < S::slots; i++) piece_ask<C, TILES>(f, r, &asked, i);
  }
  __syncwarp();
  dependencies_wait();
  int first = f.n_piece * warp / WARPS, end = f.n_piece * (warp + 1) / WARPS;
  fragments<TILES> b;
  fragments_load<TILES>(b, f, first, lane);
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    float scale = scale_of(f.linear, t * 8 + warp);
    if (lane == 0) r.scale[t * 8 + warp] = scale;
  }
  share mine = share_of(f);
  int turn = 0;
  for (int strip = mine.first; strip < mine.end; strip += STRIPS, turn ^= 1) {
    group g = group_at(mine, strip);
    float sum[STRIPS][TILES][4] = {};
    extras e = extras_load(f, g, threadIdx.x / width_of(f, g), threadIdx.x % width_of(f, g));
    for (int piece = first; piece < end; piece++) {
      fragments<TILES> next;
      typename C::template helpers<TILES> help;
      fragments_load<TILES>(next, f, piece + 1 < end ? piece + 1 : first, lane);
      C::template prepare<TILES>(help, b);
#pragma unroll
      for (int i = 0; i < STRIPS; i += S::abreast) {
        if (i >= g.n) break;
        strips_multiply<C, TILES>(f, r, sum + i, min(S::abreast, g.n - i), b, help, &at, &asked);
      }
      b = next;
    }
    sums_finish<C, TILES>(f, r, g, e, turn, sum);
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
  if (m.kind == KIND_F8 && m.group)
    coding_launch<grouped<e4m3>>(f, multiprocessors, stream);
  else if (m.kind == KIND_F8)
    coding_launch<bytes<e4m3>>(f, multiprocessors, stream);
  else if (m.bits == 8 && m.has_min)
    coding_launch<least>(f, multiprocessors, stream);
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
  f.head_bytes = m.head_bytes;
  f.piece_bytes = m.piece_bytes;
  f.has_min = m.has_min;
  return f;
}

} // namespace

void cuda_linear_coded(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream) {
  few f = few_of(linear);
  int n_row = linear->n_row;
  if (!linear->ready) cuda_linear_prepare(linear, false, stream);
  for (int first = 0; first < n_row; first += LINEAR_FEW) {
    f.linear.n_row = n_row - first < LINEAR_FEW ? n_row - first : LINEAR_FEW;
    chunk_launch(f, multiprocessors, stream);
    f.tokens += (size_t)LINEAR_FEW / 8 * f.n_half * 64;
    f.linear.out += (size_t)LINEAR_FEW * f.linear.out_cols;
    if (f.linear.residual) f.linear.residual += (size_t)LINEAR_FEW * f.linear.residual_cols;
  }
  if (linear->has_post_norm) cuda_linear_tail(linear, stream);
}
