/* Linears over weights of 4 and 8 bits for LINEAR_WIDE to 128 tokens: the kernel of linear_coded_wide.cu. Weights
 * stream once.
 *
 * They are the A operand of warpgroup products (64 rows × 16 columns), made in registers of what cuda_layout.h packs,
 * whose order within a warp is that operand's: each warp has a strip of 16 rows, and brings its codes into a ring of
 * its own, RUN pieces at a copy. Tokens are the B operand: tiles of 64 columns as cuda_linear_prepare and the linear
 * before leave them, brought by a warp beside the others into a ring that all read. While the matrix units multiply two
 * steps of 16 columns a warp makes the next two.
 *
 * Four bits: a code becomes code × scale + minimum, rounded to bf16 once, with scale and minimum rounded before: what
 * an expanded matrix (coded_expand.cu) has of a code, give or take a rounding. So sums stay in the matrix units to the
 * end. Eight bits are exact; their rows' scales come at the end.
 *
 * Where rows are few, the blocks of a cluster share the columns: each leaves its sums with the block that makes results
 * of them, which adds them in the order of the blocks.
 *
 * Two blocks fit a multiprocessor: those of the next linear fill their rings while those of this one end (programmatic
 * dependent launch). Bound: the read of the weights; of 128 tokens the matrix units. */
#ifndef SPATE_BACKEND_CUDA_CODED_WIDE_CUH
#define SPATE_BACKEND_CUDA_CODED_WIDE_CUH

#include "backend/cuda/coded_operand.cuh"
#include "backend/cuda/linear_fragments.cuh"
#include "backend/cuda/adapter_end.cuh"
#include "backend/cuda/linear_result.cuh"
#include "backend/cuda/matrix_group.cuh"

namespace coded_wide {

enum { LINE = 128 /* bytes of a token in a tile */, TILE_BYTES = 64 * LINE };

struct wide {
  struct cuda_linear linear;
  const uint8_t *tokens;       /* [64 tokens][64 columns][TILE_BYTES] */
  int n_strip, n_piece, unit;  /* unit: strips that go together: a gate's and its up's */
  int piece_bytes, head_bytes; /* head: a strip's F32 scales of rows */
  int parts;                   /* blocks that share the columns */
  scale_shape scales;
};

/* TOKENS: at most; GROUPS: warpgroups that multiply, of 64 rows each, a strip a warp. */
template <typename C, int TOKENS, int GROUPS> struct shape {
  static constexpr int warps = GROUPS * 4, threads = warps * 32, tiles = TOKENS / 8;
  static constexpr int resident = TOKENS <= 64 ? 2 : 1, stage_bytes = TOKENS * LINE;
  static constexpr int run_bytes = C::run * C::slot_bytes;
  static constexpr int room = (228 / resident - 1) * 1024 - 2048; /* beside barriers and scales */
  static constexpr int most = room / 2 / (warps * run_bytes), slots = most < 2 ? 2 : most < 8 ? most : 8;
  static constexpr int left = (room - slots * warps * run_bytes) / stage_bytes, stages = left < 12 ? left : 12;
  static constexpr int ring_bytes = stages * stage_bytes + slots * warps * run_bytes;
  static constexpr int shared_bytes = 2048 + ring_bytes;
  static_assert(stages >= 3, "stages enough to hide a copy");
  static_assert(stages * 12 + warps * slots * 8 + TOKENS * 4 <= 2048, "room for barriers and scales");
  static_assert(warps * tiles * 512 + 8192 <= ring_bytes, "sums lie in the rings");
};

/* Computed by here: to the compiler a product's begin is no use of its registers. */
template <int N> __device__ __forceinline__ void operand_settle(uint32_t *a) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+r"(a[i])::"memory");
}

/* Of `count` that come, is a thread the last one? Orders nothing: for who has only read, by matrix units. (A release
 * would wait for all that the thread has in flight.) */
__device__ __forceinline__ bool place_take(uint32_t *left, int count) {
  uint32_t before;
  asm volatile("atom.relaxed.cta.shared::cta.inc.u32 %0, [%1], %2;"
               : "=r"(before)
               : "r"(shared_address(left)), "r"(count - 1)
               : "memory");
  return before == count - 1;
}

