/* The kernel of bytes_many.cu: a GEMM of eight-bit weights and eight-bit tokens on Hopper's warpgroup matrix units,
 * E4M3 or int8, one scale a row of weights and one a token.
 *
 * A piece of 16 rows × 128 bytes is to the copy engine what a piece of 64 bf16 columns is, so tiles, ring, pairs and
 * what becomes of sums are those of linear_tiles.cuh. What differs is how sums are made: E4M3's of 256 columns of WIDTH
 * rows in registers of their own, then added to the tile's in full floats, while the other warpgroup's products run;
 * int8's are exact, and become floats at the end. Then they are scaled. So a token's sums have one order, whatever the
 * tiles; but E4M3's where blocks share the columns.
 *
 * Bounds: the matrix units, and the power that they may draw. Measured in bench/lab/linear_fp8.cu. */
#ifndef SPATE_BACKEND_CUDA_BYTES_TILES_CUH
#define SPATE_BACKEND_CUDA_BYTES_TILES_CUH

#include "backend/cuda/bytes_group.cuh"
#include "backend/cuda/linear_tiles.cuh"
#include "backend/cuda/warpgroup.cuh"

namespace {

enum { BYTES_COLS = 128 /* of a piece */ };

template <typename SUM, int GROUPS, int COLS, int PAIR, int SPLIT>
struct byte_worker : worker<GROUPS, COLS, PAIR, SPLIT> {
  /* Of E4M3's rows that are summed at once. */
  static constexpr int WIDTH = COLS <= 144 ? COLS : COLS / 2;
  static constexpr int copier_registers = 40, multiplier_registers = 232;
  using W = worker<GROUPS, COLS, PAIR, SPLIT>;
  using S = typename W::S;
  using W::m, W::r, W::first, W::step, W::n_tile, W::k_first, W::k_end;
  static constexpr int room = GROUP_WARPS * 16 * sums_stride(S::run); /* of a warpgroup's results */
  float *scales;       /* [COLS] of the tile's rows, for each group: where results will be */
  float *token_scales; /* [group][64] of its tokens */
  static_assert(COLS <= room && GROUPS * 64 * 4 <= 512, "room for scales");

  __device__ byte_worker(const many &m, uint8_t *shared) : W(m, shared) {
    this->head = BYTES_HEAD;
    scales = r.sums;
    token_scales = (float *)(shared + 512);
  }

  __device__ void scales_make() const {} /* tokens have had their norm */

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
    float *to = scales + group * room;
    for (int i = threadIdx.x % 128; i < COLS; i += 128)
      word_copy(to + i, (const float *)(m.linear.matrix.data + (strip + i / 16) * this->strip_bytes()) + i % 16,
                strip + i / 16 < m.n_strip);
    int i = threadIdx.x % 128;
    if (i < 64) word_copy(token_scales + group * 64 + i, m.linear.scales + token + i, token + i < m.linear.n_row);
  }

  /* Of N rows from `at` on; eight at a time, so that few scales are in registers. */
  template <int N>
  __device__ __forceinline__ void sums_scale(const SUM (&raw)[N / 2], float (&sum)[N / 2], int group, int at) const {
    int lane = threadIdx.x % 32;
    const float *of_rows = scales + group * room + at + lane % 4 * 2;
    const float *of_tokens = token_scales + group * 64 + threadIdx.x / 32 % 4 * 16 + lane / 4;
    float low = of_tokens[0], high = of_tokens[8];
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
      float2 row = *(const float2 *)(of_rows + j * 8);
      sum[4 * j] = raw[4 * j] * (row.x * low), sum[4 * j + 1] = raw[4 * j + 1] * (row.y * low);
      sum[4 * j + 2] = raw[4 * j + 2] * (row.x * high), sum[4 * j + 3] = raw[4 * j + 3] * (row.y * high);
      if (j % 4 == 3) asm volatile("" ::: "memory");
    }
  }

  /* The block's share of a tile, whose scales are there, from sums to results. */
  template <int N>
  __device__ __forceinline__ void tile_finish(const SUM (&raw)[N / 2], int group, const place &p) const {
    int at = this->share_of(this->part), row = (p.strip + at) * 16;
    int token = p.tall * S::tokens + group * 64 + threadIdx.x / 32 % 4 * 16;
    float sum[N / 2];
    sums_scale<N>(raw, sum, group, at * 16);
    group_meet(group + 1); /* nobody reads scales any more */
    ending<S::run> ends = this->ending_of(p.strip + this->share_of(this->part + 1));
    typename ending<S::run>::template extras<N> extras;
    if (m.finish == FINISH_ROWS) ends.template extras_begin<N>(extras, token, row);
    ends.template tile_finish<N, false>(m.finish, sum, extras, token, row);
  }

  __device__ void tiles_multiply() const {
    int group = threadIdx.x / 128 - 1;
    turn at = {0, 0};
    dependencies_wait();
    for (int tile = first; tile < n_tile; tile += step) {
      place p = this->place_at(tile);
      scales_load(group, p.strip, p.tall * S::tokens + group * 64);
      SUM raw[COLS / 2];
      tile_multiply(raw, group, &at);
      words_wait();
      group_meet(group + 1);
      if constexpr (SPLIT > 1) {
        SUM share[S::share * 8];
        this->parts_add(share, raw);
        tile_finish<S::share * 16>(share, group, p);
      } else {
        tile_finish<COLS>(raw, group, p);
      }
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

} // namespace

#endif
