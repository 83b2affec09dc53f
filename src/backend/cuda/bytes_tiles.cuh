/* The kernel of bytes_many.cu: a GEMM of eight-bit weights and eight-bit tokens on Hopper's warpgroup matrix units,
 * E4M3 or int8, one scale a row of weights and one a token.
 *
 * A piece of 16 rows × 128 bytes is to the copy engine what a piece of 64 bf16 columns is, so tiles, ring, pairs and
 * what becomes of sums are those of linear_tiles.cuh. What differs is how sums are made: E4M3's of 256 columns of WIDTH
 * rows in registers of their own, then added to the tile's in full floats, while the other warpgroup's products run;
 * int8's are exact, and become floats at the end. Then they are scaled. So a token's sums have one order, whatever the
 * tiles.
 *
 * Bounds: the matrix units, and the power that they may draw. Measured in bench/lab/linear_fp8.cu. */
#ifndef SPATE_BACKEND_CUDA_BYTES_TILES_CUH
#define SPATE_BACKEND_CUDA_BYTES_TILES_CUH

#include "backend/cuda/bytes_group.cuh"
#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_tiles.cuh"
#include "backend/cuda/warpgroup.cuh"

namespace {

enum { BYTES_COLS = 128 /* of a piece */ };

template <typename SUM, int GROUPS, int COLS, int PAIR> struct byte_worker : worker<GROUPS, COLS, PAIR, 1> {
  static constexpr int WIDTH = COLS < 128 ? COLS : 128; /* of E4M3's rows that are summed at once */
  using W = worker<GROUPS, COLS, PAIR, 1>;
  using S = typename W::S;
  using W::m, W::r, W::first, W::step, W::n_tile, W::k_first, W::k_end;
  /* [group][COLS] of the tile's rows, [group][64] of its tokens: where the shape has room for scales of norms, which
   * bytes have had. */
  float *scales, *token_scales;
  static constexpr int shared_bytes = S::shared_bytes - S::scale_bytes + GROUPS * COLS * 4;
  static_assert(S::resident * (shared_bytes + 1024) <= 228 * 1024, "a multiprocessor's shared memory");

  __device__ byte_worker(const many &m, uint8_t *shared) : W(m, shared) {
    this->head = BYTES_HEAD;
    scales = (float *)(shared + S::shared_bytes - S::scale_bytes);
    token_scales = (float *)(shared + 512);
  }

  /* Products of a stage's 128 columns, of WIDTH rows from `at` on. */
  __device__ __forceinline__ void part_multiply(float (&part)[WIDTH / 2], uint32_t stage, int group, int at,
                                                bool more) const {
    uint64_t x = rows_operand(stage + group * TOKENS_BYTES);
    uint64_t w = rows_operand(stage + GROUPS * TOKENS_BYTES + at * 128);
    products_begin();
#pragma unroll
    for (int i = 0; i < 4; i++) bytes_multiply<WIDTH>(part, x + 2 * i, w + 2 * i, more || i > 0);
    products_group();
  }

  __device__ __forceinline__ void part_add(float (&sum)[COLS / 2], float (&part)[WIDTH / 2], int at) const {
    products_wait<0>();
    registers_settle(part);
#pragma unroll
    for (int i = 0; i < WIDTH / 2; i++) sum[at / 2 + i] += part[i];
  }

  __device__ __forceinline__ uint32_t stage_await(const turn *at) const {
    barrier_wait(&r.weights[at->slot], at->phase);
    barrier_wait(&r.tokens[at->slot], at->phase);
    return shared_address(r.stage) + at->slot * S::stage_bytes;
  }

  /* A warpgroup: its 64 tokens' sums of a tile, two stages at a time. */
  __device__ __forceinline__ void tile_multiply(float (&sum)[COLS / 2], int group, turn *at) const {
#pragma unroll
    for (int i = 0; i < COLS / 2; i++) sum[i] = 0;
    for (int k = k_first; k < k_end; k += 2) {
      bool both = k + 1 < k_end;
      turn now = *at, next = turn_next<S>(now);
      uint32_t stage = stage_await(&now), second = 0;
#pragma unroll
      for (int row = 0; row < COLS; row += WIDTH) {
        float part[WIDTH / 2];
        part_multiply(part, stage, group, row, false);
        if (both) {
          if (row == 0) second = stage_await(&next);
          part_multiply(part, second, group, row, true);
        }
        part_add(sum, part, row);
      }
      this->slot_release(now.slot);
      if (both) this->slot_release(next.slot);
      *at = both ? turn_next<S>(next) : next;
    }
  }

  __device__ __forceinline__ void tile_multiply(int (&sum)[COLS / 2], int group, turn *at) const {
    int before = 0;
#pragma unroll
    for (int i = 0; i < COLS / 2; i++) sum[i] = 0;
    for (int k = k_first; k < k_end; k++, *at = turn_next<S>(*at)) {
      uint32_t stage = stage_await(at);
      uint64_t x = rows_operand(stage + group * TOKENS_BYTES), w = rows_operand(stage + GROUPS * TOKENS_BYTES);
      products_begin();
#pragma unroll
      for (int i = 0; i < 4; i++) bytes_multiply<COLS>(sum, x + 2 * i, w + 2 * i, 1);
      products_group();
      products_wait<1>();
      if (k > k_first) this->slot_release(before);
      before = at->slot;
    }
    products_wait<0>();
    this->slot_release(before);
  }

  /* A warpgroup asks for its tile's scales, of COLS rows and then of 64 tokens, before it multiplies. */
  __device__ __forceinline__ void scales_load(int group, int strip, int token) const {
    float *to = scales + group * COLS;
    for (int i = threadIdx.x % 128; i < COLS; i += 128)
      word_copy(to + i, (const float *)(m.linear.matrix.data + (strip + i / 16) * this->strip_bytes()) + i % 16,
                strip + i / 16 < m.n_strip);
    int i = threadIdx.x % 128;
    if (i < 64) word_copy(token_scales + group * 64 + i, m.linear.scales + token + i, token + i < m.linear.n_row);
  }

  /* Eight columns at a time, so that few scales are in registers. */
  __device__ __forceinline__ void sums_scale(const SUM (&raw)[COLS / 2], float (&sum)[COLS / 2], int group) const {
    int lane = threadIdx.x % 32;
    const float *of_rows = scales + group * COLS + lane % 4 * 2;
    const float *of_tokens = token_scales + group * 64 + threadIdx.x / 32 % 4 * 16 + lane / 4;
    float low = of_tokens[0], high = of_tokens[8];
#pragma unroll
    for (int j = 0; j < COLS / 8; j++) {
      float2 row = *(const float2 *)(of_rows + j * 8);
      sum[4 * j] = raw[4 * j] * (row.x * low), sum[4 * j + 1] = raw[4 * j + 1] * (row.y * low);
      sum[4 * j + 2] = raw[4 * j + 2] * (row.x * high), sum[4 * j + 3] = raw[4 * j + 3] * (row.y * high);
      if (j % 4 == 3) asm volatile("" ::: "memory");
    }
  }

  __device__ void tiles_multiply() const {
    int group = threadIdx.x / 128 - 1;
    turn at = {0, 0};
    dependencies_wait();
    for (int tile = first; tile < n_tile; tile += step) {
      place p = this->place_at(tile);
      int token = p.tall * S::tokens + group * 64;
      scales_load(group, p.strip, token);
      SUM raw[COLS / 2];
      tile_multiply(raw, group, &at);
      words_wait();
      group_meet(group + 1);
      float sum[COLS / 2];
      sums_scale(raw, sum, group);
      token += threadIdx.x / 32 % 4 * 16;
      ending<S::run> ends = this->ending_of(p.strip + S::strips);
      typename ending<S::run>::template extras<COLS> extras;
      if (m.finish == FINISH_ROWS) ends.template extras_begin<COLS>(extras, token, p.strip * 16);
      if (S::even && m.finish == FINISH_GATED)
        ends.template gated_finish<COLS>(sum, token, p.strip * 16);
      else if (m.finish == FINISH_ROWS && m.linear.residual)
        ends.template rows_finish<COLS, true, false>(sum, extras, token, p.strip * 16);
      else if (m.finish == FINISH_ROWS)
        ends.template rows_finish<COLS, false, false>(sum, extras, token, p.strip * 16);
      else
        ends.template any_finish<COLS>(sum, token, p.strip * 16);
      group_meet(group + 1);
    }
  }

  /* Four bytes on their way to shared memory, or zeros. */
  __device__ __forceinline__ void word_copy(float *to, const float *from, bool there) const {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(there ? 4 : 0)
                 : "memory");
  }
  __device__ __forceinline__ void words_wait() const { asm volatile("cp.async.wait_all;" ::: "memory"); }

