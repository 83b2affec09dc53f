/* Latent attention on Hopper (DeepSeek): one key of 576 numbers a token for all query heads, whose last 512 are the
 * value, in rows of 16 bits. Packed queries (heads of a token, then of the next) are 16 or 32 rows of the matrix units'
 * A operand, so that a row of the cache comes from device memory once for as many heads.
 *
 * A block a multiprocessor takes its share of the work list (attend_split.h). Two tiles of 64 keys lie in shared
 * memory, in panels as in attend.cuh, which the threads' own copies swizzle on their way: while one is multiplied the
 * other comes in. Scores: of 8 warps each has 16 keys and half of the dimensions; the halves meet in shared memory,
 * where each warp takes some rows through a step of the softmax; then each warp adds the weights' sums of 64 of the
 * value's dimensions. Pieces of 256 keys have sums of their own, joined in order as in attend_decode.cu, so bytes
 * depend on the token alone. Rows of the batch with many packed queries are not split: blocks take their units in turn.
 */
#include "backend/cuda/attend_fresh.cuh"
#include "backend/cuda/attend_parts.cuh"
#include "backend/cuda/launch.cuh"
#include "backend/cuda/portable/instructions.cuh"

#include <climits>

namespace {

typedef portable::sm80 copier;

enum {
  KEY = LATENT_KEY,
  VALUE = LATENT_VALUE,
  FIRST = KEY - VALUE, /* dimensions of a query that lie apart */
  TILE = 64,
  PER_PIECE = ATTEND_PIECE / TILE,
  STAGES = 2,
  STAGE = TILE * KEY * 2,
  THREADS = WARPS * 32,
  STRIDE = TILE + 8,   /* of scores and weights: without bank conflicts */
  STEPS = KEY / 16 / 2 /* of 16 dimensions, of half a key */
};
static_assert(VALUE == WARPS * 64 && FIRST == 64, "each warp has a panel of the value");
static_assert(STAGES * STAGE >= (int)sizeof(staged), "joining stages its rows of parts in the ring");

template <int ROWS> struct shared {
  uint8_t *ring, *query; /* [STAGES][STAGE]; a panelled matrix */
  float *score;          /* [2][ROWS][STRIDE] of half the dimensions each */
  uint16_t *weight;      /* [ROWS][STRIDE] */
  float *shrink;         /* [ROWS] by what sums before the tile are multiplied; of results, at last */
  float2 *factor;        /* [ROWS] that join a piece's sums */
  work *now;
  static constexpr int bytes =
      STAGES * STAGE + ROWS * KEY * 2 + 2 * ROWS * STRIDE * 4 + ROWS * STRIDE * 2 + ROWS * 12 + (int)sizeof(work);
  static_assert(bytes <= 227 * 1024, "a block's shared memory");
};

template <int ROWS> __device__ shared<ROWS> shared_lay(uint8_t *base) {
  shared<ROWS> m;
  m.ring = base;
  m.query = base + STAGES * STAGE;
  m.score = (float *)(m.query + ROWS * KEY * 2);
  m.weight = (uint16_t *)(m.score + 2 * ROWS * STRIDE);
  m.factor = (float2 *)(m.weight + ROWS * STRIDE);
  m.shrink = (float *)(m.factor + ROWS);
  m.now = (work *)(m.shrink + ROWS);
  return m;
}

/* --- tokens --------------------------------------------------------------------------------------------------------
 */

/* Number d of a head whose first numbers are x, rotated. */
__device__ __forceinline__ float turned(const cuda_attend &a, const float *x, const float2 *angle, int d) {
  int pairs = a.rope_style ? a.rope_dim / 2 : 0;
  if (d >= 2 * pairs) return x[d];
  bool neighbours = a.rope_style == ROTATE_PAIRS;
  int i = neighbours ? d / 2 : d % pairs, low = neighbours ? 2 * i : i, high = neighbours ? low + 1 : i + pairs;
  float c = angle[i].x * a.rope_scale, sine = angle[i].y * a.rope_scale;
  return d == low ? __fmaf_rn(x[low], c, -__fmul_rn(x[high], sine)) : __fmaf_rn(x[low], sine, __fmul_rn(x[high], c));
}

/* Where a token of a row is in the cache. */
__device__ __forceinline__ uint8_t *token_at(const cuda_attend &a, const uint32_t *table, int head, int token) {
  uint32_t within = (uint32_t)token / (uint32_t)a.block_size, at = token - within * a.block_size;
  size_t block = ((size_t)table[within] * a.n_layer + a.layer) * a.n_kv_head + head;
  return a.cache + (block * a.block_size + at) * (KEY * 2);
}

/* A block for each token and KV head, a thread for two numbers. */
template <typename T> __global__ void __launch_bounds__(KEY / 2) store(cuda_attend a, cuda_batch batch) {
  int token = blockIdx.x, h = blockIdx.y, i = threadIdx.x * 2, row = batch.token_row[token];
  dependents_launch();
  cuda_row r = batch.row[row];
  if (r.count == 0) return;
  const float *from = a.in + (size_t)token * a.in_cols + (size_t)(a.n_head + h) * KEY;
  uint8_t *to = token_at(a, table_of(a, batch, r), h, r.length + token - r.first);
  dependencies_wait();
  const float2 *angle = fresh_angle(a, token);
  ((uint32_t *)to)[threadIdx.x] = T::pair(turned(a, from, angle, i), turned(a, from, angle, i + 1));
}

/* The unit's queries, a warp for each; zeros where there are no more. */
template <typename T, int ROWS>
__device__ void queries_make(const cuda_attend &a, const segment &s, const shared<ROWS> &m) {
  int g = queries_of(a), lane = threadIdx.x % 32;
  float scale = query_scale(a);
  uint16_t *to = (uint16_t *)m.query;
  for (int row = threadIdx.x / 32; row < ROWS; row += WARPS) {
    int packed = s.chunk * ROWS + row, token = packed / g, head = s.head * g + packed % g;
    bool there = token < s.r.count;
    const float *in = a.in + (size_t)(s.r.first + (there ? token : 0)) * a.in_cols, *first = in + head * FIRST,
                *rest = in + a.n_head * FIRST + (size_t)head * VALUE;
    const float2 *angle = fresh_angle(a, s.r.first + (there ? token : 0));
    *(uint32_t *)(to + panel_index(KEY, ROWS, row, 2 * lane)) =
        there ? T::pair(turned(a, first, angle, 2 * lane) * scale, turned(a, first, angle, 2 * lane + 1) * scale) : 0;
#pragma unroll
    for (int i = 0; i < VALUE / 64; i++) {
      float2 x = there ? *(const float2 *)(rest + i * 64 + 2 * lane) : make_float2(0, 0);
      *(uint32_t *)(to + panel_index(KEY, ROWS, row, FIRST + i * 64 + 2 * lane)) = T::pair(x.x * scale, x.y * scale);
    }
  }
}

/* A tile's keys that are in sight are asked for, the others are zeros; a thread has a chunk of 16 bytes of each panel
 * of two tokens. */
__device__ __forceinline__ void tile_ask(const cuda_attend &a, const uint32_t *table, const segment &s, int tile,
                                         uint8_t *stage) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int token = threadIdx.x / 32 * 8 + i * 4 + lane / 8, key = tile * TILE + token;
    bool there = key >= s.seen.begin && key < s.seen.end;
    const uint8_t *from = (there ? token_at(a, table, s.head, key) : a.cache) + lane % 8 * 16;
    uint8_t *to = stage + token * 128 + ((lane % 8 ^ token % 8) << 4);
#pragma unroll
    for (int p = 0; p < KEY / 64; p++) copier::copy(to + p * 128 * TILE, from + p * 128, there);
  }
}

