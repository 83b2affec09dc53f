/* The linear of few tokens over bf16 weights, which stream once from device memory at its full rate: up to 64 tokens at
 * a time, weights as the matrix units' A operand and tokens as B ("swap AB").
 *
 * A block per multiprocessor takes pairs of strips (32 weight rows) in turn. One thread keeps bulk copies in flight
 * into a ring of stages; a stage has 8 pieces of each strip, and each of 8 warps multiplies the pieces of 64 columns
 * that are its own with the tokens' fragments, which it reads in the order in which registers want them. At the end of
 * a pair the warps' sums are added in the order of the warps. So a result's sums depend on its row and token alone, not
 * on how many tokens there are. Weights are asked for before the kernel before this one has ended (programmatic
 * dependent launch). Measured in bench/lab/linear_small.cu, version 4. */
#include "backend/cuda/instructions.cuh"
#include "backend/cuda/row_sum.cuh"

#include <cuda_bf16.h>

namespace {

enum {
  WARPS = 8,
  STRIPS = 2,
  PIECE = 2048,        /* bytes of 16 rows × 64 columns */
  RUN = WARPS * PIECE, /* of a strip in a stage */
  THREADS = WARPS * 32 + 32,
  TOKENS_MOST = 64,
  FRAGMENT_THREADS = 256,
};

/* Stages that fit beside the sums of so many tiles of 8 tokens. */
__host__ __device__ constexpr int stages_of(int tiles) { return tiles <= 2 ? 6 : 5; }

__host__ __device__ constexpr int shared_bytes(int tiles) {
  return stages_of(tiles) * STRIPS * RUN + WARPS * STRIPS * tiles * 512 + 2 * stages_of(tiles) * 8;
}
static_assert(shared_bytes(8) <= 227 * 1024 && shared_bytes(2) <= 227 * 1024, "a block's shared memory");

struct few {
  const uint8_t *weights; /* [strip][piece] */
  const uint4 *tokens;    /* [tile of 8][piece][2][lane]: B fragments of two 16-column steps each */
  const float *bias;
  float *product; /* [token][rows] */
  int n_strip, n_piece, n_token, rows;
};

/* --- tokens ------------------------------------------------------------------------------------------------------- */

/* Where column `col` of a token is among the fragments. A lane has of token lane / 4, in each 16 columns, those at
 * lane % 4 × 2, + 1, + 8 and + 9 (PTX ISA, "Matrix fragments for mma.m16n8k16"). */
__device__ size_t fragment_index(int token, int col, int n_piece) {
  int step = col % 64 / 16, within = col % 16, lane = token % 8 * 4 + within % 8 / 2;
  size_t run = ((size_t)(token / 8) * n_piece + col / 64) * 2 + step / 2;
  return (run * 32 + lane) * 8 + step % 2 * 4 + within / 8 * 2 + col % 2;
}

/* A block for each token of whole tiles: normed, rounded to bf16; zeros where there is no token or column. */
__global__ void fragments_make(struct cuda_linear a, __nv_bfloat16 *fragments, int n_piece) {
  int token = blockIdx.x, cols = a.matrix.cols;
  const float *in = a.in + (size_t)token * a.in_cols;
  bool there = token < a.n_row;
  float scale = 1;
  if (a.has_norm) {
    float squares = 0;
    for (int c = threadIdx.x; there && c < cols; c += blockDim.x) squares += in[c] * in[c];
    scale = rsqrtf(block_sum(squares) / cols + a.eps);
  }
  for (int c = threadIdx.x; c < n_piece * 64; c += blockDim.x) {
    float x = there && c < cols ? in[c] : 0;
    if (a.has_norm && there && c < cols) x = x * scale * a.norm[c];
    fragments[fragment_index(token, c, n_piece)] = __float2bfloat16_rn(x);
  }
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
  float *sums;            /* [WARPS][STRIPS][TILES][32][4] */
  uint64_t *full, *empty; /* [stages] */
};

template <int TILES> __device__ ring<TILES> ring_lay(uint8_t *shared) {
  ring<TILES> r;
  r.bytes = shared;
  r.sums = (float *)(shared + r.stages * STRIPS * RUN);
  r.full = (uint64_t *)(r.sums + WARPS * STRIPS * TILES * 128);
  r.empty = r.full + r.stages;
  return r;
}

template <int TILES> __device__ void weights_stream(const few &a, const ring<TILES> &r) {
  uint64_t policy = policy_evict_first();
  int at = 0;
  for (int strip = blockIdx.x * STRIPS; strip < a.n_strip; strip += gridDim.x * STRIPS) {
    int n = min(STRIPS, a.n_strip - strip);
    const uint8_t *from = a.weights + (size_t)strip * a.n_piece * PIECE;
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

/* The warps' sums of a pair of strips, always added in the order of the warps. */
template <int TILES>
__device__ void sums_add(const few &a, const ring<TILES> &r, int strip, const float sum[STRIPS][TILES][4]) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < STRIPS * TILES; i++)
    *(float4 *)(r.sums + ((warp * STRIPS * TILES + i) * 32 + lane) * 4) = *(const float4 *)sum[i / TILES][i % TILES];
  warps_meet();
  for (int i = threadIdx.x; i < STRIPS * TILES * 128; i += WARPS * 32) {
    float total = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) total += r.sums[w * STRIPS * TILES * 128 + i];
    int l = i / 4 % 32, token = i / 128 % TILES * 8 + l % 4 * 2 + i % 2;
    int row = (strip + i / (TILES * 128)) * 16 + l / 4 + i / 2 % 2 * 8;
    if (token < a.n_token && row < a.rows) a.product[(size_t)token * a.rows + row] = total + (a.bias ? a.bias[row] : 0);
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
      __syncwarp();
      if (lane == 0) barrier_arrive(&r.empty[slot]);
    }
    sums_add<TILES>(a, r, strip, sum);
  }
}

