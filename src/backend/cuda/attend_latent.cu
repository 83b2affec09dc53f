/* Latent attention on Hopper (DeepSeek): one key of 576 numbers a token for all query heads, whose last 512 are the
 * value, in rows of 16 bits. Packed queries (heads of a token, then of the next) are 16 or 32 rows of the matrix units'
 * A operand, so that a row of the cache comes from device memory once for as many heads.
 *
 * A block a multiprocessor takes its share of the work list (attend_split.h). Two tiles of 64 keys lie in shared
 * memory, in panels as in attend.cuh, which the threads' own copies swizzle on their way: while one is multiplied the
 * other comes in. Scores: of 16 warps each has 16 keys and a quarter of the dimensions; the quarters meet in shared
 * memory, where each warp takes a row or two through a step of the softmax; then each warp adds the weights' sums of 32
 * of the value's dimensions. What bounds a tile beside its bytes is that its steps wait for one another. Pieces of 256
 * keys have sums of their own, joined in order as in attend_decode.cu, so bytes depend on the token alone. Rows of the
 * batch with many packed queries are not split: blocks take their units to and fro. */
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
  ALL_WARPS = 16,
  THREADS = ALL_WARPS * 32,
  QUARTERS = 4,
  STEPS = KEY / 16 / QUARTERS,    /* of 16 dimensions */
  EIGHTS = VALUE / ALL_WARPS / 8, /* of the value's dimensions, of a warp */
  STRIDE = TILE + 8,              /* of scores and weights: without bank conflicts */
  PART = VALUE + PART_TAIL,       /* floats of a row of parts */
  JOIN_THREADS = VALUE / 4        /* of a row that is joined */
};
static_assert(EIGHTS == 4 && FIRST == 64, "two warps have a panel of the value");
static_assert(TILE * QUARTERS == ALL_WARPS * 16, "each warp has 16 keys and a quarter");

__device__ __forceinline__ void all_meet() { warps_meet<ALL_WARPS>(); }

template <int ROWS> struct shared {
  uint8_t *ring, *query; /* [STAGES][STAGE]; a panelled matrix */
  float *score;          /* [QUARTERS][ROWS][STRIDE] */
  uint16_t *weight;      /* [ROWS][STRIDE] */
  float *shrink;         /* [ROWS] by what sums before the tile are multiplied; of results, at last */
  float2 *factor;        /* [ROWS] that join a piece's sums */
  work *now;
  static constexpr int bytes = STAGES * STAGE + ROWS * KEY * 2 + QUARTERS * ROWS * STRIDE * 4 + ROWS * STRIDE * 2 +
                               ROWS * 12 + (int)sizeof(work);
  static_assert(bytes <= 227 * 1024, "a block's shared memory");
};

