/* The kernel of linear_many.cu: a GEMM over bf16 weights on Hopper's warpgroup matrix units.
 *
 * A block makes tiles of GROUPS × 64 tokens × COLS weight rows. One warp keeps bulk copies of weights in flight, one
 * those of tokens, into a ring of stages of 64 columns; warpgroups multiply 64 tokens each. Where there are few tiles,
 * a cluster of SPLIT blocks shares the columns of a tile and adds the parts in the order of the blocks through each
 * other's shared memory. Where there are many, blocks stay and take one tile after the other, and a PAIR of neighbours
 * in tokens copies weights for both.
 *
 * A tile ends while its block's matrix units idle, so that must be short: what networks are made of is unrolled over
 * the registers (FINISH_ROWS, by way of shared memory, so that whole lines are stored; FINISH_GATED, whose results go
 * to the next linear as it wants them, and nowhere else); all else is a loop over 32 rows of the matrix.
 *
 * Bounds: the matrix units from some 300 tokens on, and then the power that they may draw: an H200 runs at 1.3 to 1.4
 * of its 1.98 GHz. Below that the read of the weights, which are asked for while the kernel before ends. Sums run over
 * columns in order within a part: the same bytes each run, but other ones than linear_few.cu's and those of another
 * SPLIT. After CUTLASS's "cooperative" kernel. Measured in bench/lab/linear_large.cu. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_TILES_CUH
#define SPATE_BACKEND_CUDA_LINEAR_TILES_CUH

#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/matrix_group.cuh"

namespace {

enum {
  GROUP_WARPS = 4,
  PIECE = 2048,            /* bytes of 16 weight rows × 64 columns */
  TOKENS_BYTES = 64 * 128, /* of 64 tokens × 64 columns */
  SUMS_STRIDE = 32 + 8,    /* floats from token to token, so that lanes store to banks of their own */
  BAND = 2048,             /* tokens that share weights in the second-level cache */
};

/* What becomes of a tile's sums. ANY is right for all linears; the others are what whole networks are made of, unrolled
 * so that sums stay in the registers in which they are. */
enum finish {
  FINISH_ANY,
  FINISH_ROWS /* times a factor, plus a residual */,
  FINISH_GATED /* bf16 for the next linear */
};

struct many {
  struct cuda_linear linear;
  const uint8_t *tokens; /* [64 tokens][piece][TOKENS_BYTES] */
  int n_strip, n_piece, n_tall, n_wide;
  bool fours; /* results can be stored four at once */
  enum finish finish;
};

template <int GROUPS, int COLS, int PAIR, int SPLIT> struct shape {
  static constexpr int strips = COLS / 16, cluster = PAIR * SPLIT, tokens = GROUPS * 64, threads = (GROUPS + 1) * 128;
  static constexpr int resident = GROUPS == 1 ? 2 : 1; /* blocks on a multiprocessor */
  static constexpr int weight_bytes = strips * PIECE, stage_bytes = GROUPS * TOKENS_BYTES + weight_bytes;
  static constexpr bool large = GROUPS == 2 && SPLIT == 1; /* such tiles know all ways to finish */
  static constexpr int run = COLS == 256 ? 64 : 32;        /* rows of the matrix that FINISH_ROWS takes at once */
  static constexpr int stride = COLS == 256 && large ? run : SUMS_STRIDE;
  static constexpr int sums_bytes = GROUPS * GROUP_WARPS * 16 * stride * 4;
  static constexpr int stages = ((228 / resident - 1) * 1024 - 1024 - sums_bytes) / stage_bytes;
  static constexpr int shared_bytes = 1024 + stages * stage_bytes + sums_bytes;
  static_assert(stages >= 4 && 16 * stages <= 1024, "stages enough to hide a copy, and room for their barriers");
  static_assert(SPLIT * GROUPS * 128 * (COLS / SPLIT / 2) * 4 <= stages * stage_bytes, "parts lie in the ring");
};

template <typename S> struct ring {
  uint8_t *stage;         /* [stages]: tokens, then weights */
  uint64_t *full, *empty; /* [stages] */
  float *sums;            /* [warp][16 tokens][SUMS_STRIDE]: on their way to results */
};

/* A tile's place: of 128 tokens, and of COLS rows of the matrix. */
struct place {
  int tall, strip;
};