/* --- a tile --------------------------------------------------------------------------------------------------------
 */

/* Scores of the warp's 16 keys over its half of the dimensions; every second step of a product has sums of its own, so
 * that fewer wait for one another. */
template <typename T, int ROWS> __device__ __forceinline__ void keys_multiply(const shared<ROWS> &m, uint32_t stage) {
  constexpr int blocks = ROWS / 16;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, half = warp / 4;
  int r = warp % 4 * 16 + lane / 16 * 8 + lane % 8, odd = lane / 8 % 2;
  uint32_t query = shared_address(m.query) + lane % 16 * 128, keys = stage + r * 128;
  float score[2][blocks][2][4] = {};
#pragma unroll
  for (int i = 0; i < STEPS; i++) {
    int k = half * STEPS + i, panel = k / 4, chunk = k % 4 * 2;
    uint32_t b[4];
    matrices_load(b, keys + panel * 128 * TILE + ((chunk + odd ^ r % 8) << 4));
#pragma unroll
    for (int n = 0; n < blocks; n++) {
      uint32_t q[4];
      matrices_load(q, query + panel * 128 * ROWS + n * 16 * 128 + ((chunk + lane / 16 ^ lane % 8) << 4));
      T::multiply(score[i % 2][n][0], q, b[0], b[1]);
      T::multiply(score[i % 2][n][1], q, b[2], b[3]);
    }
  }
#pragma unroll
  for (int n = 0; n < blocks; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      int row = n * 16 + lane / 4 + i % 2 * 8, col = warp % 4 * 16 + i / 2 * 8 + lane % 4 * 2;
      const float *even = score[0][n][i / 2] + i % 2 * 2, *odd_steps = score[1][n][i / 2] + i % 2 * 2;
      *(float2 *)(m.score + (half * ROWS + row) * STRIDE + col) =
          make_float2(__fadd_rn(even[0], odd_steps[0]), __fadd_rn(even[1], odd_steps[1]));
    }
}