/* Divisions of numbers below 2,048 by others up to 256: by a product. */
__device__ __forceinline__ uint32_t divisor(int by) { return ((1u << 20) + by - 1) / by; }
__device__ __forceinline__ int quotient(int x, uint32_t divisor) { return (int)((uint32_t)x * divisor >> 20); }

struct turn {
  int slot;
  uint32_t phase;
};

template <int SLOTS> __device__ __forceinline__ void turn_next(turn &t) {
  if (++t.slot == SLOTS) t.slot = 0, t.phase ^= 1;
}

template <typename C, int TOKENS, int GROUPS> struct worker {
  using S = shape<C, TOKENS, GROUPS>;
  const wide &f;
  uint64_t *full, *codes; /* [stages], [warp][slots] */
  uint32_t *left;         /* [stages]: warps that are done with the tile */
  float *scale;           /* [token]: what products are multiplied by: of a norm that the input still lacks */
  uint8_t *stage, *slot;  /* [stages], [warp][slots] */
  float4 *sums;           /* in their place at the end: [part][chunk][lane] */
  int part, strip, n;     /* the block's strips */
  int first, end;         /* and pieces */
  int units, n_item;      /* of results */
  uint32_t by_parts, by_units, by_items;

  __device__ worker(const wide &f, uint8_t *shared) : f(f) {
    full = (uint64_t *)shared, codes = full + S::stages;
    scale = (float *)(codes + S::warps * S::slots), left = (uint32_t *)(scale + TOKENS);
    stage = shared + 2048, slot = stage + S::stages * S::stage_bytes;
    sums = (float4 *)stage;
    int group = blockIdx.x / f.parts, n_group = gridDim.x / f.parts, all = f.n_strip / f.unit;
    part = f.parts > 1 ? cluster_rank() : 0;
    strip = all * group / n_group * f.unit;
    n = all * (group + 1) / n_group * f.unit - strip;
    first = piece_of(part), end = piece_of(part + 1);
    units = n / f.unit, n_item = units * S::tiles;
    by_parts = divisor(f.parts), by_units = divisor(units), by_items = divisor(n_item);
  }

  /* A block's first piece: whole copies, but at the end. */
  __device__ __forceinline__ int piece_of(int part) const {
    return min(f.n_piece, (f.n_piece + C::run - 1) / C::run * part / f.parts * C::run);
  }

  __device__ void barriers_begin() const {
    for (int i = threadIdx.x; i < S::stages; i += S::threads) {
      barrier_init(&full[i], 1);
      left[i] = 0;
    }
    for (int i = threadIdx.x; i < S::warps * S::slots; i += S::threads) barrier_init(&codes[i], 1);
    barriers_publish();
  }

  /* --- tokens ------------------------------------------------------------------------------------------------------
   */

  /* A thread. tile: of 64 columns. */
  __device__ __forceinline__ void tile_ask(int tile, int at) const {
    int rows = (f.linear.n_row + 7) / 8 * 8, n_tile = f.n_piece * 2;
    barrier_expect(&full[at], rows * LINE);
#pragma unroll
    for (int i = 0; i < (TOKENS + 63) / 64; i++)
      if (rows > i * 64)
        bulk_copy_kept(stage + at * S::stage_bytes + i * TILE_BYTES,
                       f.tokens + ((size_t)i * n_tile + tile) * TILE_BYTES, min(64, rows - i * 64) * LINE, &full[at]);
  }

  /* A warp is done with a tile: the last one asks for what comes next into its place. */
  __device__ __forceinline__ void tile_leave(int tile, int at) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0 && place_take(&left[at], S::warps) && tile + S::stages < 2 * end)
      tile_ask(tile + S::stages, at);
  }

  /* Of squares that the linear before has left: the scales of the block's tokens, a warp's each. */
  __device__ __forceinline__ void scales_make() const {
    constexpr int each = TOKENS < 64 ? 2 : 4;
    const struct cuda_linear &a = f.linear;
    int lane = threadIdx.x % 32, n = a.n_square / 4, end = quotient(items_before(part + 1) + units - 1, by_units) * 8;
    for (int token = quotient(items_before(part), by_units) * 8 + threadIdx.x / 32 * each; token < end;
         token += S::warps * each) {
      const float4 *from = (const float4 *)a.squares + (size_t)token * n;
      float sum[each] = {};
#pragma unroll 2
      for (int at = lane; at < n && a.squares; at += 32) {
        float4 x[each];
#pragma unroll
        for (int i = 0; i < each; i++) x[i] = token + i < a.n_row ? from[i * n + at] : make_float4(0, 0, 0, 0);
#pragma unroll
        for (int i = 0; i < each; i++) sum[i] += (x[i].x + x[i].y) + (x[i].z + x[i].w);
      }
#pragma unroll
      for (int i = 0; i < each; i++) {
#pragma unroll
        for (int step = 16; step > 0; step /= 2) sum[i] += __shfl_xor_sync(~0u, sum[i], step);
        if (lane == 0) scale[token + i] = a.squares ? rsqrtf(sum[i] / a.matrix.cols + a.eps) : 1;
      }
    }
  }

  /* --- products ----------------------------------------------------------------------------------------------------
   */

  /* A thread: the warp's next pieces, into a slot. */
  __device__ __forceinline__ void run_ask(int piece, int at) const {
    const struct cuda_matrix &m = f.linear.matrix;
    int warp = threadIdx.x / 32, to = warp * S::slots + at;
    if (piece >= end || warp >= n) return;
    uint32_t bytes = min(C::run, end - piece) * f.piece_bytes;
    barrier_expect(&codes[to], bytes);
    bulk_copy(slot + to * S::run_bytes,
              m.data + (size_t)(strip + warp) * m.strip_bytes + f.head_bytes + (size_t)piece * f.piece_bytes, bytes,
              &codes[to], policy_evict_first());
  }

  /* Four steps of 16 columns, two at a time, with a tile of tokens: half of a piece. */
  __device__ __forceinline__ void tile_multiply(float (&sum)[TOKENS / 2], const uint8_t *piece, int half,
                                                const turn &at) const {
    uint32_t a[2][8]; /* operands of products on their way stay as they are */
    uint64_t x = rows_operand(shared_address(stage) + at.slot * S::stage_bytes);
    typename C::scales scales;
    barrier_wait(&full[at.slot], at.phase);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      typename C::words words;
      C::words_load(words, piece, half * 2 + i);
      if (i == 0 || C::groups > 1) C::scales_load(scales, piece, f.scales, half * 2 + i);
      products_wait<1>();
#pragma unroll
      for (int k = 0; k < 2; k++) C::operand_make(a[i] + 4 * k, words, scales, k);
      operand_settle<8>(a[i]);
      products_begin();
#pragma unroll
      for (int k = 0; k < 2; k++) group_add<TOKENS>(sum, a[i] + 4 * k, x + 2 * (i * 2 + k));
      products_group();
    }
  }

  /* A piece, which is two tiles wide. At an end of a loop nothing is on its way: what were would keep the compiler from
   * letting products run beside what makes the operands of others. Not unrolled, so that caches of instructions hold
   * it. */
  __device__ __forceinline__ void piece_multiply(float (&sum)[TOKENS / 2], const uint8_t *from, int tile,
                                                 turn &at) const {
#pragma unroll 1
    for (int half = 0; half < 2; half++, turn_next<S::stages>(at)) {
      tile_multiply(sum, from, half, at);
      products_wait<0>();
      tile_leave(tile + half, at.slot);
    }
  }

  __device__ __forceinline__ void pieces_multiply(float (&sum)[TOKENS / 2]) const {
    turn at = {0, 0}, mine = {0, 0};
    int warp = threadIdx.x / 32;
    for (int run = first; run < end; run += C::run) {
      int place = warp * S::slots + mine.slot;
      if (warp < n) barrier_wait(&codes[place], mine.phase);
      const uint8_t *from = slot + place * S::run_bytes;
#pragma unroll 1
      for (int piece = run; piece < min(run + C::run, end); piece++, from += f.piece_bytes)
        piece_multiply(sum, from, 2 * piece, at);
      if (threadIdx.x % 32 == 0) run_ask(run + S::slots * C::run, mine.slot);
      turn_next<S::slots>(mine);
    }
  }

  /* --- from sums to results -----------------------------------------------------------------------------------------
   * An item is a unit's sums of 8 tokens; each block of the cluster makes a run of them, which go by tokens first. */

  __device__ __forceinline__ int items_before(int block) const { return quotient(n_item * block, by_parts); }
  __device__ __forceinline__ int chunks() const { return quotient(n_item + f.parts - 1, by_parts) * f.unit; }

  /* Where a lane's four sums of 2 rows × 2 tokens lie among 32: this way neither who leaves them nor who takes those of
   * a token meets another on its banks. */
  static __device__ __forceinline__ int four_at(int row, int pair) { return pair * 8 + (row ^ pair * 2); }

  __device__ __forceinline__ void sums_leave(const float (&sum)[TOKENS / 2]) const {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, within = four_at(lane / 4, lane % 4);
    if (warp >= n) return;
#pragma unroll
    for (int i = 0; i < S::tiles; i++) {
      int item = i * units + (warp >> f.unit - 1), block = quotient((item + 1) * f.parts - 1, by_items);
      int chunk = (item - items_before(block)) * f.unit + (warp & f.unit - 1);
      float4 four = *(const float4 *)&sum[i * 4];
      float4 *to = sums + (part * chunks() + chunk) * 32 + within;
      if (f.parts > 1)
        store_in(address_in(shared_address(to), block), four);
      else
        *to = four;
    }
  }

  /* Of a pair of tokens. */
  __device__ __forceinline__ float2 total_of(int chunk, int pair, int row) const {
    const float2 *from = (const float2 *)(sums + chunk * 32 + four_at(row % 8, pair)) + row / 8;
    float2 total = *from;
    for (int p = 1; p < f.parts; p++) {
      float2 more = from[p * chunks() * 64];
      total.x += more.x, total.y += more.y;
    }
    return total;
  }

  /* What the results of a row and a pair of tokens take beside their products. */
  struct extras {
    float scale, scale_up, bias, bias_up, next_norm, residual[2];
    int token, col, chunk, n; /* n: tokens that there are */
  };

  /* Half a warp has 16 columns of a pair. */
  __device__ __forceinline__ extras extras_load(int i) const {
    const struct cuda_linear &a = f.linear;
    const struct cuda_matrix &m = a.matrix;
    int item = items_before(part) + i / 64, tile = quotient(item, by_units), unit = item - tile * units;
    int within = i % 16, row = (strip + unit * f.unit) * 16 + within;
    extras e = {1, 1, 0, 0, 1, {0, 0}};
    e.token = tile * 8 + i / 16 % 4 * 2, e.col = ((strip >> f.unit - 1) + unit) * 16 + within;
    e.chunk = i / 64 * f.unit;
    e.n = item < items_before(part + 1) && e.col < a.result_cols ? min(2, a.n_row - e.token) : 0;
    if (e.n <= 0) return e;
    const uint8_t *data = m.data + (size_t)(row / 16) * m.strip_bytes;
    if (f.head_bytes) e.scale = ((const float *)data)[within];
    if (f.head_bytes && a.gated) e.scale_up = ((const float *)(data + m.strip_bytes))[within];
    if (a.bias) e.bias = a.bias[row];
    if (a.bias && a.gated) e.bias_up = a.bias[row + GATE_RUN];
    if (a.next_norm) e.next_norm = a.next_norm[e.col];
#pragma unroll
    for (int k = 0; k < 2; k++)
      if (a.residual && k < e.n) e.residual[k] = a.residual[(size_t)(e.token + k) * a.residual_cols + e.col];
    return e;
  }

  /* A result as the next linear takes it; two columns are a word. */
  __device__ __forceinline__ void next_prepare(float x, float norm, int token, int col) const {
    const struct cuda_linear &a = f.linear;
    uint32_t half = 0xffffu << threadIdx.x % 32 / 16 * 16;
    float y = x * norm, beside = __shfl_xor_sync(half, y, 1), square = x * x;
    if (col % 2 == 0)
      ((uint32_t *)a.next_fragments)[tile_index(token, col, a.result_cols / 64) / 2] = pair_round(y, beside);
    if (!a.next_squares) return;
#pragma unroll
    for (int step = 8; step > 0; step /= 2) square += __shfl_xor_sync(half, square, step);
    if (col % 16 == 0) a.next_squares[(size_t)token * (a.result_cols / 16) + col / 16] = square;
  }

  __device__ __forceinline__ void results_make(const extras &e, int i) const {
    const struct cuda_linear &a = f.linear;
    int pair = i / 16 % 4, row = i % 16;
    if (e.n <= 0) return;
    float2 gates = total_of(e.chunk, pair, row), ups = {};
    if (a.gated) ups = total_of(e.chunk + 1, pair, row);
#pragma unroll
    for (int k = 0; k < 2; k++) {
      if (k >= e.n) break;
      float by = scale[e.token + k] * C::up;
      float gate = (k ? gates.y : gates.x) * by * e.scale, up = (k ? ups.y : ups.x) * by * e.scale_up;
      if (a.rows.use) {
        int at = result_row(a, e.col);
        gate = product_adapt(a, e.token + k, at, gate);
        if (a.gated) up = product_adapt(a, e.token + k, at + GATE_RUN, up);
      }
      float x = result_of(a, gate + e.bias, up + e.bias_up);
      if (a.residual) x = residual_add(a, x, e.residual[k]);
      if (a.out) a.out[(size_t)(e.token + k) * a.out_cols + e.col] = x;
      if (a.next_fragments) next_prepare(x, e.next_norm, e.token + k, e.col);
    }
  }

  /* What results take is asked for some results ahead; the first of it before sums are there. */
  static constexpr int ahead = 2, step = S::warps * 32;

  __device__ __forceinline__ void extras_ask(extras (&e)[ahead], int i) const {
#pragma unroll
    for (int k = 0; k < ahead; k++) e[k] = extras_load(i + k * step);
  }

  __device__ __forceinline__ void results_make(extras (&e)[ahead]) const {
    int n_result = (items_before(part + 1) - items_before(part)) * 64;
#pragma unroll 1
    for (int i = threadIdx.x; i < n_result; i += ahead * step) {
#pragma unroll
      for (int k = 0; k < ahead; k++) results_make(e[k], i + k * step);
      extras_ask(e, i + ahead * step);
    }
  }

  __device__ __forceinline__ void blocks_meet() const {
    __syncwarp();
    if (f.parts > 1)
      cluster_meet();
    else
      __syncthreads();
  }
};

