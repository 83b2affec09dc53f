/* The linear of few tokens over bf16 weights, which stream once from device memory at its full rate: up to 32 tokens,
 * weights as the matrix units' A operand and tokens as B ("swap AB").
 *
 * A block per multiprocessor takes pairs of strips (32 weight rows) in turn. One thread keeps bulk copies in flight
 * into a ring of stages; a stage has 8 pieces of each strip, and each of 8 warps multiplies the pieces of 64 columns
 * that are its own with the tokens' fragments, which it reads in the order in which registers want them. At the end of
 * a pair the warps' sums are added in the order of the warps, and become results: a gate's strip and its up's are a
 * pair. So a result depends on its row and token alone, not on how many tokens there are. Weights are asked for before
 * the kernel before this one has ended (programmatic dependent launch). A result can be left to the linear that takes
 * it in the form that it wants, so that no kernel stands between the two: with the weights of its norm, whose scale is
 * a factor of the products that follows from sums of squares.
 *
 * Bound: the read of the weights; the tokens' fragments, which come from the second-level cache anew for each pair,
 * are a quarter of the weights' bytes at 8 tokens and as many at 32. Measured in bench/lab/linear_small.cu, version 4.
 */
#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/instructions.cuh"

#include <cuda_bf16.h>

namespace {

enum {
  WARPS = 8,
  STRIPS = 2,
  PIECE = 2048,                   /* bytes of 16 rows × 64 columns */
  RUN = WARPS * PIECE,            /* of a strip in a stage */
  COPIER = WARPS,                 /* the warps after those that multiply: one asks for weights, */
  SCALERS,                        /* others add up tokens' norms, 8 tokens each */
  TOKEN_STRIDE = STRIPS * 16 + 4, /* sums of a token: its distance to the next keeps lanes on banks of their own */
};

__host__ __device__ constexpr int threads_of(int tiles) { return (SCALERS + tiles) * 32; }

/* Floats of a warp's sums of so many tiles of 8 tokens. */
__host__ __device__ constexpr int sums_of(int tiles) { return tiles * 8 * TOKEN_STRIDE; }

/* Stages that fit beside the sums and the barriers. */
__host__ __device__ constexpr int stages_of(int tiles) {
  return (227 * 1024 - 512 - WARPS * sums_of(tiles) * 4) / (STRIPS * RUN);
}

__host__ __device__ constexpr int shared_bytes(int tiles) {
  return stages_of(tiles) * STRIPS * RUN + (WARPS * sums_of(tiles) + tiles * 8) * 4 + (2 * stages_of(tiles) + 1) * 8;
}

struct few {
  struct cuda_linear linear;
  const uint4 *tokens; /* [tile of 8][piece][2][lane]: B fragments of two 16-column steps each */
  int n_strip, n_piece;
};

/* --- tokens ------------------------------------------------------------------------------------------------------- */

/* Where column `col` of a token is among the fragments. A lane has of token lane / 4, in each 16 columns, those at
 * lane % 4 × 2, + 1, + 8 and + 9 (PTX ISA, "Matrix fragments for mma.m16n8k16"). */
__device__ __forceinline__ size_t fragment_index(int token, int col, int n_piece) {
  int step = col % 64 / 16, within = col % 16, lane = token % 8 * 4 + within % 8 / 2;
  size_t run = ((size_t)(token / 8) * n_piece + col / 64) * 2 + step / 2;
  return (run * 32 + lane) * 8 + step % 2 * 4 + within / 8 * 2 + col % 2;
}

/* A warp: the scales of 8 tokens, of sums of squares that the linear before has left; four lanes a token. */
__device__ __forceinline__ void scales_add(const struct cuda_linear &a, float *scale, int first) {
  int token = first + threadIdx.x % 32 / 4;
  float sum = 0;
  if (a.squares && token < a.n_row)
#pragma unroll 16
    for (int i = threadIdx.x % 4; i < a.n_square; i += 4) sum += a.squares[token * a.n_square + i];
  sum += __shfl_xor_sync(~0u, sum, 2);
  sum += __shfl_xor_sync(~0u, sum, 1);
  scale[token] = a.squares ? rsqrtf(sum / a.matrix.cols + a.eps) : 1;
}

template <int TILES> struct fragments { uint4 low[TILES], high[TILES]; };

template <int TILES>
__device__ __forceinline__ void fragments_load(fragments<TILES> &b, const few &a, int piece, int lane) {
#pragma unroll
  for (int t = 0; t < TILES; t++) {
    const uint4 *from = a.tokens + ((size_t)t * a.n_piece + piece) * 64;
    b.low[t] = from[lane];
    b.high[t] = from[32 + lane];
  }
}

/* --- weights ------------------------------------------------------------------------------------------------------ */

/* The ring of stages: what the copying thread and the warps share. */
template <int TILES> struct ring {
  static constexpr int stages = stages_of(TILES);
  uint8_t *bytes;         /* [stages][STRIPS][RUN] */
  float *sums;            /* [WARPS][token][TOKEN_STRIDE] */
  float *scale;           /* [token]: what products are multiplied by: of a norm that the input still lacks */
  uint64_t *full, *empty; /* [stages] */
  uint64_t *scaled;       /* once */
};

template <int TILES> __device__ ring<TILES> ring_lay(uint8_t *shared) {
  ring<TILES> r;
  r.bytes = shared;
  r.sums = (float *)(shared + r.stages * STRIPS * RUN);
  r.scale = r.sums + WARPS * sums_of(TILES);
  r.full = (uint64_t *)(r.scale + TILES * 8);
  r.empty = r.full + r.stages;
  r.scaled = r.empty + r.stages;
  return r;
}

template <int TILES> __device__ void weights_stream(const few &a, const ring<TILES> &r) {
  uint64_t policy = policy_evict_first();
  int at = 0;
  for (int strip = blockIdx.x * STRIPS; strip < a.n_strip; strip += gridDim.x * STRIPS) {
    int n = min(STRIPS, a.n_strip - strip);
    const uint8_t *from = a.linear.matrix.data + (size_t)strip * a.n_piece * PIECE;
    for (int piece = 0; piece < a.n_piece; piece += WARPS, at++) {
      int slot = at % r.stages;
      if (at >= r.stages) barrier_wait(&r.empty[slot], (at / r.stages - 1) & 1);
      uint32_t bytes = min(WARPS, a.n_piece - piece) * PIECE;
      barrier_expect(&r.full[slot], bytes * n);
      for (int i = 0; i < n; i++)
        bulk_copy(r.bytes + (slot * STRIPS + i) * RUN, from + ((size_t)i * a.n_piece + piece) * PIECE, bytes,
                  &r.full[slot], policy);
    }
  }
}

/* --- products ----------------------------------------------------------------------------------------------------- */

template <int TILES>
__device__ __forceinline__ void piece_multiply(float sum[TILES][4], const uint8_t *piece, const fragments<TILES> &b,
                                               int lane) {
  int row = lane % 16, half = lane / 16;
  uint32_t base = shared_address(piece) + row / 8 * 1024 + row % 8 * 128;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    uint32_t w[4];
    matrices_load(w, base + (((2 * k + half) ^ (row % 8)) << 4)); /* the swizzle of cuda_layout.h */
#pragma unroll
    for (int t = 0; t < TILES; t++) {
      const uint32_t *x = k < 2 ? &b.low[t].x : &b.high[t].x;
      multiply_bf16(sum[t], w, x[k % 2 * 2], x[k % 2 * 2 + 1]);
    }
  }
}