/* What a warp knows about its rows; `piece`: of the piece at hand, of a lane's keys; `all`: of those before. */
template <int ROWS> struct rows {
  static constexpr int count = ROWS / WARPS;
  span seen[count];
  float highest[count], total[count];
  float all_highest[count], all_total[count];
};

template <int ROWS>
__device__ void rows_fill(const cuda_attend &a, const cuda_batch &batch, const segment &s, rows<ROWS> *r) {
#pragma unroll
  for (int i = 0; i < rows<ROWS>::count; i++) {
    int token = (s.chunk * ROWS + threadIdx.x / 32 * rows<ROWS>::count + i) / queries_of(a);
    r->seen[i] = token < s.r.count ? token_span(a, batch, s.r, token) : span{0, INT_MAX};
    r->highest[i] = r->all_highest[i] = -INFINITY;
    r->total[i] = r->all_total[i] = 0;
  }
}

/* A step of the softmax of the warp's rows; where the piece ends, what joins it to those before. */
template <typename T, int ROWS>
__device__ __forceinline__ void weights_make(const cuda_attend &a, const shared<ROWS> &m, int key, bool ends,
                                             rows<ROWS> *r) {
  constexpr int count = rows<ROWS>::count;
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < count; i++) {
    int row = threadIdx.x / 32 * count + i;
    float2 x = *(const float2 *)(m.score + row * STRIDE + 2 * lane);
    float2 y = *(const float2 *)(m.score + (ROWS + row) * STRIDE + 2 * lane);
    x = make_float2(__fadd_rn(x.x, y.x), __fadd_rn(x.y, y.y));
    if (a.softcap > 0) x = make_float2(score_cap(x.x, a.softcap), score_cap(x.y, a.softcap));
    int k = key + 2 * lane;
    if (k < r->seen[i].begin || k >= r->seen[i].end) x.x = -INFINITY;
    if (k + 1 < r->seen[i].begin || k + 1 >= r->seen[i].end) x.y = -INFINITY;
    float highest = fmaxf(x.x, x.y), before = r->highest[i];
    for (int step = 16; step > 0; step /= 2) highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, step));
    r->highest[i] = fmaxf(before, highest);
    float base = base_of(r->highest[i]), shrink = exp2_of(before - base);
    x = make_float2(exp2_of(x.x - base), exp2_of(x.y - base));
    r->total[i] = __fmaf_rn(r->total[i], shrink, x.x + x.y);
    *(uint32_t *)(m.weight + row * STRIDE + 2 * lane) = T::pair(x.x, x.y);
    if (lane == 0) m.shrink[row] = shrink;
    if (!ends) continue;
    float total = r->total[i];
    for (int step = 16; step > 0; step /= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
    r->total[i] = total;
    float2 factor = join_factors(&r->all_highest[i], r->highest[i]);
    r->all_total[i] = join(r->all_total[i], total, factor);
    if (lane == 0) m.factor[row] = factor;
  }
}

/* Sums of the warp's 64 dimensions: [16 rows][8 dimensions][4] as the matrix units have them. */
template <int ROWS> using sums = float[ROWS / 16][8][4];

template <int ROWS> __device__ __forceinline__ void sums_clear(sums<ROWS> &s) {
#pragma unroll
  for (int i = 0; i < ROWS / 16 * 32; i++) s[i / 32][i / 4 % 8][i % 4] = 0;
}

/* Row of sum [n][..][2 × half and + 1] in the unit. */
__device__ __forceinline__ int row_of(int n, int half) { return n * 16 + threadIdx.x % 32 / 4 + half * 8; }

