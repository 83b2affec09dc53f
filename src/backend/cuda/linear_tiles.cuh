/* The kernel of linear_many.cu, a GEMM over bf16 weights on Hopper's warpgroup matrix units, and the frame of
 * bytes_many.cu's.
 *
 * A block makes tiles of GROUPS × 64 tokens × COLS weight rows. One thread keeps bulk copies of weights in flight,
 * one those of tokens, into a ring of stages of 64 columns; warpgroups multiply 64 tokens each. Where there are few
 * tiles, SPLIT blocks of a cluster share the columns of a tile and add the parts in the order of the blocks through
 * each other's shared memory. Where there are many, blocks stay and take one tile after the other. A PAIR of neighbours
 * in tokens copies weights for both.
 *
 * Bounds: the matrix units from some 300 tokens on, and then the power that they may draw: an H200 runs at 1.3 to 1.4
 * of its 1.98 GHz. Below that the read of the weights, which are asked for while the kernel before ends, and what
 * blocks read of tokens, again and again, from the second-level cache: wide tiles and parts keep that small. Sums run
 * over columns in order within a part: the same bytes each run, but other ones than linear_few.cu's and those of
 * another SPLIT. After CUTLASS's "cooperative" kernel. Measured in bench/lab/linear_large.cu. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_TILES_CUH
#define SPATE_BACKEND_CUDA_LINEAR_TILES_CUH

#include "backend/cuda/launch.cuh"
#include "backend/cuda/linear_shape.cuh"
#include "backend/cuda/matrix_group.cuh"

namespace {

template <int GROUPS, int COLS, int PAIR, int SPLIT, int BESIDE = 0, int MAKERS = 0> struct worker {
  using S = shape<GROUPS, COLS, PAIR, SPLIT, BESIDE, MAKERS>;
  static constexpr int copier_registers = 56, multiplier_registers = 224;
  static constexpr int weights_arrivals = 1; /* until a stage's weights are there */
  const many &m;
  ring<S> r;
  int peer, part; /* within the cluster */
  int first, step, n_tile, k_first, k_end;
  int head = 0; /* bytes of a strip before its pieces */

  __device__ worker(const many &m, uint8_t *shared) : m(m) {
    int rank = S::cluster > 1 ? cluster_rank() : 0;
    r.weights = (uint64_t *)shared;
    r.tokens = r.weights + S::stages, r.empty = r.tokens + S::stages;
    r.scaled = r.empty + S::stages, r.used = r.scaled + 2;
    r.stage = shared + 1024;
    r.sums = (float *)(r.stage + S::stages * S::stage_bytes);
    r.scale = S::scale_bytes > 0 ? r.sums + S::sums_bytes / 4 : (float *)(shared + 512);
    peer = rank % PAIR, part = rank / PAIR;
    first = blockIdx.x / S::cluster, step = gridDim.x / S::cluster;
    n_tile = (m.n_tall + PAIR - 1) / PAIR * m.n_wide;
    k_first = m.n_piece * part / SPLIT;
    k_end = m.n_piece * (part + 1) / SPLIT;
  }

  __device__ void beside_begin() const {}

  __device__ __forceinline__ place place_at(int tile) const { return place_of<S>(m, tile, PAIR, peer); }

  __device__ __forceinline__ size_t strip_bytes() const { return head + (size_t)m.n_piece * PIECE; }

  /* A thread: copies of `count` strips' pieces, one after the other. (Of a warp's lanes each would take its turn at the
   * copy engine too, and 60 cycles.) */
  __device__ __forceinline__ void pieces_copy(uint8_t *to, const uint8_t *from, int count, uint64_t *bar,
                                              uint64_t policy) const {
    size_t step = strip_bytes();
#pragma unroll
    for (int i = 0; i < S::half; i++, from += step) {
      if (i >= count) break;
      if (PAIR > 1)
        bulk_copy_cluster(to + i * PIECE, from, PIECE, bar, ((1 << PAIR) - 1) << part * PAIR);
      else
        bulk_copy(to + i * PIECE, from, PIECE, bar, policy);
    }
  }

  /* A tile's n strips, of which either block of a pair copies half, for both. */
  __device__ __forceinline__ void strips_stream(const uint8_t *from, int n, turn *at, uint64_t policy) const {
    int mine = peer * S::half;
    from += mine * strip_bytes() + head + k_first * PIECE;
    for (int k = k_first; k < k_end; k++, from += PIECE, *at = turn_next<S>(*at)) {
      barrier_wait(&r.empty[at->slot], at->phase);
      barrier_expect(&r.weights[at->slot], n * PIECE);
      pieces_copy(r.stage + at->slot * S::stage_bytes + GROUPS * TOKENS_BYTES + mine * PIECE, from, n - mine,
                  &r.weights[at->slot], policy);
    }
  }

  /* A thread. */
  __device__ void weights_stream() const {
    turn at = {0, 1}; /* of a barrier's first phase the one before is over */
    if (m.linear.matrix.made) dependencies_wait();
    uint64_t policy = m.n_tall <= PAIR ? policy_evict_first() : policy_evict_normal();
    for (int tile = first; tile < n_tile; tile += step) {
      int strip = place_at(tile).strip;
      strips_stream(m.linear.matrix.data + strip * strip_bytes(), min(S::strips, m.n_strip - strip), &at, policy);
    }
  }

  /* A thread. */
  __device__ void tokens_stream() const {
    turn at = {0, 1};
    dependencies_wait();
    for (int tile = first; tile < n_tile; tile += step) {
      int tall = place_at(tile).tall, rows = max(0, min(S::tokens, m.linear.n_row - tall * S::tokens));
      const uint8_t *from = m.tokens + ((size_t)tall * GROUPS * m.n_piece + k_first) * TOKENS_BYTES;
      for (int k = k_first; k < k_end; k++, from += TOKENS_BYTES, at = turn_next<S>(at)) {
        barrier_wait(&r.empty[at.slot], at.phase);
        barrier_expect(&r.tokens[at.slot], (rows + 7) / 8 * 1024);
#pragma unroll
        for (int i = 0; i < GROUPS; i++)
          if (rows > i * 64)
            bulk_copy_kept(r.stage + at.slot * S::stage_bytes + i * TOKENS_BYTES,
                           from + (size_t)i * m.n_piece * TOKENS_BYTES, (min(64, rows - i * 64) + 7) / 8 * 1024,
                           &r.tokens[at.slot]);
      }
    }
  }

  /* A warpgroup, whose warps multiply in step, is done with a slot: one thread tells the block, another the other of a
   * pair, of which either fills a part of both. */
  __device__ __forceinline__ void slot_release(int slot) const {
    if (threadIdx.x % 128 == 0) barrier_arrive(&r.empty[slot]);
    if (PAIR > 1 && threadIdx.x % 128 == 32) barrier_arrive_in(&r.empty[slot], part * PAIR + (peer ^ 1));
  }

  /* A warpgroup: its 64 tokens' sums of a tile. */
  __device__ __forceinline__ void tile_multiply(float (&sum)[COLS / 2], int group, turn *at) const {
    int before = 0;
    for (int k = k_first; k < k_end; k++, *at = turn_next<S>(*at)) {
      uint32_t stage = shared_address(r.stage) + at->slot * S::stage_bytes;
      uint64_t x = rows_operand(stage + group * TOKENS_BYTES), w = rows_operand(stage + GROUPS * TOKENS_BYTES);
      barrier_wait(&r.weights[at->slot], at->phase);
      barrier_wait(&r.tokens[at->slot], at->phase);
      products_begin();
#pragma unroll
      for (int i = 0; i < 4; i++) group_multiply<COLS>(sum, x + 2 * i, w + 2 * i, k > k_first || i > 0);
      products_group();
      products_wait<1>();
      if (k > k_first) slot_release(before);
      before = at->slot;
    }
    products_wait<0>();
    slot_release(before);
  }

  /* Two warps beside the others: scales of tiles' tokens, of sums of squares that the linear before has left; tiles of
   * the same tokens one after the other share theirs. Much is asked for at once: short tiles would wait for it. */
  __device__ void scales_make() const {
    constexpr int each = GROUPS == 1 ? 8 : 4; /* as registers allow */
    const struct cuda_linear &a = m.linear;
    int lane = threadIdx.x % 32, n = a.n_square / 4, count = 0, tall = -1;
    if (!a.squares) return;
    dependencies_wait();
    for (int tile = first; tile < n_tile; tile += step) {
      if (place_at(tile).tall == tall) continue;
      tall = place_at(tile).tall;
      int token = tall * S::tokens;
      barrier_wait(&r.used[count % 2], (count / 2 & 1) ^ 1); /* of its first phase the one before is over */
      for (int t = (threadIdx.x / 32 - 2) * each; t < S::tokens; t += 2 * each) {
        const float4 *from = (const float4 *)a.squares + (size_t)(token + t) * n;
        float sum[each] = {};
        for (int at = lane; at < n; at += 64) {
          float4 x[each][2];
#pragma unroll
          for (int i = 0; i < 2 * each; i++) {
            bool there = at + i % 2 * 32 < n && token + t + i / 2 < a.n_row;
            x[i / 2][i % 2] = there ? from[i / 2 * n + at + i % 2 * 32] : make_float4(0, 0, 0, 0);
          }
#pragma unroll
          for (int i = 0; i < 2 * each; i++) {
            float4 y = x[i / 2][i % 2];
            sum[i / 2] += (y.x + y.y) + (y.z + y.w);
          }
        }
#pragma unroll
        for (int i = 0; i < each; i++) {
#pragma unroll
          for (int step = 16; step > 0; step /= 2) sum[i] += __shfl_xor_sync(~0u, sum[i], step);
          if (lane == 0) r.scale[count % 2 * S::tokens + t + i] = rsqrtf(sum[i] / a.matrix.cols + a.eps);
        }
      }
      barrier_arrive(&r.scaled[count++ % 2]);
    }
  }

  /* With the count-th scales, a warp's sums from a token of the tile on. */
  template <int N> __device__ __forceinline__ void sums_scale(float (&sum)[N], int token, int count) const {
    if (!m.linear.squares) return;
    barrier_wait(&r.scaled[count % 2], count / 2 & 1);
    const float *from = r.scale + count % 2 * S::tokens + token + threadIdx.x % 32 / 4;
    float scale[2] = {from[0], from[8]};
#pragma unroll
    for (int i = 0; i < N; i++) sum[i] *= scale[i / 2 % 2];
  }

  static __device__ __forceinline__ float4 fours_add(float4 a, float4 b, float) { return a + b; }
  static __device__ __forceinline__ float4 fours_add(float4 a, float4 b, int) {
    return {whole_add(a.x, b.x), whole_add(a.y, b.y), whole_add(a.z, b.z), whole_add(a.w, b.w)};
  }
  static __device__ __forceinline__ float whole_add(float a, float b) {
    return __int_as_float(__float_as_int(a) + __float_as_int(b));
  }

  /* The first of a block's share of a tile's strips. */
  __device__ static constexpr int share_of(int part) { return S::strips * part / SPLIT; }

  /* The parts of a tile that the blocks of a cluster have summed: each block gets a share of the strips, and adds the
   * parts in the order of the blocks. */
  template <typename SUM>
  __device__ __forceinline__ void parts_add(SUM (&share)[S::share * 8], const SUM (&sum)[COLS / 2]) const {
    constexpr int n = S::share * 2; /* fours of a thread's share */
    int thread = threadIdx.x - 128;
    cluster_meet(); /* nobody reads the ring any more */
#pragma unroll
    for (int to = 0; to < SPLIT; to++) {
      uint32_t there = address_in(shared_address(r.stage), to * PAIR + peer);
#pragma unroll
      for (int i = 0; i < (share_of(to + 1) - share_of(to)) * 2; i++)
        store_in(there + ((part * n + i) * GROUPS * 128 + thread) * 16,
                 *(const float4 *)&sum[share_of(to) * 8 + i * 4]);
    }
    cluster_meet();
    const float4 *from = (const float4 *)r.stage + thread;
#pragma unroll
    for (int i = 0; i < n; i++) {
      float4 total = from[i * GROUPS * 128];
#pragma unroll
      for (int s = 1; s < SPLIT; s++) total = fours_add(total, from[(s * n + i) * GROUPS * 128], SUM());
      *(float4 *)&share[i * 4] = total;
    }
  }

  /* The results of strips up to one. */
  __device__ __forceinline__ ending<S::run> ending_of(int end) const {
    float *room = r.sums + (threadIdx.x / 32 - 4) * 16 * sums_stride(S::run);
    return {m.linear, room, min(end * 16, m.linear.matrix.rows), m.fours};
  }

  __device__ void tiles_multiply() const {
    constexpr int N = S::share * 16;
    int group = threadIdx.x / 128 - 1, within = (threadIdx.x / 32 - 4) * 16, count = -1, tall = -1;
    turn at = {0, 0};
    dependencies_wait(); /* for residuals, and for who still reads what is written here */
    for (int tile = first; tile < n_tile; tile += step) {
      place p = place_at(tile);
      if (p.tall != tall) {
        if (m.linear.squares && count >= 0) barrier_arrive(&r.used[count % 2]);
        tall = p.tall, count++;
      }
      float sum[COLS / 2];
      int token = p.tall * S::tokens + within, row = (p.strip + share_of(part)) * 16;
      ending<S::run> ends = ending_of(p.strip + share_of(part + 1));
      typename ending<S::run>::template extras<N> extras;
      tile_multiply(sum, group, &at);
      if (m.finish == FINISH_ROWS) ends.template extras_begin<N>(extras, token, row);
      if constexpr (SPLIT > 1) {
        float share[N / 2];
        parts_add(share, sum);
        sums_scale(share, within, count);
        ends.template tile_finish<N, true>(m.finish, share, extras, token, row);
      } else {
        sums_scale(sum, within, count);
        ends.template tile_finish<N, true>(m.finish, sum, extras, token, row);
      }
    }
  }
};