__device__ __forceinline__ void warps_meet() { asm volatile("bar.sync 1, %0;" ::"n"(WARPS * 32) : "memory"); }

template <int TILES> __device__ __forceinline__ float total_of(const ring<TILES> &r, int token, int row) {
  float total = 0;
#pragma unroll
  for (int w = 0; w < WARPS; w++) total += r.sums[w * sums_of(TILES) + token * TOKEN_STRIDE + row];
  return total;
}

/* A result as the next linear takes it. A warp has 32 columns of a token where squares are wanted. */
__device__ __forceinline__ void next_prepare(const struct cuda_linear &a, float x, int token, int col) {
  float y = a.next_norm ? x * a.next_norm[col] : x, square = x * x;
  ((__nv_bfloat16 *)a.next_fragments)[fragment_index(token, col, a.result_cols / 64)] = __float2bfloat16_rn(y);
  if (!a.next_squares) return;
#pragma unroll
  for (int step = 16; step > 0; step /= 2) square += __shfl_xor_sync(~0u, square, step);
  if (threadIdx.x % 32 == 0) a.next_squares[token * (a.result_cols / 32) + col / 32] = square;
}

/* From the warps' sums of a pair of strips, always added in the order of the warps, to results. */
template <int TILES>
__device__ void sums_finish(const few &f, const ring<TILES> &r, int strip, const float sum[STRIPS][TILES][4]) {
  const struct cuda_linear &a = f.linear;
  int lane = threadIdx.x % 32, width = a.gated ? GATE_RUN : STRIPS * 16;
  float *mine = r.sums + threadIdx.x / 32 * sums_of(TILES) + lane % 4 * 2 * TOKEN_STRIDE + lane / 4;
#pragma unroll
  for (int i = 0; i < STRIPS * TILES * 4; i++)
    mine[(i / 4 % TILES * 8 + i % 2) * TOKEN_STRIDE + i / (TILES * 4) * 16 + i / 2 % 2 * 8] =
        sum[i / (TILES * 4)][i / 4 % TILES][i % 4];
  barrier_wait(r.scaled, 0);
  warps_meet();
  for (int i = threadIdx.x; i < a.n_row * width; i += WARPS * 32) {
    int token = i / width, row = i % width, at = strip * 16 + row, col = result_col(a, at);
    if (col >= a.result_cols) continue;
    float scale = r.scale[token], gate = total_of<TILES>(r, token, row) * scale + (a.bias ? a.bias[at] : 0), up = 0;
    if (a.gated) up = total_of<TILES>(r, token, row + GATE_RUN) * scale + (a.bias ? a.bias[at + GATE_RUN] : 0);
    float x = result_of(a, gate, up);
    if (a.residual) x = residual_add(a, x, a.residual[(size_t)token * a.residual_cols + col]);
    a.out[(size_t)token * a.out_cols + col] = x;
    if (a.next_fragments) next_prepare(a, x, token, col);
  }
  warps_meet();
}