template <typename T, int ROWS>
__device__ __forceinline__ void values_multiply(const shared<ROWS> &m, uint32_t stage, sums<ROWS> &s) {
  constexpr int blocks = ROWS / 16;
  int lane = threadIdx.x % 32;
  uint32_t weight = shared_address(m.weight + lane % 16 * STRIDE + lane / 16 * 8);
  uint32_t values = stage + (1 + threadIdx.x / 32) * 128 * TILE;
#pragma unroll
  for (int n = 0; n < blocks; n++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float shrink = m.shrink[row_of(n, half)];
#pragma unroll
      for (int c = 0; c < 8; c++)
        s[n][c][2 * half] = __fmul_rn(s[n][c][2 * half], shrink),
                    s[n][c][2 * half + 1] = __fmul_rn(s[n][c][2 * half + 1], shrink);
    }
#pragma unroll
  for (int k = 0; k < TILE / 32; k++) {
    uint32_t w[blocks][2][4];
#pragma unroll
    for (int n = 0; n < blocks; n++) {
      matrices_load(w[n][0], weight + n * 16 * STRIDE * 2 + k * 64);
      matrices_load(w[n][1], weight + n * 16 * STRIDE * 2 + k * 64 + 32);
    }
#pragma unroll
    for (int c = 0; c < 8; c++) {
      uint32_t v[4];
      matrices_load_turned(v, values + (k * 32 + lane) * 128 + ((c ^ lane % 8) << 4));
#pragma unroll
      for (int n = 0; n < blocks; n++) {
        T::multiply(s[n][c], w[n][0], v[0], v[1]);
        T::multiply(s[n][c], w[n][1], v[2], v[3]);
      }
    }
  }
}

/* --- units ---------------------------------------------------------------------------------------------------------
 */

template <int ROWS> __device__ void sums_join(const shared<ROWS> &m, sums<ROWS> &all, const sums<ROWS> &piece) {
#pragma unroll
  for (int n = 0; n < ROWS / 16; n++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float2 factor = m.factor[row_of(n, half)];
#pragma unroll
      for (int c = 0; c < 8; c++)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) all[n][c][i] = join(all[n][c][i], piece[n][c][i], factor);
    }
}

/* A cut unit's piece to its rows of parts. */
template <int ROWS> __device__ void piece_put(float *parts, int n_row, const rows<ROWS> &r, const sums<ROWS> &piece) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int n = 0; n < ROWS / 16; n++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      if (row_of(n, half) >= n_row) continue;
      float *to = parts + (size_t)row_of(n, half) * (VALUE + PART_TAIL) + warp * 64 + lane % 4 * 2;
#pragma unroll
      for (int c = 0; c < 8; c++)
        *(float2 *)(to + c * 8) = make_float2(piece[n][c][2 * half], piece[n][c][2 * half + 1]);
    }
#pragma unroll
  for (int i = 0; i < rows<ROWS>::count; i++) {
    int row = warp * rows<ROWS>::count + i;
    float *to = parts + (size_t)row * (VALUE + PART_TAIL) + VALUE;
    if (row >= n_row) continue;
    if (lane == 0) to[0] = r.highest[i];
    if (lane < 4) to[4 + lane] = lane == 0 ? r.total[i] : 0;
  }
}

template <int ROWS>
__device__ void results_put(const cuda_attend &a, const segment &s, const shared<ROWS> &m, const rows<ROWS> &r,
                            const sums<ROWS> &all) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_row = packed_rows<ROWS>(a, s), head;
#pragma unroll
  for (int i = 0; i < rows<ROWS>::count; i++) {
    int row = warp * rows<ROWS>::count + i;
    if (row >= n_row || lane > 0) continue;
    result_of<ROWS>(a, s, row, &head);
    m.shrink[row] = row_factor(a, head, r.all_highest[i], r.all_total[i]);
  }
  warps_meet();
#pragma unroll
  for (int n = 0; n < ROWS / 16; n++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      int row = row_of(n, half);
      if (row >= n_row) continue;
      float *to = result_of<ROWS>(a, s, row, &head) + warp * 64 + lane % 4 * 2, factor = m.shrink[row];
#pragma unroll
      for (int c = 0; c < 8; c++)
        *(float2 *)(to + c * 8) =
            make_float2(__fmul_rn(all[n][c][2 * half], factor), __fmul_rn(all[n][c][2 * half + 1], factor));
    }
}