/* W: the worker whose tiles they are, this one's or bytes_tiles.cuh's. */
template <typename W>
__global__ void __launch_bounds__(W::S::threads, W::S::resident) tiles_run(const __grid_constant__ many m) {
  extern __shared__ __align__(1024) uint8_t shared[];
  using S = typename W::S;
  W w(m, shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::stages; i++)
      barrier_init(&w.r.weights[i], W::weights_arrivals), barrier_init(&w.r.tokens[i], 1),
          barrier_init(&w.r.empty[i], S::groups * S::pair);
    for (int i = 0; i < 2; i++)
      barrier_init(&w.r.scaled[i], 2 * 32), barrier_init(&w.r.used[i], S::groups * GROUP_WARPS * 32);
    w.beside_begin();
    barriers_publish();
  }
  if (S::pair > 1)
    cluster_meet();
  else
    __syncthreads();
  dependents_launch();
  if (threadIdx.x < 128) {
    if (S::groups + S::makers > 1) registers_release<W::copier_registers>();
    if (threadIdx.x == 0) w.weights_stream();
    if (threadIdx.x == 32) w.tokens_stream();
    if (threadIdx.x >= 64) w.scales_make();
    __syncwarp();
    if (S::split > 1) cluster_meet(), cluster_meet(); /* with parts_add */
  } else if (!S::makers || threadIdx.x < (S::groups + 1) * 128) {
    if (S::groups + S::makers > 1) registers_claim<W::multiplier_registers>();
    w.tiles_multiply();
  } else if constexpr (S::makers > 0) {
    registers_release<W::maker_registers>();
    w.weights_make();
    __syncwarp();
    if (S::split > 1) cluster_meet(), cluster_meet();
  }
  if (S::pair > 1) cluster_meet(); /* nobody leaves whom others still write to */
}

