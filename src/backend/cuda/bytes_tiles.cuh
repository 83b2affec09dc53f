/* The kernel of bytes_many.cu: a GEMM of eight-bit weights and eight-bit tokens on Hopper's warpgroup matrix units,
 * E4M3 or int8, one scale a row of weights and one a token.
 *
 * A piece of 16 rows × 128 bytes is to the copy engine what a piece of 64 bf16 columns is, so tiles, ring, pairs and
 * what becomes of sums are those of linear_tiles.cuh. What differs is how sums are made: E4M3's of 128 columns of WIDTH
 * rows in registers of their own, then added to the tile's in full floats, while the other warpgroup's products run;
 * int8's are exact, and become floats at the end. Then they are scaled. So a token's sums have one order, whatever the
 * tiles.
 *
 * Bounds: the matrix units, and the power that they may draw. Measured in bench/lab/linear_fp8.cu. */
#ifndef SPATE_BACKEND_CUDA_BYTES_TILES_CUH
#define SPATE_BACKEND_CUDA_BYTES_TILES_CUH

#include "backend/cuda/bytes_group.cuh"
#include "backend/cuda/linear_tiles.cuh"
#include "backend/cuda/warpgroup.cuh"

namespace {

enum { STRIP_SCALES = 64 /* bytes, before a strip's pieces */, BYTES_COLS = 128 /* of a piece */ };

template <typename SUM, int GROUPS, int COLS, int PAIR> struct byte_worker : worker<GROUPS, COLS, PAIR, 1> {
  static constexpr int WIDTH = COLS < 128 ? COLS : 128; /* of E4M3's rows that are summed at once */
  static constexpr bool turns = sizeof(SUM) && (SUM)0.5f != 0 && COLS > WIDTH; /* two warpgroups' parts take turns */
  using W = worker<GROUPS, COLS, PAIR, 1>;
  using S = typename W::S;
  using W::m, W::r, W::rank, W::first, W::step, W::n_tile, W::k_first, W::k_end;
  float *scales, *token_scales; /* [group][COLS] of the tile's rows, [group][64] of its tokens, beside the barriers */
  static_assert(S::stages * 16 <= 512, "room for them");

  __device__ byte_worker(const many &m, uint8_t *shared) : W(m, shared) {
    scales = (float *)(shared + S::shared_bytes);
    token_scales = (float *)(shared + 512);
  }

  __device__ __forceinline__ const uint8_t *strip_at(int strip) const {
    return m.linear.matrix.data + (size_t)strip * (STRIP_SCALES + (size_t)m.n_piece * PIECE);
  }

  /* A warp: as in linear_tiles.cuh, but for where strips begin. */
  __device__ void weights_stream() const {
    int lane = threadIdx.x % 32, at = 0;
    for (int tile = first; tile < n_tile; tile += step) {
      int strip = this->place_at(tile).strip, mine = (PAIR > 1 ? rank * (S::strips / PAIR) : 0) + lane;
      int n = min(S::strips, m.n_strip - strip);
      const uint8_t *from = strip_at(strip + mine) + STRIP_SCALES;
      for (int k = k_first; k < k_end; k++, at++) {
        int slot = at % S::stages;
        this->slot_claim(at);
        if (lane == 0) barrier_expect(&r.full[slot], n * PIECE);
        __syncwarp();
        if (lane >= S::strips / PAIR || mine >= n) continue;
        uint8_t *to = r.stage + slot * S::stage_bytes + GROUPS * TOKENS_BYTES + mine * PIECE;
        if (PAIR > 1)
          bulk_copy_cluster(to, from + (size_t)k * PIECE, PIECE, &r.full[slot], (1 << PAIR) - 1);
        else
          bulk_copy_kept(to, from + (size_t)k * PIECE, PIECE, &r.full[slot]);
      }
    }
  }

  /* Products of 128 columns, of WIDTH rows from `at` on. */
  __device__ __forceinline__ void part_multiply(float (&part)[WIDTH / 2], uint64_t x, uint64_t w, int at) const {
    products_begin();
#pragma unroll
    for (int i = 0; i < 4; i++) bytes_multiply<WIDTH>(part, x + 2 * i, w + at * 128 / 16 + 2 * i, i > 0);
    products_group();
  }

  __device__ __forceinline__ void part_add(float (&sum)[COLS / 2], float (&part)[WIDTH / 2], int at) const {
    registers_settle(part);
#pragma unroll
    for (int i = 0; i < WIDTH / 2; i++) sum[at / 2 + i] += part[i];
  }

  /* Of the stage's 64 tokens, what a lane of the warp multiplies: once for all parts, so that shared memory, which
   * the copies fill, too, is read less. */
  __device__ __forceinline__ void tokens_keep(uint32_t (&x)[4][4], uint32_t tokens) const {
    int lane = threadIdx.x % 32, row = threadIdx.x / 32 % 4 * 16 + lane % 16;
#pragma unroll
    for (int i = 0; i < 4; i++) matrices_load(x[i], tokens + row * 128 + ((2 * i + lane / 16) ^ row % 8) * 16);
  }

  __device__ __forceinline__ void stage_multiply_kept(float (&sum)[COLS / 2], uint32_t tokens, uint64_t w,
                                                      int group) const {
    uint32_t x[4][4];
    tokens_keep(x, tokens);
#pragma unroll
    for (int at = 0; at < COLS; at += WIDTH) {
      float part[WIDTH / 2];
      turn_await(group);
      products_begin();
#pragma unroll
      for (int i = 0; i < 4; i++) bytes_multiply_kept(part, x[i], w + at * 128 / 16 + 2 * i, i > 0);
      products_group();
      turn_give(group ^ 1);
      products_wait<0>();
      part_add(sum, part, at);
    }
  }

  __device__ __forceinline__ void stage_multiply(float (&sum)[COLS / 2], uint64_t x, uint64_t w, int group) const {
#pragma unroll
    for (int at = 0; at < COLS; at += WIDTH) {
      float part[WIDTH / 2];
      part_multiply(part, x, w, at);
      products_wait<0>();
      part_add(sum, part, at);
    }
  }

  /* A warpgroup: its 64 tokens' sums of a tile. */
  __device__ __forceinline__ void tile_multiply(float (&sum)[COLS / 2], int group, int &at) const {
#pragma unroll
    for (int i = 0; i < COLS / 2; i++) sum[i] = 0;
    for (int k = k_first; k < k_end; k++, at++) {
      uint32_t stage = shared_address(r.stage + at % S::stages * S::stage_bytes);
      barrier_wait(&r.full[at % S::stages], at / S::stages & 1);
      uint64_t x = rows_operand(stage + group * TOKENS_BYTES), w = rows_operand(stage + GROUPS * TOKENS_BYTES);
      if constexpr (turns)
        stage_multiply_kept(sum, stage + group * TOKENS_BYTES, w, group);
      else
        stage_multiply(sum, x, w, group);
      this->slot_release(at);
    }
  }

  __device__ __forceinline__ void tile_multiply(int (&sum)[COLS / 2], int group, int &at) const {
#pragma unroll
    for (int i = 0; i < COLS / 2; i++) sum[i] = 0;
    for (int k = k_first; k < k_end; k++, at++) {
      uint32_t stage = shared_address(r.stage + at % S::stages * S::stage_bytes);
      uint64_t x = rows_operand(stage + group * TOKENS_BYTES), w = rows_operand(stage + GROUPS * TOKENS_BYTES);
      barrier_wait(&r.full[at % S::stages], at / S::stages & 1);
      products_begin();
#pragma unroll
      for (int i = 0; i < 4; i++) bytes_multiply<COLS>(sum, x + 2 * i, w + 2 * i, 1);
      products_group();
      products_wait<1>();
      if (k > k_first) this->slot_release(at - 1);
    }
    products_wait<0>();
    this->slot_release(at - 1);
  }

  /* A warpgroup asks for its tile's scales, of COLS rows and then of 64 tokens, before it multiplies. */
  __device__ __forceinline__ void scales_load(int group, int strip, int token) const {
    float *to = scales + group * COLS;
    for (int i = threadIdx.x % 128; i < COLS; i += 128)
      word_copy(to + i, (const float *)strip_at(strip + i / 16) + i % 16, strip + i / 16 < m.n_strip);
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

  __device__ __forceinline__ void tile_finish_any(float (&sum)[COLS / 2], int token, int strip) const {
    if (S::large && m.finish == FINISH_GATED) {
      this->gated_finish(sum, token, strip * 16);
    } else if (S::large && m.finish == FINISH_ROWS) {
      if (m.linear.residual)
        this->template rows_finish<true>(sum, token, strip * 16);
      else
        this->template rows_finish<false>(sum, token, strip * 16);
    } else {
      this->template tile_finish<COLS>(sum, token, strip * 16);
    }
  }

  __device__ void tiles_multiply() const {
    int group = threadIdx.x / 128 - 1, at = 0;
    dependencies_wait();
    if (turns && group == 1) turn_give(0);
    for (int tile = first; tile < n_tile; tile += step) {
      place p = this->place_at(tile);
      int token = p.tall * S::tokens + group * 64;
      scales_load(group, p.strip, token);
      SUM raw[COLS / 2];
      tile_multiply(raw, group, at);
      words_wait();
      group_meet(group + 1);
      float sum[COLS / 2];
      sums_scale(raw, sum, group);
      token += threadIdx.x / 32 % 4 * 16;
      tile_finish_any(sum, token, p.strip);
      group_meet(group + 1);
    }
  }

  /* Four bytes on their way to shared memory, or zeros. */
  __device__ __forceinline__ void word_copy(float *to, const float *from, bool there) const {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(there ? 4 : 0)
                 : "memory");
  }
  __device__ __forceinline__ void words_wait() const { asm volatile("cp.async.wait_all;" ::: "memory"); }

  /* The two warpgroups' parts follow one another, so that one is multiplied while the other is added. */
  __device__ __forceinline__ void turn_await(int group) const {
    asm volatile("bar.sync %0, 256;" ::"r"(group + 4) : "memory");
  }
  __device__ __forceinline__ void turn_give(int group) const {
    asm volatile("bar.arrive %0, 256;" ::"r"(group + 4) : "memory");
  }

  /* The warpgroup's own barrier. */
  __device__ __forceinline__ void group_meet(int barrier) const {
    asm volatile("bar.sync %0, 128;" ::"r"(barrier) : "memory");
  }
};

template <typename SUM, int GROUPS, int COLS, int PAIR>
__global__ void __launch_bounds__((GROUPS + 1) * 128, GROUPS == 1 ? 2 : 1) bytes_many(const __grid_constant__ many m) {
  extern __shared__ __align__(1024) uint8_t shared[];
  byte_worker<SUM, GROUPS, COLS, PAIR> w(m, shared);
  using S = typename decltype(w)::S;
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::stages; i++) barrier_init(&w.r.full[i], 2), barrier_init(&w.r.empty[i], GROUPS * PAIR);
    barriers_publish();
  }
  if (S::cluster > 1)
    cluster_meet();
  else
    __syncthreads();
  dependents_launch();
  if (threadIdx.x < 128) {
    if (GROUPS > 1) registers_release<40>();
    if (threadIdx.x < 32) w.weights_stream();
    if (threadIdx.x == 32) w.tokens_stream();
    __syncwarp();
  } else {
    if (GROUPS > 1) registers_claim<232>();
    w.tiles_multiply();
  }
  if (S::cluster > 1) cluster_meet(); /* nobody leaves whom others still write to */
}

template <typename SUM, int GROUPS, int COLS, int PAIR>
void bytes_launch(many m, int multiprocessors, cuda_stream stream) {
  using S = shape<GROUPS, COLS, PAIR, 1>;
  m.n_tall = (m.linear.n_row + S::tokens - 1) / S::tokens;
  m.n_wide = (m.n_strip + S::strips - 1) / S::strips;
  int clusters = (m.n_tall + PAIR - 1) / PAIR * m.n_wide, most = multiprocessors * S::resident / S::cluster;
  if (clusters > most) clusters = most;
  int shared = S::shared_bytes + GROUPS * COLS * (int)sizeof(float);
  early_launch(bytes_many<SUM, GROUPS, COLS, PAIR>, {clusters * S::cluster, S::threads, shared, S::cluster}, stream, m);
}

} // namespace

#endif