  /* The warpgroup's own barrier. */
  __device__ __forceinline__ void group_meet(int barrier) const {
    asm volatile("bar.sync %0, 128;" ::"r"(barrier) : "memory");
  }
};

template <typename SUM, int GROUPS, int COLS, int PAIR>
__global__ void __launch_bounds__((GROUPS + 1) * 128, shape<GROUPS, COLS, PAIR, 1>::resident)
    bytes_many(const __grid_constant__ many m) {
  extern __shared__ __align__(1024) uint8_t shared[];
  byte_worker<SUM, GROUPS, COLS, PAIR> w(m, shared);
  using S = typename decltype(w)::S;
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::stages; i++)
      barrier_init(&w.r.weights[i], 1), barrier_init(&w.r.tokens[i], 1), barrier_init(&w.r.empty[i], GROUPS * PAIR);
    barriers_publish();
  }
  if (PAIR > 1)
    cluster_meet();
  else
    __syncthreads();
  dependents_launch();
  if (threadIdx.x < 128) {
    if (GROUPS > 1) registers_release<40>();
    if (threadIdx.x == 0) w.weights_stream();
    if (threadIdx.x == 32) w.tokens_stream();
    __syncwarp();
  } else {
    if (GROUPS > 1) registers_claim<232>();
    w.tiles_multiply();
  }
  if (PAIR > 1) cluster_meet(); /* nobody leaves whom others still write to */
}

