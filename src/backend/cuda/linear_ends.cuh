/* The endings of linear_tiles.cuh: from a warpgroup's sums of 64 tokens × N rows of the matrix to results.
 *
 * A tile ends while its block's matrix units idle, so that must be short: what networks are made of is unrolled over
 * the registers (FINISH_ROWS, by way of shared memory, so that whole lines are stored, and so that the next linear
 * finds its input as its tiles want it, without the scale of its norm; FINISH_GATED, whose results go to the next
 * linear and nowhere else; FINISH_GREATEST of the head); all else is a loop over 32 rows of the matrix (FINISH_ANY). */
#ifndef SPATE_BACKEND_CUDA_LINEAR_ENDS_CUH
#define SPATE_BACKEND_CUDA_LINEAR_ENDS_CUH

#include "backend/cuda/linear_greatest.cuh"
#include "backend/cuda/linear_result.cuh"

namespace {

enum {
  PIECE = 2048,            /* bytes of 16 weight rows × 64 columns */
  TOKENS_BYTES = 64 * 128, /* of 64 tokens × 64 columns */
};

/* Floats from token to token of sums in shared memory, so that lanes store to banks of their own; RUN 64 permutes. */
__host__ __device__ constexpr int sums_stride(int run) { return run == 64 ? 64 : run + 8; }

/* What becomes of a tile's sums. ANY is right for all linears; the others are what whole networks are made of, unrolled
 * so that sums stay in the registers in which they are. */
enum finish {
  FINISH_ANY,
  FINISH_ROWS /* times a factor, plus a residual */,
  FINISH_GATED /* bf16 for the next linear */,
  FINISH_GREATEST /* each token's greatest, times a factor */
};

/* RUN: rows of the matrix that FINISH_ROWS takes at once; below 32, no gate has its up beside it. */
template <int RUN> struct ending {
  static constexpr int WIDTH = RUN < 32 ? 16 : 32, STRIDE = sums_stride(RUN < 32 ? RUN : 32);
  const struct cuda_linear &a;
  float *sums; /* the warp's room */
  int end;     /* of the rows of the matrix */
  bool fours;  /* results can be stored four at once */

  /* Four results of a token in a row, fewer at the end. */
  __device__ __forceinline__ void results_store(float4 x, int token, int col) const {
    float *out = a.out + (size_t)token * a.out_cols + col;
    if (fours) {
      *(float4 *)out = x;
      return;
    }
    if (col < a.result_cols) out[0] = x.x;
    if (col + 1 < a.result_cols) out[1] = x.y;
    if (col + 2 < a.result_cols) out[2] = x.z;
    if (col + 3 < a.result_cols) out[3] = x.w;
  }

  __device__ __forceinline__ float4 residuals_load(int token, int col) const {
    if (!a.residual || token >= a.n_row) return {};
    const float *from = a.residual + (size_t)token * a.residual_cols + col;
    return fours ? *(const float4 *)from : four_at(from, 0, a.result_cols - col);
  }

  /* A warp: results of 16 tokens × WIDTH rows of the matrix, whose sums are in shared memory. CURVED: there is an
   * activation or a softcap; even a branch around them costs where each thread has 128 results. */
  template <bool GATED, bool CURVED> __device__ __forceinline__ void piece_finish(int token, int row) const {
    constexpr int lanes = GATED ? 4 : WIDTH / 4, rows = 32 / lanes, n = 16 / rows;
    int lane = threadIdx.x % 32, within = lane % lanes * 4, col = result_col(a, row + within);
    if (col >= a.result_cols) return;
    token += lane / lanes;
    const float *mine = sums + lane / lanes * STRIDE + within;
    float4 bias = {}, up_bias = {}, up = {}, residual[n];
#pragma unroll
    for (int i = 0; i < n; i++) residual[i] = residuals_load(token + i * rows, col);
    if (a.bias) bias = four_at(a.bias + row, within, a.matrix.rows - row);
    if (a.bias && GATED) up_bias = four_at(a.bias + row, within + GATE_RUN, a.matrix.rows - row);
#pragma unroll
    for (int i = 0; i < n; i++) {
      float4 x = *(const float4 *)(mine + i * rows * STRIDE) + bias;
      if (GATED) up = *(const float4 *)(mine + i * rows * STRIDE + GATE_RUN) + up_bias;
      x = CURVED ? result_of(a, x, up) : make_float4(x.x * a.factor, x.y * a.factor, x.z * a.factor, x.w * a.factor);
      if (a.residual) x = residual_add(a, x, residual[i]);
      if (token + i * rows < a.n_row) results_store(x, token + i * rows, col);
    }
  }

  /* FINISH_ANY: WIDTH rows at a time by way of shared memory: so stores are of whole lines, and the code is a loop that
   * fits the instruction cache. */
  template <int N> __device__ __forceinline__ void any_finish(const float (&sum)[N / 2], int token, int row) const {
    int lane = threadIdx.x % 32;
    float *mine = sums + lane / 4 * STRIDE + lane % 4 * 2;
#pragma unroll 1
    for (int piece = 0; piece < N / WIDTH && row + piece * WIDTH < end; piece++) {
#pragma unroll
      for (int i = 0; i < N / 2; i += 2)
        if (i / (WIDTH / 2) == piece)
          *(float2 *)(mine + i / 2 % 2 * 8 * STRIDE + i % (WIDTH / 2) / 4 * 8) = make_float2(sum[i], sum[i + 1]);
      __syncwarp();
      if (WIDTH == 32 && a.gated)
        piece_finish<true, true>(token, row + piece * WIDTH);
      else if (a.act || a.softcap > 0)
        piece_finish<false, true>(token, row + piece * WIDTH);
      else
        piece_finish<false, false>(token, row + piece * WIDTH);
      __syncwarp();
    }
  }

  /* Four results of a token as the next linear takes them: in the tiles that cuda_linear_prepare would make, with the
   * weights of its norm; four lanes add up the squares of 16 results. */
  __device__ __forceinline__ void next_prepare(float4 x, float4 norm, int token, int col, bool there) const {
    float squares = (x.x * x.x + x.y * x.y) + (x.z * x.z + x.w * x.w);
#pragma unroll
    for (int step = 2; step > 0; step /= 2) squares += __shfl_xor_sync(~0u, squares, step);
    if (!there) return;
    uint8_t *tile =
        (uint8_t *)a.next_fragments + ((size_t)(token / 64) * (a.result_cols / 64) + col / 64) * TOKENS_BYTES;
    *(uint2 *)(tile + token % 64 * 128 + (col % 64 / 8 ^ token % 8) * 16 + col % 8 * 2) =
        make_uint2(pair_round(x.x * norm.x, x.y * norm.y), pair_round(x.z * norm.z, x.w * norm.w));
    if (a.next_squares && col % 16 == 0) a.next_squares[(size_t)token * (a.result_cols / 16) + col / 16] = squares;
  }

  /* What FINISH_ROWS takes beside sums, of some runs ahead; of few sums all of it is asked for before they are there.
   */
  template <int N> struct extras {
    static constexpr int ahead = N <= 64 ? N / RUN : 1;
    float4 residual[ahead][RUN / 8], norm[ahead];
  };

  /* A run's residuals of the i-th of the lane's tokens. */
  template <int N>
  __device__ __forceinline__ void residual_ask(extras<N> &e, int token, int row, int run, int i) const {
    constexpr int lanes = RUN / 4, step = 32 / lanes;
    token += threadIdx.x % 32 / lanes + i * step, row += run * RUN + threadIdx.x % lanes * 4;
    if (row < end && token < a.n_row)
      e.residual[run % extras<N>::ahead][i] = *(const float4 *)(a.residual + (size_t)token * a.residual_cols + row);
  }

  __device__ __forceinline__ float4 norm_at(int row) const {
    int col = row + threadIdx.x % (RUN / 4) * 4;
    return a.next_norm && col < end ? *(const float4 *)(a.next_norm + col) : make_float4(1, 1, 1, 1);
  }

  template <int N> __device__ __forceinline__ void extras_begin(extras<N> &e, int token, int row) const {
#pragma unroll
    for (int run = 0; run < extras<N>::ahead; run++) {
      e.norm[run] = norm_at(row + run * RUN);
#pragma unroll
      for (int i = 0; i < RUN / 8; i++) {
        e.residual[run][i] = make_float4(0, 0, 0, 0);
        if (a.residual) residual_ask<N>(e, token, row, run, i);
      }
    }
  }

  /* FINISH_ROWS, a warp: by way of shared memory, so that whole lines are stored; RUN rows of the matrix at once, in
   * runs of 8 that are permuted by the token, so that lanes meet banks of their own. The next residuals are asked for
   * before results are stored. */
  template <int N, bool RESIDUAL, bool NEXT>
  __device__ __forceinline__ void rows_finish(const float (&sum)[N / 2], extras<N> &e, int token, int row) const {
    constexpr int lanes = RUN / 4, step = 32 / lanes, n = 16 / step, ahead = extras<N>::ahead;
    int lane = threadIdx.x % 32, mine = lane / lanes, within = lane % lanes;
    float *out = a.out + (size_t)(token + mine) * a.out_cols + row + within * 4;
    int there = a.n_row - token - mine; /* tokens from the lane's first on */
#pragma unroll
    for (int run = 0; run < N / RUN; run++) {
      if (row + run * RUN >= end) break;
#pragma unroll
      for (int j = 0; j < RUN / 8; j++) {
        const float *x = &sum[(run * RUN / 8 + j) * 4];
        float *to = sums + lane / 4 * RUN + (j ^ lane / 4 % (RUN / 8)) * 8 + lane % 4 * 2;
        *(float2 *)to = make_float2(x[0], x[1]);
        *(float2 *)(to + 8 * RUN) = make_float2(x[2], x[3]);
      }
      __syncwarp();
      float4 norm = e.norm[run % ahead];
#pragma unroll
      for (int i = 0; i < n; i++) {
        int t = i * step + mine;
        float4 x = *(const float4 *)(sums + t * RUN + (within / 2 ^ t % (RUN / 8)) * 8 + within % 2 * 4);
        x.x *= a.factor, x.y *= a.factor, x.z *= a.factor, x.w *= a.factor;
        if (RESIDUAL) x = x + e.residual[run % ahead][i];
        if (RESIDUAL && run + ahead < N / RUN) residual_ask<N>(e, token, row, run + ahead, i);
        if (i * step < there) *(float4 *)(out + (size_t)i * step * a.out_cols + run * RUN) = x;
        if (NEXT) next_prepare(x, norm, token + t, row + run * RUN + within * 4, i * step < there);
      }
      if (NEXT && run + ahead < N / RUN) e.norm[run % ahead] = norm_at(row + (run + ahead) * RUN);
      __syncwarp();
    }
  }

  /* FINISH_GATED: runs of 16 rows of the gate and of up, which a thread has side by side, become 32 bytes of a token in
   * the tiles that cuda_linear_prepare would make. Of two neighbours one stores of the first chunk of 16 bytes, the
   * other of the second. */
  template <int N> __device__ __forceinline__ void gated_finish(const float (&sum)[N / 2], int token, int row) const {
    int lane = threadIdx.x % 32, odd = lane % 2, n_piece = a.result_cols / 64;
    token += lane / 4;
    uint8_t *tile = (uint8_t *)a.next_fragments + (size_t)(token / 64) * n_piece * TOKENS_BYTES + token % 64 * 128 +
                    lane % 4 / 2 * 8;
#pragma unroll
    for (int at = 0; at < N; at += 2 * GATE_RUN) {
      if (row + at >= end) break;
      int col = (row + at) / 2;
      uint8_t *to = tile + (size_t)(col / 64) * TOKENS_BYTES + ((col % 64 / 8 + odd) ^ token % 8) * 16;
#pragma unroll
      for (int half = 0; half < 2; half++) { /* tokens, and those 8 further */
        uint32_t chunk[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const float *gate = &sum[(at / 8 + i) * 4 + half * 2], *up = gate + GATE_RUN / 8 * 4;
          chunk[i] = pair_round(gated_of(a, gate[0], up[0]), gated_of(a, gate[1], up[1]));
        }
        uint32_t other = __shfl_xor_sync(~0u, odd ? chunk[0] : chunk[1], 1);
        uint2 both = odd ? make_uint2(other, chunk[1]) : make_uint2(chunk[0], other);
        if (token + half * 8 < a.n_row) *(uint2 *)(to + half * 1024) = both;
      }
    }
  }

  /* FINISH_GREATEST: of two tokens a thread has two of each eight rows of the matrix. */
  template <int N>
  __device__ __forceinline__ void greatest_finish(const float (&sum)[N / 2], int token, int row) const {
    int lane = threadIdx.x % 32, first = row + lane % 4 * 2;
    greatest_result greatest[2];
#pragma unroll
    for (int i = 0; i < N / 2; i++) {
      int col = first + i / 4 * 8 + i % 2;
      if (col < end) greatest[i / 2 % 2].add(sum[i] * a.factor, col);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      unsigned long long most = greatest[half].template place<4>();
      int mine = token + half * 8 + lane / 4;
      if (lane % 4 == 0 && mine < a.n_row) greatest_raise(a, mine, most);
    }
  }

  /* NEXT: FINISH_ROWS may leave results to the next linear too. */
  template <int N, bool NEXT>
  __device__ __forceinline__ void tile_finish(enum finish finish, const float (&sum)[N / 2], extras<N> &e, int token,
                                              int row) const {
    if (RUN >= 32 && finish == FINISH_GATED)
      gated_finish<N>(sum, token, row);
    else if (NEXT && finish == FINISH_ROWS && a.next_fragments)
      rows_finish<N, true, true>(sum, e, token, row);
    else if (finish == FINISH_ROWS && a.residual)
      rows_finish<N, true, false>(sum, e, token, row);
    else if (finish == FINISH_ROWS)
      rows_finish<N, false, false>(sum, e, token, row);
    else if (finish == FINISH_GREATEST)
      greatest_finish<N>(sum, token, row);
    else
      any_finish<N>(sum, token, row);
  }
};

} // namespace

#endif
