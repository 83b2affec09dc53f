/* Linears of few tokens over bf16 weights, which stream once from device memory at its full rate: up to 32 tokens,
 * weights as the matrix units' A operand and tokens as B ("swap AB"). Linears each of which takes what the one before
 * it makes are the parts of one launch.
 *
 * A block per multiprocessor takes up to three strips of 16 weight rows in turn. One thread keeps bulk copies in flight
 * into a ring of stages; a stage has 8 pieces of a strip, and each of 8 warps multiplies the pieces of 64 columns that
 * are its own with the tokens' fragments, which it reads in the order in which registers want them, some pieces ahead.
 * At the end of the strips the warps' sums are added in the order of the warps, and become results: a gate's strip and
 * its up's go together. So a result depends on its row and token alone, not on how many tokens there are.
 *
 * At the end of a part a block waits for all others: a count in device memory, 2 to 3 µs with all that memory is asked
 * for meanwhile. The copying thread does not wait: it fills the ring with the next part's weights, and before the first
 * part does so while the kernel before this one ends (programmatic dependent launch). What a part leaves to the next
 * has the weights of its norm, whose scale is a factor of the products that follows from sums of squares.
 *
 * Bound: the read of the weights (92 % of its rate over the linears of an 8B, bench/lab/linear_chain.cu); small parts
 * by what a part's end takes, 5 to 7 µs from the last weights to the next products, of which the ring covers 5.6. From
 * 17 tokens on, the tokens' fragments, which come from the second-level cache anew for each group of strips.
 */
#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_fragments.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/linear_ring.cuh"

#include <cuda_bf16.h>

namespace {

using namespace linear_ring;

struct few {
  struct cuda_linear linear;
  const uint4 *tokens; /* [tile of 8][piece][2][lane]: B fragments of two 16-column steps each */
  streamed weights;
};

/* Linears one after the other, each taking what the one before it has left. */
struct chain {
  few part[LINEAR_CHAIN];
  int n;
  uint32_t *arrived; /* blocks, at all ends of parts so far; and those that have left; 0 between launches */
};

/* --- tokens ------------------------------------------------------------------------------------------------------- */

/* A warp: the scales of 8 tokens, of sums of squares that the linear before has left; four lanes a token. */
__device__ __forceinline__ void scales_add(const struct cuda_linear &a, float *scale, int first) {
  int token = first + threadIdx.x % 32 / 4;
  float sum = 0;
  if (a.squares && token < a.n_row) {
    const float4 *from = (const float4 *)(a.squares + token * a.n_square);
#pragma unroll 16
    for (int i = threadIdx.x % 4; i < a.n_square / 4; i += 4) {
      float4 x = from[i];
      sum += (x.x + x.y) + (x.z + x.w);
    }
  }
  sum += __shfl_xor_sync(~0u, sum, 2);
  sum += __shfl_xor_sync(~0u, sum, 1);
  scale[token] = a.squares ? rsqrtf(sum / a.matrix.cols + a.eps) : 1;
}

template <int TILES> struct fragments { uint4 low[TILES], high[TILES]; };

/* Of tokens that there are. */
template <int TILES>
__device__ __forceinline__ void fragments_load(fragments<TILES> &b, const few &a, int piece, int lane) {
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    const uint4 *from = a.tokens + ((size_t)t * a.weights.n_piece + piece) * 64;
    bool has = piece < a.weights.n_piece && t * 8 + lane / 4 < a.linear.n_row;
    b.low[t] = has ? from[lane] : make_uint4(0, 0, 0, 0);
    b.high[t] = has ? from[32 + lane] : make_uint4(0, 0, 0, 0);
  }
}

/* --- products ----------------------------------------------------------------------------------------------------- */

template <int TILES>
__device__ __forceinline__ void piece_multiply(float sum[TILES][4], const uint8_t *piece, const fragments<TILES> &b,
                                               int lane) {
  int row = lane % 16, half = lane / 16;
  uint32_t base = shared_address(piece) + row / 8 * 1024 + row % 8 * 128;
  uint32_t w[4][4];
#pragma unroll
  for (int k = 0; k < 4; k++) matrices_load(w[k], base + (((2 * k + half) ^ (row % 8)) << 4)); /* cuda_layout.h */
#pragma unroll
  for (int k = 0; k < 4; k++)
#pragma unroll
    for (int t = 0; t < TILES; t++) {
      const uint32_t *x = k < 2 ? &b.low[t].x : &b.high[t].x;
      multiply_bf16(sum[t], w[k], x[k % 2 * 2], x[k % 2 * 2 + 1]);
    }
}

__device__ __forceinline__ void warps_meet() { asm volatile("bar.sync 1, %0;" ::"n"(WARPS * 32) : "memory"); }