template <typename SUM, int GROUPS, int COLS, int PAIR> launch_shape bytes_shape(int clusters) {
  using S = shape<GROUPS, COLS, PAIR, 1>;
  return {clusters * PAIR, S::threads, byte_worker<SUM, GROUPS, COLS, PAIR>::shared_bytes, PAIR};
}

template <typename SUM, int GROUPS, int COLS, int PAIR> int bytes_resident() {
  static int count;
  if (count == 0)
    count = clusters_resident(bytes_many<SUM, GROUPS, COLS, PAIR>, bytes_shape<SUM, GROUPS, COLS, PAIR>(1));
  return count;
}

template <typename SUM, int GROUPS, int COLS, int PAIR> void bytes_launch(many m, cuda_stream stream) {
  using S = shape<GROUPS, COLS, PAIR, 1>;
  m.n_tall = (m.linear.n_row + S::tokens - 1) / S::tokens;
  m.n_wide = (m.n_strip + S::strips - 1) / S::strips;
  int clusters = (m.n_tall + PAIR - 1) / PAIR * m.n_wide, most = bytes_resident<SUM, GROUPS, COLS, PAIR>();
  if (clusters > most) clusters = most;
  early_launch(bytes_many<SUM, GROUPS, COLS, PAIR>, bytes_shape<SUM, GROUPS, COLS, PAIR>(clusters), stream, m);
}

} // namespace

#endif