template <int TILES> __global__ void __launch_bounds__(THREADS, 1) linear_few(few a) {
  extern __shared__ __align__(1024) uint8_t shared[];
  ring<TILES> r = ring_lay<TILES>(shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < r.stages; i++) barrier_init(&r.full[i], 1), barrier_init(&r.empty[i], WARPS);
    barriers_publish();
  }
  __syncthreads();
  dependents_launch();
  if (threadIdx.x == WARPS * 32) weights_stream<TILES>(a, r);
  if (threadIdx.x >= WARPS * 32) return;
  dependencies_wait();
  weights_multiply<TILES>(a, r);
}

template <int TILES> void few_launch(const few &a, int blocks, cuda_stream stream) {
  cudaFuncSetAttribute(linear_few<TILES>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes(TILES));
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks;
  config.blockDim = THREADS;
  config.dynamicSmemBytes = shared_bytes(TILES);
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, linear_few<TILES>, a);
}

/* Tiles of 8 tokens that a launch of n ≤ 64 tokens multiplies. */
int tiles_of(int n) { return n <= 8 ? 1 : n <= 16 ? 2 : n <= 32 ? 4 : 8; }

void few_run(const few &a, int blocks, cuda_stream stream) {
  switch (tiles_of(a.n_token)) {
  case 1: few_launch<1>(a, blocks, stream); break;
  case 2: few_launch<2>(a, blocks, stream); break;
  case 4: few_launch<4>(a, blocks, stream); break;
  default: few_launch<8>(a, blocks, stream); break;
  }
}

} // namespace

void cuda_linear_few(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream) {
  int n_piece = (linear->matrix.cols + 63) / 64, n_strip = (linear->matrix.rows + 15) / 16, rows = linear->matrix.rows;
  int pairs = (n_strip + STRIPS - 1) / STRIPS, blocks = pairs < multiprocessors ? pairs : multiprocessors;
  int whole = linear->n_row / TOKENS_MOST * TOKENS_MOST, rest = linear->n_row - whole;
  int padded = whole + (rest > 0 ? tiles_of(rest) * 8 : 0);
  const uint4 *tokens = (const uint4 *)linear->fragments;
  fragments_make<<<padded, FRAGMENT_THREADS, 0, stream>>>(*linear, (__nv_bfloat16 *)linear->fragments, n_piece);
  for (int first = 0; first < linear->n_row; first += TOKENS_MOST) {
    int n = first < whole ? TOKENS_MOST : rest;
    few a = {.weights = linear->matrix.data,
             .tokens = tokens + (size_t)(first / 8) * n_piece * 64,
             .bias = linear->bias,
             .product = linear->product + (size_t)first * rows,
             .n_strip = n_strip,
             .n_piece = n_piece,
             .n_token = n,
             .rows = rows};
    few_run(a, blocks, stream);
  }
  cuda_linear_tail(linear, stream);
}