template <int TILES> __device__ __forceinline__ float total_of(const ring<TILES> &r, int token, int row) {
  float total = 0;
#pragma unroll
  for (int w = 0; w < WARPS; w++) total += r.sums[w * sums_of(TILES) + token * TOKEN_STRIDE + row];
  return total;
}

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

/* What a result of a group takes beside its products. */
struct extras {
  float bias, bias_up, residual, next_norm;
};

/* The group's results are token by token. */
__device__ __forceinline__ int width_of(const struct cuda_linear &a, const group &g) {
  return a.gated ? GATE_RUN : g.n * 16;
}

__device__ __forceinline__ extras extras_load(const struct cuda_linear &a, const group &g, int i) {
  int width = width_of(a, g), token = i / width, at = g.strip * 16 + i % width, col = result_col(a, at);
  extras e = {0, 0, 0, 1};
  if (token >= a.n_row || col >= a.result_cols) return e;
  if (a.bias) e.bias = a.bias[at];
  if (a.bias && a.gated) e.bias_up = a.bias[at + GATE_RUN];
  if (a.residual) e.residual = a.residual[(size_t)token * a.residual_cols + col];
  if (a.next_norm) e.next_norm = a.next_norm[col];
  return e;
}

/* From the warps' sums of a group, always added in the order of the warps, to results. extras: of the thread's first
 * one. */
template <int TILES>
__device__ void sums_finish(const few &f, const ring<TILES> &r, const group &g, extras e, int phase,
                            const float sum[STRIPS][TILES][4]) {
  const struct cuda_linear &a = f.linear;
  int lane = threadIdx.x % 32, width = width_of(a, g), strip = g.strip;
  float *mine = r.sums + threadIdx.x / 32 * sums_of(TILES) + lane % 4 * 2 * TOKEN_STRIDE + lane / 4;
#pragma unroll
  for (int i = 0; i < STRIPS * TILES * 4; i++)
    mine[(i / 4 % TILES * 8 + i % 2) * TOKEN_STRIDE + i / (TILES * 4) * 16 + i / 2 % 2 * 8] =
        sum[i / (TILES * 4)][i / 4 % TILES][i % 4];
  barrier_wait(r.scaled, phase);
  warps_meet();
  for (int i = threadIdx.x; i < a.n_row * width; i += WARPS * 32, e = extras_load(a, g, i)) {
    int token = i / width, row = i % width, at = strip * 16 + row, col = result_col(a, at);
    if (col >= a.result_cols) continue;
    float scale = r.scale[token], gate = total_of<TILES>(r, token, row) * scale + e.bias, up = 0;
    if (a.gated) up = total_of<TILES>(r, token, row + GATE_RUN) * scale + e.bias_up;
    float x = result_of(a, gate, up);
    if (a.residual) x = residual_add(a, x, e.residual);
    a.out[(size_t)token * a.out_cols + col] = x;
    if (a.next_fragments) next_prepare(a, x, e.next_norm, token, col);
  }
  warps_meet();
}

/* A piece of each of n strips. */
template <int TILES>
__device__ __forceinline__ void strips_multiply(const ring<TILES> &r, float sum[STRIPS][TILES][4], int n, bool has,
                                                const fragments<TILES> &b, turn *at) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < STRIPS; i++) {
    if (i >= n) break;
    barrier_wait(&r.full[at->slot], at->phase);
    if (has) piece_multiply<TILES>(sum[i], r.bytes + at->slot * RUN + warp * PIECE, b, lane);
    warp_arrive(&r.empty[at->slot]);
    *at = turn_next<TILES>(*at);
  }
}

/* Fragments come some pieces ahead, at the end of strips those of the next ones' first pieces. */
template <int TILES> __device__ void weights_multiply(const few &a, const ring<TILES> &r, int phase, turn *at) {
  constexpr int depth = depth_of(TILES), step = WARPS * depth;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int n_piece = a.weights.n_piece;
  fragments<TILES> b[depth];
  group g;
#pragma unroll
  for (int d = 0; d < depth; d++) fragments_load<TILES>(b[d], a, warp + d * WARPS, lane);
  for (int round = 0; (g = group_of(a.weights, round)).n > 0; round++) {
    float sum[STRIPS][TILES][4] = {};
    extras e = extras_load(a.linear, g, threadIdx.x);
    for (int run = 0; run < n_piece; run += step)
#pragma unroll
      for (int d = 0; d < depth; d++) {
        int first = run + d * WARPS, piece = first + warp;
        if (first >= n_piece) break;
        strips_multiply<TILES>(r, sum, g.n, piece < n_piece, b[d], at);
        fragments_load<TILES>(b[d], a, first + step < n_piece ? piece + step : warp + d * WARPS, lane);
      }
    sums_finish<TILES>(a, r, g, e, phase, sum);
  }
}