template <int ROWS> __device__ shared<ROWS> shared_lay(uint8_t *base) {
  shared<ROWS> m;
  m.ring = base;
  m.query = base + STAGES * STAGE;
  m.score = (float *)(m.query + ROWS * KEY * 2);
  m.weight = (uint16_t *)(m.score + QUARTERS * ROWS * STRIDE);
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
  float scale = query_scale(a, 0);
  uint16_t *to = (uint16_t *)m.query;
  for (int row = threadIdx.x / 32; row < ROWS; row += ALL_WARPS) {
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

/* What a thread copies of a tile: a chunk of 16 bytes of each panel of a token; NULL: zeros. */
__device__ __forceinline__ const uint8_t *tile_find(const cuda_attend &a, const uint32_t *table, const segment &s,
                                                    int tile) {
  int key = tile * TILE + threadIdx.x / 8;
  if (key < s.seen.begin || key >= s.seen.end) return nullptr;
  return token_at(a, table, s.head, key) + threadIdx.x % 8 * 16;
}

__device__ __forceinline__ void tile_ask(const cuda_attend &a, const uint8_t *from, uint8_t *stage) {
  int token = threadIdx.x / 8;
  uint8_t *to = stage + token * 128 + ((threadIdx.x % 8 ^ token % 8) << 4);
  bool there = from != nullptr;
  if (!there) from = a.cache;
#pragma unroll
  for (int p = 0; p < KEY / 64; p++) copier::copy(to + p * 128 * TILE, from + (there ? p * 128 : 0), there);
}

/* --- a tile --------------------------------------------------------------------------------------------------------
 */

/* A step's operands, asked for a step before they are multiplied. */
template <int ROWS> struct step { uint32_t key[4], query[ROWS / 16][4]; };

template <int ROWS>
__device__ __forceinline__ void step_load(step<ROWS> *to, uint32_t query, uint32_t keys, int k, int r) {
  int lane = threadIdx.x % 32, panel = k / 4, chunk = k % 4 * 2;
  matrices_load(to->key, keys + panel * 128 * TILE + ((chunk + lane / 8 % 2 ^ r % 8) << 4));
#pragma unroll
  for (int n = 0; n < ROWS / 16; n++)
    matrices_load(to->query[n], query + panel * 128 * ROWS + n * 16 * 128 + ((chunk + lane / 16 ^ lane % 8) << 4));
}

/* Scores of the warp's 16 keys over its quarter of the dimensions. */
template <typename T, int ROWS> __device__ __forceinline__ void keys_multiply(const shared<ROWS> &m, uint32_t stage) {
  constexpr int blocks = ROWS / 16;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, quarter = warp / 4;
  int r = warp % 4 * 16 + lane / 16 * 8 + lane % 8;
  uint32_t query = shared_address(m.query) + lane % 16 * 128, keys = stage + r * 128;
  float score[blocks][2][4] = {};
  step<ROWS> now[2];
  step_load(&now[0], query, keys, quarter * STEPS, r);
#pragma unroll
  for (int i = 0; i < STEPS; i++) {
    const step<ROWS> &at = now[i % 2];
    if (i + 1 < STEPS) step_load(&now[(i + 1) % 2], query, keys, quarter * STEPS + i + 1, r);
#pragma unroll
    for (int n = 0; n < blocks; n++) {
      T::multiply(score[n][0], at.query[n], at.key[0], at.key[1]);
      T::multiply(score[n][1], at.query[n], at.key[2], at.key[3]);
    }
  }
#pragma unroll
  for (int n = 0; n < blocks; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      int row = n * 16 + lane / 4 + i % 2 * 8, col = warp % 4 * 16 + i / 2 * 8 + lane % 4 * 2;
      *(float2 *)(m.score + (quarter * ROWS + row) * STRIDE + col) =
          make_float2(score[n][i / 2][i % 2 * 2], score[n][i / 2][i % 2 * 2 + 1]);
    }
}

/* What a warp knows about its rows; `piece`: of the piece at hand, of a lane's keys; `all`: of those before. */
template <int ROWS> struct rows {
  static constexpr int count = ROWS / ALL_WARPS;
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
    float2 part[QUARTERS];
#pragma unroll
    for (int k = 0; k < QUARTERS; k++) part[k] = *(const float2 *)(m.score + (k * ROWS + row) * STRIDE + 2 * lane);
    float2 x = make_float2(__fadd_rn(__fadd_rn(part[0].x, part[1].x), __fadd_rn(part[2].x, part[3].x)),
                           __fadd_rn(__fadd_rn(part[0].y, part[1].y), __fadd_rn(part[2].y, part[3].y)));
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

/* Sums of the warp's dimensions: [16 rows][8 dimensions][4] as the matrix units have them. */
template <int ROWS> using sums = float[ROWS / 16][EIGHTS][4];

/* The first of a lane's dimensions. */
__device__ __forceinline__ int first_of() { return threadIdx.x / 32 * EIGHTS * 8 + threadIdx.x % 4 * 2; }

template <int ROWS> __device__ __forceinline__ void sums_clear(sums<ROWS> &s) {
#pragma unroll
  for (int i = 0; i < ROWS / 16 * EIGHTS * 4; i++) s[i / 4 / EIGHTS][i / 4 % EIGHTS][i % 4] = 0;
}

/* Row of sum [n][..][2 × half and + 1] in the unit. */
__device__ __forceinline__ int row_of(int n, int half) { return n * 16 + threadIdx.x % 32 / 4 + half * 8; }

template <typename T, int ROWS>
__device__ __forceinline__ void values_multiply(const shared<ROWS> &m, uint32_t stage, sums<ROWS> &s) {
  constexpr int blocks = ROWS / 16;
  int lane = threadIdx.x % 32;
  uint32_t weight = shared_address(m.weight + lane % 16 * STRIDE + lane / 16 * 8);
  uint32_t values = stage + (1 + threadIdx.x / 64) * 128 * TILE + lane * 128;
  int chunk = threadIdx.x / 32 % 2 * EIGHTS;
  uint32_t v[2][4];
  matrices_load_turned(v[0], values + ((chunk ^ lane % 8) << 4));
#pragma unroll
  for (int n = 0; n < blocks; n++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float shrink = m.shrink[row_of(n, half)];
#pragma unroll
      for (int c = 0; c < EIGHTS; c++)
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
    for (int c = 0; c < EIGHTS; c++) {
      int next = k * EIGHTS + c + 1; /* asked for before this one is multiplied */
      const uint32_t *now = v[(next + 1) % 2];
      if (next < TILE / 32 * EIGHTS)
        matrices_load_turned(v[next % 2],
                             values + next / EIGHTS * 32 * 128 + ((chunk + next % EIGHTS ^ lane % 8) << 4));
#pragma unroll
      for (int n = 0; n < blocks; n++) {
        T::multiply(s[n][c], w[n][0], now[0], now[1]);
        T::multiply(s[n][c], w[n][1], now[2], now[3]);
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
      for (int c = 0; c < EIGHTS; c++)
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
      float *to = parts + (size_t)row_of(n, half) * PART + first_of();
#pragma unroll
      for (int c = 0; c < EIGHTS; c++)
        *(float2 *)(to + c * 8) = make_float2(piece[n][c][2 * half], piece[n][c][2 * half + 1]);
    }
#pragma unroll
  for (int i = 0; i < rows<ROWS>::count; i++) {
    int row = warp * rows<ROWS>::count + i;
    float *to = parts + (size_t)row * PART + VALUE;
    if (row >= n_row) continue;
    if (lane == 0) to[0] = r.highest[i];
    if (lane == 0) to[4] = r.total[i];
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
  all_meet();
#pragma unroll
  for (int n = 0; n < ROWS / 16; n++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      int row = row_of(n, half);
      if (row >= n_row) continue;
      float *to = result_of<ROWS>(a, s, row, &head) + first_of(), factor = m.shrink[row];
#pragma unroll
      for (int c = 0; c < EIGHTS; c++)
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
  const uint8_t *from = nullptr; /* of the tile that is asked for next: found while another is multiplied */
  auto next_find = [&] { from = ask < last ? tile_find(a, table, s, ask) : nullptr; };
  auto next_ask = [&] {
    if (ask < last) tile_ask(a, from, m.ring + ask % STAGES * STAGE);
    copier::copies_group();
    ask++;
  };
  for (int i = 0; i < STAGES; i++) next_find(), next_ask();
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
      all_meet();
      next_find();
      keys_multiply<T>(m, stage);
      all_meet();
      weights_make<T>(a, m, tile * TILE, tile + 1 == end, &r);
      all_meet();
      values_multiply<T>(m, stage, piece);
      if (any && whole && tile + 1 == end) sums_join(m, all, piece);
      all_meet();
      next_ask();
    }
    if (!whole) piece_put(a.parts + (cut->part + (size_t)p * n_row) * PART, n_row, r, piece);
  }
  if (whole) results_put(a, s, m, r, all);
}

/* The holder's rows of a cut unit: every holders-th from its rank on, each by as many threads as it has four
 * dimensions. */
template <int ROWS> __device__ void rows_join(const cuda_attend &a, const held &h) {
  constexpr int together = THREADS / JOIN_THREADS;
  const segment &s = h.s;
  int n_row = packed_rows<ROWS>(a, s), holders = h.cut.holders, d = threadIdx.x % JOIN_THREADS * 4, head;
  for (int row = h.rank + threadIdx.x / JOIN_THREADS * holders; row < n_row; row += together * holders) {
    const float *from = a.parts + ((size_t)h.cut.part + row) * PART;
    float highest = -INFINITY, total = 0;
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 8
    for (int p = 0; p < s.pieces; p++) {
      const float *part = from + (size_t)p * n_row * PART;
      float4 x = __ldcg((const float4 *)(part + d));
      float2 factor = join_factors(&highest, __ldcg(part + VALUE));
      total = join(total, __ldcg(part + VALUE + 4), factor);
      sum = make_float4(join(sum.x, x.x, factor), join(sum.y, x.y, factor), join(sum.z, x.z, factor),
                        join(sum.w, x.w, factor));
    }
    float *to = result_of<ROWS>(a, s, row, &head) + d, factor = row_factor(a, head, highest, total);
    *(float4 *)to = make_float4(__fmul_rn(sum.x, factor), __fmul_rn(sum.y, factor), __fmul_rn(sum.z, factor),
                                __fmul_rn(sum.w, factor));
  }
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
    share_walk<ROWS, LATENT_FEW, ALL_WARPS>(
        a, batch, w, m.now, [&](const segment &s, const cuda_cut &cut) { segment_run<T>(a, batch, m, s, &cut); },
        [&](const held &h) { rows_join<ROWS>(a, h); });
  } else {
    /* the list begins with the longest */
    for (int n = 0, count = a.n_chunk * a.n_kv_head; n * gridDim.x < count; n++) {
      int i = n * gridDim.x + (n % 2 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
      if (i >= count) continue;
      if (threadIdx.x == 0) unit_find<ROWS>(a, batch, a.chunk[i / a.n_kv_head], i % a.n_kv_head, &m.now->s);
      all_meet();
      if (m.now->s.r.count > 0) segment_run<T>(a, batch, m, m.now->s, nullptr);
      all_meet();
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