/* Tiles in the order in which they are made: bands of tokens, in which neighbours share weights. */
template <typename S> __device__ __forceinline__ place place_of(const many &m, int tile, int pair, int rank) {
  int tall = (m.n_tall + pair - 1) / pair, band = BAND / S::tokens / pair, first = tile / (band * m.n_wide) * band;
  int height = min(band, tall - first), within = tile - first * m.n_wide;
  return {(first + within % height) * pair + rank, within / height * S::strips};
}

template <int GROUPS, int COLS, int PAIR, int SPLIT> struct worker {
  using S = shape<GROUPS, COLS, PAIR, SPLIT>;
  const many &m;
  ring<S> r;
  int rank, first, step, n_tile, k_first, k_end;

  __device__ worker(const many &m, uint8_t *shared) : m(m) {
    r.full = (uint64_t *)shared;
    r.empty = r.full + S::stages;
    r.stage = shared + 1024;
    r.sums = (float *)(r.stage + S::stages * S::stage_bytes);
    rank = S::cluster > 1 ? cluster_rank() : 0;
    first = blockIdx.x / S::cluster, step = gridDim.x / S::cluster;
    n_tile = (m.n_tall + PAIR - 1) / PAIR * m.n_wide;
    k_first = SPLIT > 1 ? m.n_piece * rank / SPLIT : 0;
    k_end = SPLIT > 1 ? m.n_piece * (rank + 1) / SPLIT : m.n_piece;
  }

  __device__ __forceinline__ place place_at(int tile) const { return place_of<S>(m, tile, PAIR, PAIR > 1 ? rank : 0); }

  __device__ __forceinline__ void slot_claim(int at) const {
    if (at >= S::stages) barrier_wait(&r.empty[at % S::stages], (at / S::stages - 1) & 1);
  }

  /* A warp: a lane for each strip of 16 rows; of a pair's strips either block copies half, for both. */
  __device__ void weights_stream() const {
    int lane = threadIdx.x % 32, at = 0;
    uint64_t policy = policy_evict_first();
    bool once = m.n_tall <= PAIR;
    for (int tile = first; tile < n_tile; tile += step) {
      int strip = place_at(tile).strip, mine = (PAIR > 1 ? rank * (S::strips / PAIR) : 0) + lane;
      int n = min(S::strips, m.n_strip - strip);
      const uint8_t *from = m.linear.matrix.data + (size_t)(strip + mine) * m.n_piece * PIECE;
      for (int k = k_first; k < k_end; k++, at++) {
        int slot = at % S::stages;
        slot_claim(at);
        if (lane == 0) barrier_expect(&r.full[slot], n * PIECE);
        __syncwarp();
        if (lane >= S::strips / PAIR || mine >= n) continue;
        uint8_t *to = r.stage + slot * S::stage_bytes + GROUPS * TOKENS_BYTES + mine * PIECE;
        if (PAIR > 1)
          bulk_copy_cluster(to, from + (size_t)k * PIECE, PIECE, &r.full[slot], (1 << PAIR) - 1);
        else if (once)
          bulk_copy(to, from + (size_t)k * PIECE, PIECE, &r.full[slot], policy);
        else
          bulk_copy_kept(to, from + (size_t)k * PIECE, PIECE, &r.full[slot]);
      }
    }
  }

  /* A thread. */
  __device__ void tokens_stream() const {
    int at = 0;
    dependencies_wait();
    for (int tile = first; tile < n_tile; tile += step) {
      int tall = place_at(tile).tall, rows = max(0, min(S::tokens, m.linear.n_row - tall * S::tokens));
      const uint8_t *from = m.tokens + (size_t)tall * GROUPS * m.n_piece * TOKENS_BYTES;
      for (int k = k_first; k < k_end; k++, at++) {
        int slot = at % S::stages;
        slot_claim(at);
        barrier_expect(&r.full[slot], (rows + 7) / 8 * 1024);
        for (int i = 0; i < GROUPS && rows > i * 64; i++)
          bulk_copy_kept(r.stage + slot * S::stage_bytes + i * TOKENS_BYTES,
                         from + ((size_t)i * m.n_piece + k) * TOKENS_BYTES, (min(64, rows - i * 64) + 7) / 8 * 1024,
                         &r.full[slot]);
      }
    }
  }

  /* A warpgroup, whose warps multiply in step, is done with a slot: one thread tells the block, another the other of a
   * pair, of which either fills a part of both. */
  __device__ __forceinline__ void slot_release(int at) const {
    if (threadIdx.x % 128 == 0) barrier_arrive(&r.empty[at % S::stages]);
    if (PAIR > 1 && threadIdx.x % 128 == 32) barrier_arrive_in(&r.empty[at % S::stages], rank ^ 1);
  }

  /* A warpgroup: its 64 tokens' sums of a tile. */
  __device__ __forceinline__ void tile_multiply(float (&sum)[COLS / 2], int group, int &at) const {
    for (int k = k_first; k < k_end; k++, at++) {
      uint32_t stage = shared_address(r.stage + at % S::stages * S::stage_bytes);
      uint64_t x = rows_operand(stage + group * TOKENS_BYTES), w = rows_operand(stage + GROUPS * TOKENS_BYTES);
      barrier_wait(&r.full[at % S::stages], at / S::stages & 1);
      products_begin();
#pragma unroll
      for (int i = 0; i < 4; i++) group_multiply<COLS>(sum, x + 2 * i, w + 2 * i, k > k_first || i > 0);
      products_group();
      products_wait<1>();
      if (k > k_first) slot_release(at - 1);
    }
    products_wait<0>();
    slot_release(at - 1);
  }

  /* The parts of a tile that the blocks of a cluster have summed: each block gets a share of the rows, and adds the
   * parts in the order of the blocks. */
  __device__ __forceinline__ void parts_add(float (&share)[COLS / SPLIT / 2], const float (&sum)[COLS / 2]) const {
    constexpr int n = COLS / SPLIT / 8; /* float4s of a thread's share */
    int thread = threadIdx.x - 128;
    cluster_meet(); /* nobody reads the ring any more */
#pragma unroll
    for (int to = 0; to < SPLIT; to++) {
      uint32_t there = address_in(shared_address(r.stage), to);
#pragma unroll
      for (int i = 0; i < n; i++)
        store_in(there + ((rank * n + i) * GROUPS * 128 + thread) * 16, *(const float4 *)&sum[(to * n + i) * 4]);
    }
    cluster_meet();
    const float4 *part = (const float4 *)r.stage + thread;
#pragma unroll
    for (int i = 0; i < n; i++) {
      float4 total = part[i * GROUPS * 128];
#pragma unroll
      for (int s = 1; s < SPLIT; s++) {
        float4 x = part[(s * n + i) * GROUPS * 128];
        total.x += x.x, total.y += x.y, total.z += x.z, total.w += x.w;
      }
      *(float4 *)&share[i * 4] = total;
    }
  }

  /* Four results of a token in a row, fewer at the end. */
  __device__ __forceinline__ void results_store(float4 x, int token, int col) const {
    const struct cuda_linear &a = m.linear;
    float *out = a.out + (size_t)token * a.out_cols + col;
    if (m.fours) {
      *(float4 *)out = x;
      return;
    }
    if (col < a.result_cols) out[0] = x.x;
    if (col + 1 < a.result_cols) out[1] = x.y;
    if (col + 2 < a.result_cols) out[2] = x.z;
    if (col + 3 < a.result_cols) out[3] = x.w;
  }

  __device__ __forceinline__ float4 residuals_load(int token, int col) const {
    const struct cuda_linear &a = m.linear;
    if (!a.residual || token >= a.n_row) return {};
    const float *from = a.residual + (size_t)token * a.residual_cols + col;
    return m.fours ? *(const float4 *)from : four_at(from, 0, a.result_cols - col);
  }

  /* A warp: results of 16 tokens × 32 rows of the matrix, whose sums are in shared memory. CURVED: there is an
   * activation or a softcap; even a branch around them costs where each thread has 128 results. */
  template <bool GATED, bool CURVED>
  __device__ __forceinline__ void piece_finish(const float *sums, int token, int row) const {
    constexpr int lanes = GATED ? 4 : 8, rows = 32 / lanes, n = 16 / rows;
    const struct cuda_linear &a = m.linear;
    int lane = threadIdx.x % 32, within = lane % lanes * 4, col = result_col(a, row + within);
    if (col >= a.result_cols) return;
    token += lane / lanes, sums += lane / lanes * SUMS_STRIDE + within;
    float4 bias = {}, up_bias = {}, up = {}, residual[n];
#pragma unroll
    for (int i = 0; i < n; i++) residual[i] = residuals_load(token + i * rows, col);
    if (a.bias) bias = four_at(a.bias + row, within, a.matrix.rows - row);
    if (a.bias && GATED) up_bias = four_at(a.bias + row, within + GATE_RUN, a.matrix.rows - row);
#pragma unroll
    for (int i = 0; i < n; i++) {
      float4 x = *(const float4 *)(sums + i * rows * SUMS_STRIDE) + bias;
      if (GATED) up = *(const float4 *)(sums + i * rows * SUMS_STRIDE + GATE_RUN) + up_bias;
      x = CURVED ? result_of(a, x, up) : make_float4(x.x * a.factor, x.y * a.factor, x.z * a.factor, x.w * a.factor);
      if (a.residual) x = residual_add(a, x, residual[i]);
      if (token + i * rows < a.n_row) results_store(x, token + i * rows, col);
    }
  }

  /* From the sums of N rows of the matrix to results, 32 rows at a time by way of shared memory: so stores are of whole
   * lines, and the code is a loop that fits the instruction cache. */
  template <int N> __device__ __forceinline__ void tile_finish(const float (&sum)[N / 2], int token, int row) const {
    int lane = threadIdx.x % 32;
    float *sums = r.sums + (threadIdx.x / 32 - 4) * 16 * S::stride,
          *mine = sums + lane / 4 * SUMS_STRIDE + lane % 4 * 2;
#pragma unroll 1
    for (int piece = 0; piece < N / 32; piece++) {
#pragma unroll
      for (int i = 0; i < N / 2; i += 2)
        if (i / 16 == piece)
          *(float2 *)(mine + i / 2 % 2 * 8 * SUMS_STRIDE + i % 16 / 4 * 8) = make_float2(sum[i], sum[i + 1]);
      __syncwarp();
      if (m.linear.gated)
        piece_finish<true, true>(sums, token, row + piece * 32);
      else if (m.linear.act || m.linear.softcap > 0)
        piece_finish<false, true>(sums, token, row + piece * 32);
      else
        piece_finish<false, false>(sums, token, row + piece * 32);
      __syncwarp();
    }
  }

  /* FINISH_ROWS, a warp: by way of shared memory, so that whole lines are stored; `run` rows of the matrix at once, in
   * runs of 8 that are permuted by the token, so that lanes meet banks of their own. The next residuals are asked for
   * before results are stored. */
  template <bool RESIDUAL>
  __device__ __forceinline__ void rows_finish(const float (&sum)[COLS / 2], int token, int row) const {
    constexpr int run = S::run, lanes = run / 4, step = 32 / lanes, n = 16 / step;
    const struct cuda_linear &a = m.linear;
    int lane = threadIdx.x % 32, mine = lane / lanes, within = lane % lanes;
    float *sums = r.sums + (threadIdx.x / 32 - 4) * 16 * run;
    float *out = a.out + (size_t)(token + mine) * a.out_cols + row + within * 4;
    const float *from = RESIDUAL ? a.residual + (size_t)(token + mine) * a.residual_cols + row + within * 4 : nullptr;
    int there = a.n_row - token - mine; /* tokens from the lane's first on */
    float4 residual[n] = {};
#pragma unroll
    for (int i = 0; RESIDUAL && i < n; i++)
      if (i * step < there) residual[i] = *(const float4 *)(from + (size_t)i * step * a.residual_cols);
#pragma unroll
    for (int at = 0; at < COLS; at += run) {
      if (row + at >= a.matrix.rows) break;
#pragma unroll
      for (int j = 0; j < run / 8; j++) {
        const float *x = &sum[(at / 8 + j) * 4];
        float *to = sums + lane / 4 * run + (j ^ lane / 4 % (run / 8)) * 8 + lane % 4 * 2;
        *(float2 *)to = make_float2(x[0], x[1]);
        *(float2 *)(to + 8 * run) = make_float2(x[2], x[3]);
      }
      __syncwarp();
#pragma unroll
      for (int i = 0; i < n; i++) {
        int t = i * step + mine;
        float4 x = *(const float4 *)(sums + t * run + (within / 2 ^ t % (run / 8)) * 8 + within % 2 * 4);
        x.x *= a.factor, x.y *= a.factor, x.z *= a.factor, x.w *= a.factor;
        if (RESIDUAL) x = x + residual[i];
        if (RESIDUAL && at + run < COLS && row + at + run < a.matrix.rows && i * step < there)
          residual[i] = *(const float4 *)(from + (size_t)i * step * a.residual_cols + at + run);
        if (i * step < there) *(float4 *)(out + (size_t)i * step * a.out_cols + at) = x;
      }
      __syncwarp();
    }
  }

  /* FINISH_GATED: runs of 16 rows of the gate and of up, which a thread has side by side, become 32 bytes of a token in
   * the tiles that cuda_linear_prepare would make. Of two neighbours one stores of the first chunk of 16 bytes, the
   * other of the second. */
  __device__ __forceinline__ void gated_finish(const float (&sum)[COLS / 2], int token, int row) const {
    const struct cuda_linear &a = m.linear;
    int lane = threadIdx.x % 32, odd = lane % 2, n_piece = a.result_cols / 64;
    token += lane / 4;
    uint8_t *tile = (uint8_t *)a.next_fragments + (size_t)(token / 64) * n_piece * TOKENS_BYTES + token % 64 * 128 +
                    lane % 4 / 2 * 8;
#pragma unroll
    for (int at = 0; at < COLS; at += 2 * GATE_RUN) {
      if (row + at >= a.matrix.rows) break;
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

  __device__ void tiles_multiply() const {
    int group = threadIdx.x / 128 - 1, at = 0;
    dependencies_wait(); /* for residuals, and for who still reads what is written here */
    for (int tile = first; tile < n_tile; tile += step) {
      place p = place_at(tile);
      float sum[COLS / 2];
      tile_multiply(sum, group, at);
      int token = p.tall * S::tokens + group * 64 + threadIdx.x / 32 % 4 * 16;
      if constexpr (SPLIT > 1) {
        float share[COLS / SPLIT / 2];
        parts_add(share, sum);
        tile_finish<COLS / SPLIT>(share, token, p.strip * 16 + rank * (COLS / SPLIT));
      } else if (S::large && m.finish == FINISH_GATED) {
        gated_finish(sum, token, p.strip * 16);
      } else if (S::large && m.finish == FINISH_ROWS) {
        if (m.linear.residual)
          rows_finish<true>(sum, token, p.strip * 16);
        else
          rows_finish<false>(sum, token, p.strip * 16);
      } else {
        tile_finish<COLS>(sum, token, p.strip * 16);
      }
    }
  }
};

template <int GROUPS, int COLS, int PAIR, int SPLIT>
__global__ void __launch_bounds__((GROUPS + 1) * 128, GROUPS == 1 ? 2 : 1) linear_many(const __grid_constant__ many m) {
  extern __shared__ __align__(1024) uint8_t shared[];
  using S = shape<GROUPS, COLS, PAIR, SPLIT>;
  worker<GROUPS, COLS, PAIR, SPLIT> w(m, shared);
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
    if (GROUPS > 1) registers_release<56>();
    if (threadIdx.x < 32) w.weights_stream();
    if (threadIdx.x == 32) w.tokens_stream();
    __syncwarp();
    if (SPLIT > 1) cluster_meet(), cluster_meet(); /* with parts_add */
  } else {
    if (GROUPS > 1) registers_claim<224>();
    w.tiles_multiply();
  }
  if (S::cluster > 1) cluster_meet(); /* nobody leaves whom others still write to */
}

inline bool fours_aligned(const float *rows, int cols) { return (uintptr_t)rows % 16 == 0 && cols % 4 == 0; }

inline bool fours_of(const struct cuda_linear &a) {
  return a.result_cols % 4 == 0 && fours_aligned(a.out, a.out_cols) && fours_aligned(a.residual, a.residual_cols);
}

inline enum finish finish_of(const many &m) {
  const struct cuda_linear &a = m.linear;
  if (a.next_fragments) return FINISH_GATED;
  bool sums = !a.gated && !a.act && !(a.softcap > 0) && !a.bias && !a.multiply;
  return sums && m.fours && a.matrix.rows % 64 == 0 ? FINISH_ROWS : FINISH_ANY;
}

} // namespace

#endif