/* --- the chain ---------------------------------------------------------------------------------------------------- */

/* The warps that multiply and those that scale. */
template <int TILES> __device__ __forceinline__ void part_begins() {
  asm volatile("bar.sync 2, %0;" ::"n"((WARPS + scalers_of(TILES)) * 32) : "memory");
}

/* Until all blocks, which run at once, have ended i parts. */
template <int TILES> __device__ __forceinline__ void parts_meet(const chain &c, int i) {
  warps_meet();
  if (threadIdx.x == 0) {
    count_release(c.arrived);
    while (count_acquire(c.arrived) < (uint32_t)i * gridDim.x) {
    }
  }
  part_begins<TILES>();
}

/* Who leaves last clears the counts. */
__device__ __forceinline__ void chain_leave(const chain &c) {
  if (c.n > 1 && threadIdx.x == 0 && atomicAdd(&c.arrived[1], 1) == gridDim.x - 1) c.arrived[0] = c.arrived[1] = 0;
}

template <int TILES> __device__ void scales_make(const chain &c, const ring<TILES> &r) {
  for (int i = 0; i < c.n; i++) {
    if (i > 0) part_begins<TILES>();
    for (int t = threadIdx.x / 32 - SCALERS; t < TILES; t += scalers_of(TILES))
      scales_add(c.part[i].linear, r.scale, t * 8);
    barrier_arrive(r.scaled);
  }
}

template <int TILES> __device__ void parts_multiply(const chain &c, const ring<TILES> &r) {
  turn at = {0, 0};
  for (int i = 0; i < c.n; i++) {
    if (i > 0) parts_meet<TILES>(c, i);
    weights_multiply<TILES>(c.part[i], r, i & 1, &at);
    barrier_wait(r.scaled, i & 1); /* also of a block that has no strip */
  }
  chain_leave(c);
}

template <int TILES>
__global__ void __launch_bounds__(threads_of(TILES), 1) linear_few(const __grid_constant__ chain c) {
  extern __shared__ __align__(1024) uint8_t shared[];
  ring<TILES> r = ring_lay<TILES>(shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < r.stages; i++) barrier_init(&r.full[i], 1), barrier_init(&r.empty[i], WARPS);
    barrier_init(r.scaled, scalers_of(TILES) * 32);
    barriers_publish();
  }
  __syncthreads();
  dependents_launch();
  int warp = threadIdx.x / 32;
  if (warp == COPIER && threadIdx.x % 32 == 0) {
    copier copies = {{0, 1}, {0, 0}, 0}; /* of a barrier's first phase the one before is over */
    for (int i = 0; i < c.n; i++) weights_stream<TILES>(c.part[i].weights, r, &copies);
  }
  if (warp == COPIER) return;
  dependencies_wait();
  if (warp >= SCALERS)
    scales_make<TILES>(c, r);
  else
    parts_multiply<TILES>(c, r);
}

template <int TILES> void chain_launch(chain c, cuda_stream stream) {
  int blocks = 1;
  for (int i = 0; i < c.n; i++) blocks = blocks > c.part[i].weights.blocks ? blocks : c.part[i].weights.blocks;
  early_launch(linear_few<TILES>, {blocks, threads_of(TILES), shared_bytes(TILES), 1}, stream, c);
}

streamed streamed_of(const uint8_t *data, int rows, int cols, bool gated, int multiprocessors) {
  streamed w = {data, (rows + 15) / 16, (cols + 63) / 64, gated ? 2 : 1};
  w.blocks = w.n_strip / w.unit < multiprocessors ? w.n_strip / w.unit : multiprocessors;
  return w;
}

} // namespace

void cuda_linear_few(const struct cuda_linear *linear, int n, uint32_t *arrived, int multiprocessors,
                     cuda_stream stream) {
  chain c = {.n = n, .arrived = arrived};
  for (int i = 0; i < n; i++) {
    const struct cuda_linear &l = linear[i];
    c.part[i] = {.linear = l.has_post_norm ? products_alone(&l) : l,
                 .tokens = (const uint4 *)l.fragments,
                 .weights = streamed_of(l.matrix.data, l.matrix.rows, l.matrix.cols, l.gated && !l.has_post_norm,
                                        multiprocessors)};
  }
  if (!linear->ready) cuda_linear_prepare(linear, false, stream);
  if (linear->n_row <= 8)
    chain_launch<1>(c, stream);
  else if (linear->n_row <= 16)
    chain_launch<2>(c, stream);
  else
    chain_launch<4>(c, stream);
  if (linear[n - 1].has_post_norm) cuda_linear_tail(linear + n - 1, stream);
}