/* Of a whole unit the results; otherwise its pieces' sums. All that was in shared memory has been read. */
template <typename T, int ROWS>
__device__ void segment_run(const cuda_attend &a, const cuda_batch &batch, const shared<ROWS> &m, const segment &s,
                            const cuda_cut *cut) {
  bool whole = s.begin == 0 && s.end == s.pieces;
  const uint32_t *table = table_of(a, batch, s.r);
  int n_row = packed_rows<ROWS>(a, s), tile = max(s.first_tile * (ATTEND_TILE / TILE), s.seen.begin / TILE);
  int last = min((s.first_tile + s.tiles) * (ATTEND_TILE / TILE), (s.seen.end + TILE - 1) / TILE), ask = tile;
  sums<ROWS> all, piece;
  rows<ROWS> r;
  auto next_ask = [&] {
    if (ask < last) tile_ask(a, table, s, ask, m.ring + ask % STAGES * STAGE);
    copier::copies_group();
    ask++;
  };
  for (int i = 0; i < STAGES; i++) next_ask();
  rows_fill(a, batch, s, &r);
  queries_make<T>(a, s, m);
  sums_clear<ROWS>(all);
  for (int p = s.begin; p < s.end; p++) {
    int end = min(last, (s.first_piece + p + 1) * PER_PIECE);
    sums_clear<ROWS>(piece);
#pragma unroll
    for (int i = 0; i < rows<ROWS>::count; i++) r.highest[i] = -INFINITY, r.total[i] = 0;
    for (bool any = tile < end; tile < end; tile++) {
      uint32_t stage = shared_address(m.ring + tile % STAGES * STAGE);
      copier::copies_wait<STAGES - 1>();
      warps_meet();
      keys_multiply<T>(m, stage);
      warps_meet();
      weights_make<T>(a, m, tile * TILE, tile + 1 == end, &r);
      warps_meet();
      values_multiply<T>(m, stage, piece);
      if (any && whole && tile + 1 == end) sums_join(m, all, piece);
      warps_meet();
      next_ask();
    }
    if (!whole) piece_put(a.parts + (cut->part + (size_t)p * n_row) * (VALUE + PART_TAIL), n_row, r, piece);
  }
  if (whole) results_put(a, s, m, r, all);
}

/* A chunk as a segment: a whole unit. */
template <int ROWS>
__device__ void unit_find(const cuda_attend &a, const cuda_batch &batch, const cuda_chunk &c, int head, segment *s) {
  *s = segment{c.row, c.chunk, head, 0};
  s->r = batch.row[c.row];
  segment_fill<ROWS>(a, batch, s);
  s->end = s->pieces;
  tiles_fill(s);
}

template <typename T, int ROWS, bool SPLIT>
__global__ void __launch_bounds__(THREADS, 1) attend(cuda_attend a, cuda_batch batch) {
  extern __shared__ __align__(1024) uint8_t base[];
  shared<ROWS> m = shared_lay<ROWS>(base);
  dependents_launch();
  dependencies_wait();
  if constexpr (SPLIT) {
    walk w = {a.cut[blockIdx.x], a.cut[blockIdx.x + 1]};
    share_run<VALUE, ROWS, LATENT_FEW>(a, batch, w, m.now, m.ring, [&](const segment &s, const cuda_cut &cut) {
      segment_run<T>(a, batch, m, s, &cut);
    });
  } else {
    for (int i = blockIdx.x; i < a.n_chunk * a.n_kv_head; i += gridDim.x) {
      if (threadIdx.x == 0) unit_find<ROWS>(a, batch, a.chunk[i / a.n_kv_head], i % a.n_kv_head, &m.now->s);
      warps_meet();
      if (m.now->s.r.count > 0) segment_run<T>(a, batch, m, m.now->s, nullptr);
      warps_meet();
    }
  }
}

template <typename T, int ROWS, bool SPLIT>
void attend_launch(const cuda_attend &a, const cuda_batch &batch, int blocks, cuda_stream stream) {
  early_launch(attend<T, ROWS, SPLIT>, launch_shape{blocks, THREADS, shared<ROWS>::bytes, 1}, stream, a, batch);
}

template <typename T> void latent_launch(const cuda_attend &a, const cuda_batch &batch, cuda_stream stream) {
  int units = a.n_chunk * a.n_kv_head;
  early_launch(store<T>, launch_shape{batch.n_token, KEY / 2, 0, 1, a.n_kv_head}, stream, a, batch);
  if (a.n_share > 0 && a.n_head / a.n_kv_head <= LATENT_ROWS / 2)
    attend_launch<T, LATENT_ROWS / 2, true>(a, batch, a.n_share, stream);
  else if (a.n_share > 0)
    attend_launch<T, LATENT_ROWS, true>(a, batch, a.n_share, stream);
  if (units > 0) attend_launch<T, LATENT_ROWS, false>(a, batch, units < a.n_block ? units : a.n_block, stream);
}

} // namespace

void cuda_attend_latent(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
  (attend->kv == CACHE_BF16 ? latent_launch<cache_bf16> : latent_launch<cache_f16>)(*attend, *batch, stream);
}