template <int TILES> __device__ void weights_multiply(const few &a, const ring<TILES> &r) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, at = 0;
  for (int strip = blockIdx.x * STRIPS; strip < a.n_strip; strip += gridDim.x * STRIPS) {
    float sum[STRIPS][TILES][4] = {};
    for (int piece = warp; piece - warp < a.n_piece; piece += WARPS, at++) {
      int slot = at % r.stages;
      fragments<TILES> b;
      bool has = piece < a.n_piece;
      if (has) fragments_load<TILES>(b, a, piece, lane);
      barrier_wait(&r.full[slot], at / r.stages & 1);
#pragma unroll
      for (int i = 0; i < STRIPS; i++)
        if (has) piece_multiply<TILES>(sum[i], r.bytes + (slot * STRIPS + i) * RUN + warp * PIECE, b, lane);
      warp_arrive(&r.empty[slot]);
    }
    sums_finish<TILES>(a, r, strip, sum);
  }
}

template <int TILES> __global__ void __launch_bounds__(threads_of(TILES), 1) linear_few(const __grid_constant__ few a) {
  extern __shared__ __align__(1024) uint8_t shared[];
  ring<TILES> r = ring_lay<TILES>(shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < r.stages; i++) barrier_init(&r.full[i], 1), barrier_init(&r.empty[i], WARPS);
    barrier_init(r.scaled, TILES * 32);
    barriers_publish();
  }
  __syncthreads();
  dependents_launch();
  int warp = threadIdx.x / 32;
  if (warp == COPIER && threadIdx.x % 32 == 0) weights_stream<TILES>(a, r);
  if (warp == COPIER) return;
  dependencies_wait();
  if (warp >= SCALERS) {
    scales_add(a.linear, r.scale, (warp - SCALERS) * 8);
    barrier_arrive(r.scaled);
    return;
  }
  weights_multiply<TILES>(a, r);
}

template <int TILES> void few_launch(const few &a, int multiprocessors, cuda_stream stream) {
  int pairs = (a.n_strip + STRIPS - 1) / STRIPS, blocks = pairs < multiprocessors ? pairs : multiprocessors;
  early_launch(linear_few<TILES>, {blocks, threads_of(TILES), shared_bytes(TILES), 1}, stream, a);
}

} // namespace

void cuda_linear_few(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream) {
  few a = {.linear = linear->has_post_norm ? products_alone(linear) : *linear,
           .tokens = (const uint4 *)linear->fragments,
           .n_strip = (linear->matrix.rows + 15) / 16,
           .n_piece = (linear->matrix.cols + 63) / 64};
  if (!linear->ready) cuda_linear_prepare(linear, false, stream);
  if (linear->n_row <= 8)
    few_launch<1>(a, multiprocessors, stream);
  else if (linear->n_row <= 16)
    few_launch<2>(a, multiprocessors, stream);
  else
    few_launch<4>(a, multiprocessors, stream);
  if (linear->has_post_norm) cuda_linear_tail(linear, stream);
}