template <typename C, int TOKENS, int GROUPS>
__global__ void __launch_bounds__(GROUPS * 128, shape<C, TOKENS, GROUPS>::resident)
    linear_coded_wide(const __grid_constant__ wide f) {
  extern __shared__ __align__(1024) uint8_t shared[];
  using S = shape<C, TOKENS, GROUPS>;
  worker<C, TOKENS, GROUPS> w(f, shared);
  w.barriers_begin();
  __syncthreads();
  dependents_launch();
  if (threadIdx.x % 32 == 0)
    for (int i = 0; i < S::slots; i++) w.run_ask(w.first + i * C::run, i);
  __syncwarp();
  dependencies_wait();
  if (threadIdx.x == 0)
    for (int i = 0; i < min(S::stages, 2 * (w.end - w.first)); i++) w.tile_ask(2 * w.first + i, i);
  __syncwarp();
  w.scales_make();
  float sum[TOKENS / 2] = {};
  w.pieces_multiply(sum);
  w.blocks_meet(); /* nobody reads the rings any more */
  w.sums_leave(sum);
  typename worker<C, TOKENS, GROUPS>::extras extras[w.ahead];
  w.extras_ask(extras, threadIdx.x);
  w.blocks_meet(); /* sums are there */
  w.results_make(extras);
}

} // namespace coded_wide

#endif
