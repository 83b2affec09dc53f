/* The kernel of bytes_many.cu: a GEMM of eight-bit weights and eight-bit tokens on Hopper's warpgroup matrix units,
 * E4M3 or int8, one scale a row of weights and one a token.
 *
 * A piece of 16 rows × 128 bytes is to the copy engine what a piece of 64 bf16 columns is, so tiles, ring, pairs and
 * what becomes of sums are those of linear_tiles.cuh. What differs is how sums are made: E4M3's of 128 columns of WIDTH
 * rows in registers of their own, then added to the tile's in full floats, while the other warpgroup's products run.
 * int8's are exact, and become floats at the end. Then they are scaled.
 *
 * Bounds: the matrix units, and the power that they may draw. Measured in bench/lab/linear_fp8.cu. */
#ifndef SPATE_BACKEND_CUDA_BYTES_TILES_CUH
#define SPATE_BACKEND_CUDA_BYTES_TILES_CUH

#include "backend/cuda/bytes_group.cuh"
#include "backend/cuda/linear_tiles.cuh"
#include "backend/cuda/warpgroup.cuh"

namespace {

enum { STRIP_SCALES = 64 /* bytes, before a strip's pieces */, PIECE_BYTES_COLS = 128 };

template <typename SUM, int GROUPS, int COLS, int WIDTH, int PAIR, int SPLIT, int MODE>
struct byte_worker : worker<GROUPS, COLS, PAIR, SPLIT> {
  using W = worker<GROUPS, COLS, PAIR, SPLIT>;
  using S = typename W::S;
  using W::m, W::r, W::rank, W::first, W::step, W::n_tile, W::k_first, W::k_end;
  float *scales; /* [group][COLS] of the tile's rows */