template <typename W> launch_shape tiles_shape(int clusters) {
  return {clusters * W::S::cluster, W::S::threads, W::S::shared_bytes, W::S::cluster};
}

/* Clusters that run at once: those of four do not fill all of the device's groups of multiprocessors. */
template <typename W> int tiles_resident() {
  static int count;
  if (count == 0) count = clusters_resident(tiles_run<W>, tiles_shape<W>(1));
  return count;
}

template <typename W> void tiles_launch(many m, cuda_stream stream) {
  using S = typename W::S;
  m.n_tall = (m.linear.n_row + S::tokens - 1) / S::tokens;
  m.n_wide = (m.n_strip + S::strips - 1) / S::strips;
  int clusters = (m.n_tall + S::pair - 1) / S::pair * m.n_wide, most = tiles_resident<W>();
  if (S::split == 1 && clusters > most) clusters = most;
  early_launch(tiles_run<W>, tiles_shape<W>(clusters), stream, m);
}

inline bool fours_aligned(const float *rows, int cols) { return (uintptr_t)rows % 16 == 0 && cols % 4 == 0; }

inline bool fours_of(const struct cuda_linear &a) {
  return a.result_cols % 4 == 0 && fours_aligned(a.out, a.out_cols) && fours_aligned(a.residual, a.residual_cols);
}

inline enum finish finish_of(const many &m) {
  const struct cuda_linear &a = m.linear;
  if (a.greatest) return FINISH_GREATEST;
  if (a.gated && a.next_fragments) return FINISH_GATED;
  bool sums = !a.gated && !a.act && !(a.softcap > 0) && !a.bias && !a.multiply;
  return sums && m.fours && a.matrix.rows % 64 == 0 ? FINISH_ROWS : FINISH_ANY;
}

/* The arguments of tiles that make the linear, from tokens as its fragments hold them, in pieces of `cols` columns. */
inline many many_of(const struct cuda_linear *linear, int cols) {
  many m = {};
  m.linear = linear->has_post_norm ? products_alone(linear) : *linear;
  m.tokens = (const uint8_t *)linear->fragments;
  m.n_strip = (linear->matrix.rows + 15) / 16;
  m.n_piece = (linear->matrix.cols + cols - 1) / cols;
  m.fours = fours_of(m.linear);
  m.finish = finish_of(m);
  return m;
}

} // namespace

#endif