  __device__ byte_worker(const many &m, uint8_t *shared) : W(m, shared) {
    scales = (float *)(shared + S::shared_bytes);
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

  __device__ __forceinline__ void stage_multiply(float (&sum)[COLS / 2], uint64_t x, uint64_t w, int group) const {
#pragma unroll
    for (int at = 0; at < COLS; at += WIDTH) {
      float part[WIDTH / 2];
      if (MODE & 1) asm volatile("bar.sync %0, 256;" ::"r"(group + 4) : "memory");
      part_multiply(part, x, w, at);
      if (MODE & 1) asm volatile("bar.arrive %0, 256;" ::"r"((group ^ 1) + 4) : "memory");
      products_wait<0>();
      part_add(sum, part, at);
    }
  }

  /* All parts in flight: while one is added to the sums, others are made. */
  __device__ __forceinline__ void stage_multiply_all(float (&sum)[COLS / 2], uint64_t x, uint64_t w, int group) const {
    constexpr int parts = COLS / WIDTH;
    float part[parts][WIDTH / 2];
    if (MODE & 1) asm volatile("bar.sync %0, 256;" ::"r"(group + 4) : "memory");
#pragma unroll
    for (int i = 0; i < parts; i++) part_multiply(part[i], x, w, i * WIDTH);
    if (MODE & 1) asm volatile("bar.arrive %0, 256;" ::"r"((group ^ 1) + 4) : "memory");
    if constexpr (parts > 2) products_wait<2>(), part_add(sum, part[parts - 3], (parts - 3) * WIDTH);
    if constexpr (parts > 1) products_wait<1>(), part_add(sum, part[parts - 2], (parts - 2) * WIDTH);
    products_wait<0>();
    part_add(sum, part[parts - 1], (parts - 1) * WIDTH);
  }

  /* A warpgroup: its 64 tokens' sums of a tile. */
  __device__ __forceinline__ void tile_multiply(float (&sum)[COLS / 2], int group, int &at) const {
#pragma unroll
    for (int i = 0; i < COLS / 2; i++) sum[i] = 0;
    for (int k = k_first; k < k_end; k++, at++) {
      uint32_t stage = shared_address(r.stage + at % S::stages * S::stage_bytes);
      if (!(MODE & 4)) barrier_wait(&r.full[at % S::stages], at / S::stages & 1);
      uint64_t x = rows_operand(stage + group * TOKENS_BYTES), w = rows_operand(stage + GROUPS * TOKENS_BYTES);
      if (MODE & 2)
        stage_multiply_all(sum, x, w, group);
      else
        stage_multiply(sum, x, w, group);
      if (!(MODE & 4)) this->slot_release(at);
    }
  }

  __device__ __forceinline__ void tile_multiply(int (&sum)[COLS / 2], int group, int &at) const {
#pragma unroll
    for (int i = 0; i < COLS / 2; i++) sum[i] = 0;
    for (int k = k_first; k < k_end; k++, at++) {
      uint32_t stage = shared_address(r.stage + at % S::stages * S::stage_bytes);
      uint64_t x = rows_operand(stage + group * TOKENS_BYTES), w = rows_operand(stage + GROUPS * TOKENS_BYTES);
      if (!(MODE & 4)) barrier_wait(&r.full[at % S::stages], at / S::stages & 1);
      products_begin();
#pragma unroll
      for (int i = 0; i < 4; i++) bytes_multiply<COLS>(sum, x + 2 * i, w + 2 * i, 1);
      products_group();
      products_wait<1>();
      if (k > k_first && !(MODE & 4)) this->slot_release(at - 1);
    }
    products_wait<0>();
    if (!(MODE & 4)) this->slot_release(at - 1);
  }

  /* A warpgroup asks for its tile's row scales before it multiplies. */
  __device__ __forceinline__ void scales_load(int group, int strip) const {
    for (int i = threadIdx.x % 128; i < COLS; i += 128)
      if (strip + i / 16 < m.n_strip) scales[group * COLS + i] = ((const float *)strip_at(strip + i / 16))[i % 16];
  }

  /* Eight columns at a time, so that few scales are in registers. */
  __device__ __forceinline__ void sums_scale(const SUM (&raw)[COLS / 2], float (&sum)[COLS / 2], int group,
                                             int token) const {
    int lane = threadIdx.x % 32;
    const float *of_rows = scales + group * COLS + lane % 4 * 2;
    float low = 0, high = 0; /* the thread's two tokens */
    token += lane / 4;
    if (token < m.linear.n_row) low = m.linear.scales[token];
    if (token + 8 < m.linear.n_row) high = m.linear.scales[token + 8];
#pragma unroll
    for (int j = 0; j < COLS / 8; j++) {
      float2 row = *(const float2 *)(of_rows + j * 8);
      sum[4 * j] = raw[4 * j] * (row.x * low), sum[4 * j + 1] = raw[4 * j + 1] * (row.y * low);
      sum[4 * j + 2] = raw[4 * j + 2] * (row.x * high), sum[4 * j + 3] = raw[4 * j + 3] * (row.y * high);
      if (j % 4 == 3) asm volatile("" ::: "memory");
    }
  }

  __device__ __forceinline__ void tile_finish_any(float (&sum)[COLS / 2], int token, int strip) const {
    if constexpr (SPLIT > 1) {
      float share[COLS / SPLIT / 2];
      this->parts_add(share, sum);
      this->template tile_finish<COLS / SPLIT>(share, token, strip * 16 + rank * (COLS / SPLIT));
    } else if (S::large && m.finish == FINISH_GATED) {
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
    if ((MODE & 1) && group == 1) asm volatile("bar.arrive 4, 256;" ::: "memory");
    for (int tile = first; tile < n_tile; tile += step) {
      place p = this->place_at(tile);
      int token = p.tall * S::tokens + group * 64 + threadIdx.x / 32 % 4 * 16;
      scales_load(group, p.strip);
      SUM raw[COLS / 2];
      tile_multiply(raw, group, at);
      group_meet(group + 1);
      float sum[COLS / 2];
      sums_scale(raw, sum, group, token);
      if (MODE & 8) { float t = 0; for (int i = 0; i < COLS / 2; i++) t += sum[i]; if (t == 1.2345f) m.linear.out[0] = t; } else tile_finish_any(sum, token, p.strip);
      group_meet(group + 1);
    }
  }

  /* The warpgroup's own barrier. */
  __device__ __forceinline__ void group_meet(int barrier) const {
    asm volatile("bar.sync %0, 128;" ::"r"(barrier) : "memory");
  }
};

template <typename SUM, int GROUPS, int COLS, int WIDTH, int PAIR, int SPLIT, int MODE>
__global__ void __launch_bounds__((GROUPS + 1) * 128, GROUPS == 1 ? 2 : 1)
    bytes_many(const __grid_constant__ many m) {
  extern __shared__ __align__(1024) uint8_t shared[];
  byte_worker<SUM, GROUPS, COLS, WIDTH, PAIR, SPLIT, MODE> w(m, shared);
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
    if (threadIdx.x < 32 && !(MODE & 4)) w.weights_stream();
    if (threadIdx.x == 32 && !(MODE & 4)) w.tokens_stream();
    __syncwarp();
    if (SPLIT > 1) cluster_meet(), cluster_meet(); /* with parts_add */
  } else {
    if (GROUPS > 1) registers_claim<232>();
    w.tiles_multiply();
  }
  if (S::cluster > 1) cluster_meet(); /* nobody leaves whom others still write to */
}

template <typename SUM, int GROUPS, int COLS, int WIDTH, int PAIR, int SPLIT, int MODE>
void bytes_launch(many m, int multiprocessors, cuda_stream stream) {
  using S = shape<GROUPS, COLS, PAIR, SPLIT>;
  m.n_tall = (m.linear.n_row + S::tokens - 1) / S::tokens;
  m.n_wide = (m.n_strip + S::strips - 1) / S::strips;
  int clusters = (m.n_tall + PAIR - 1) / PAIR * m.n_wide, most = multiprocessors * S::resident / S::cluster;
  if (SPLIT == 1 && clusters > most) clusters = most;
  int shared = S::shared_bytes + GROUPS * COLS * (int)sizeof(float);
  early_launch(bytes_many<SUM, GROUPS, COLS, WIDTH, PAIR, SPLIT, MODE>,
               {clusters * S::cluster, S::threads, shared, S::cluster}, stream, m);
}

} // namespace

#endif
