/* Decode attention over a cache of any 16 or 8 bits (attend_type.cuh): rows of the batch with few tokens, whose packed
 * queries (all heads of a KV head, token by token) are 16 rows of the matrix units' A operand, so that keys and values
 * stream from device memory once. Memory bounds it: arithmetic takes a fifth of the time of a tile's bytes.
 *
 * Each of two blocks a multiprocessor (heads of 256: one) takes its share of the work list. Two warps keep bulk copies
 * in flight into a ring of 96 KiB, a stage being a tile's keys or its values. Of its 128 keys each of 8 warps scores
 * 16; maxima and weights meet in shared memory; then each warp sums 8 of every 64 dimensions over all 128. So sums run
 * in the order in which prefill attention has them (attend_prefill.cu). Pieces of 256 keys have sums of their own,
 * which are joined in order, here or, where blocks share a unit, in attend_parts.cuh (flash-decoding: Dao et al.,
 * 2023). Bytes depend on the token alone. */
#include "backend/cuda/attend_queries.cuh"

#include <climits>

namespace {

using namespace attend_ring;

/* --- a tile ------------------------------------------------------------------------------------------------------- */

/* Scores of the tile's 16 keys from `key` on. */
template <typename T, int D>
__device__ __forceinline__ void keys_multiply(float score[2][4], uint32_t query, uint32_t stage, int key) {
  int lane = threadIdx.x % 32, r = key + lane / 16 * 8 + lane % 8, half = lane / 8 % 2;
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
    int panel = k / 4, width = panel_width(D, panel), chunk = k % 4 * 2;
    uint32_t q[4], b[4];
    matrices_load(q, query + panel * 128 * ATTEND_PACKED + lane % 16 * width * 2 +
                         ((chunk + lane / 16 ^ panel_swizzle(width, lane % 16)) << 4));
    matrices_load(b,
                  stage + panel * 128 * ATTEND_TILE + r * width * 2 + ((chunk + half ^ panel_swizzle(width, r)) << 4));
    T::multiply(score[0], q, b[0], b[1]);
    T::multiply(score[1], q, b[2], b[3]);
  }
}

/* What a lane knows about its two rows. */
struct rows {
  span seen[2], inner;         /* inner: what all of the warp's rows see */
  float highest[2], shrink[2]; /* of the piece; by what sums before the tile are multiplied */
};

__device__ __forceinline__ void scores_mask(const rows &r, int key, float score[2][4]) {
#pragma unroll
  for (int i = 0; i < 8; i++) {
    int k = key + i / 4 * 8 + i % 2;
    const span &seen = r.seen[i % 4 / 2];
    if (k < seen.begin || k >= seen.end) score[i / 4][i % 4] = -INFINITY;
  }
}

/* The tile's maxima for all warps. */
__device__ __forceinline__ void highest_meet(exchange *meet, rows *r, const float score[2][4]) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float x = fmaxf(fmaxf(score[0][2 * i], score[0][2 * i + 1]), fmaxf(score[1][2 * i], score[1][2 * i + 1]));
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
    if (lane % 4 == 0) meet->highest[lane / 4 + i * 8][warp] = x;
  }
  warps_meet();
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const float4 *all = (const float4 *)meet->highest[lane / 4 + i * 8];
    float4 x = all[0], y = all[1];
    float before = r->highest[i];
    r->highest[i] =
        fmaxf(before, fmaxf(fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w)), fmaxf(fmaxf(y.x, y.y), fmaxf(y.z, y.w))));
    r->shrink[i] = exp2_of(before - base_of(r->highest[i]));
  }
}

/* Weights of the warp's 16 keys, for all warps. */
template <typename T>
__device__ __forceinline__ void weights_store(exchange *meet, const rows &r, const float score[2][4]) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float base = base_of(r.highest[i]);
    float x0 = exp2_of(score[0][2 * i] - base), x1 = exp2_of(score[0][2 * i + 1] - base);
    float x2 = exp2_of(score[1][2 * i] - base), x3 = exp2_of(score[1][2 * i + 1] - base);
    uint32_t *to = (uint32_t *)&meet->weight[lane / 4 + i * 8][warp * 16 + lane % 4 * 2];
    to[0] = T::pair(x0, x1);
    to[4] = T::pair(x2, x3);
    meet->total[warp][lane / 4 + i * 8][lane % 4] = (x0 + x1) + (x2 + x3);
  }
}

/* One warp keeps the totals. */
__device__ __forceinline__ void totals_add(const exchange *meet, const rows &r, float total[2]) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float t[WARPS];
#pragma unroll
    for (int w = 0; w < WARPS; w++) t[w] = meet->total[w][lane / 4 + i * 8][lane % 4];
    float tile = ((t[0] + t[1]) + (t[2] + t[3])) + ((t[4] + t[5]) + (t[6] + t[7]));
    total[i] = __fmaf_rn(total[i], r.shrink[i], tile);
  }
}

/* Values that nobody sees may be anything, which 0 does not cancel. */
template <typename T, int D> __device__ void values_clear(const span &seen, uint8_t *stage, int key) {
  constexpr int each = T::coded ? D / 16 : D / 8; /* times 16 bytes */
  for (int i = threadIdx.x; i < ATTEND_TILE * each; i += WARPS * 32) {
    int token = i / each, chunk = i % each;
    if (key + token >= seen.begin && key + token < seen.end) continue;
    uint8_t *at = T::coded ? code_at(D, stage, token, chunk)
                           : (uint8_t *)((uint16_t *)stage + panel_index(D, ATTEND_TILE, token, chunk * 8));
    *(uint4 *)at = make_uint4(0, 0, 0, 0);
    if (T::coded && chunk == 0) *scale_at(D, stage, token) = 0;
  }
  shared_writes_publish();
}

/* Adds weights × values of the warp's dimensions: 8 of each panel. */
template <typename T, int D>
__device__ __forceinline__ void values_multiply(const exchange *meet, uint32_t stage, float sum[][4]) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint32_t weight = shared_address(&meet->weight[lane % 16][lane / 16 * 8]);
#pragma unroll
  for (int k = 0; k < ATTEND_TILE / 32; k++) {
    uint32_t w[2][4], v[4];
    matrices_load(w[0], weight + k * 64);
    matrices_load(w[1], weight + k * 64 + 32);
    int r = k * 32 + lane;
#pragma unroll
    for (int p = 0; p < panels_of(D); p++) {
      int width = panel_width(D, p);
      if (warp * 8 >= width) continue;
      matrices_load_turned(v,
                           stage + p * 128 * ATTEND_TILE + r * width * 2 + ((warp ^ panel_swizzle(width, lane)) << 4));
      T::multiply(sum[p], w[0], v[0], v[1]);
      T::multiply(sum[p], w[1], v[2], v[3]);
    }
  }
}

/* --- pieces ------------------------------------------------------------------------------------------------------- */

/* A unit's sums so far: [panel][4] as the matrix units have them, rows lane / 4 and + 8. */
template <typename T, int D> struct sums { float highest[2], total[2], sum[shape<T, D>::eights][4]; };

template <typename T, int D> __device__ void sums_clear(sums<T, D> *s) {
  s->highest[0] = s->highest[1] = -INFINITY;
  s->total[0] = s->total[1] = 0;
#pragma unroll
  for (int i = 0; i < shape<T, D>::eights * 4; i++) s->sum[i / 4][i % 4] = 0;
}

/* The tile's keys are in the ring at `at`, its values next to them. */
template <typename T, int D>
__device__ void tile_add(const cuda_attend &a, const shared<T, D> &m, const segment &s, const span &seen, int tile,
                         turn at, rows *r, sums<T, D> *piece) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, key = tile * ATTEND_TILE;
  turn values = turn_next<T, D>(at);
  uint8_t *stage = m.ring + values.slot * shape<T, D>::bytes;
  float score[2][4] = {};
  bool own = a.fresh && key + ATTEND_TILE >= seen.end;
  barrier_wait(&m.full[at.slot], at.phase);
  if (own) fresh_put<T, D>(m.own->key, m.ring + at.slot * shape<T, D>::bytes, seen.end - 1 - key), warps_meet();
  if constexpr (T::coded)
    codes_multiply<T, D>(score, shared_address(m.query),
                         m.ring + at.slot * shape<T, D>::bytes + group_index(D, warp * 16));
  else
    keys_multiply<T, D>(score, shared_address(m.query), shared_address(m.ring + at.slot * shape<T, D>::bytes),
                        warp * 16);
  barrier_arrive(&m.empty[at.slot]);
  if (a.softcap > 0) {
#pragma unroll
    for (int i = 0; i < 8; i++) score[i / 4][i % 4] = score_cap(score[i / 4][i % 4], a.softcap);
  }
  if (a.slope)
    scores_slope<2>(a, s.r, s.head, s.chunk * ATTEND_PACKED + lane / 4, key + warp * 16 + lane % 4 * 2, score);
  if (key < r->inner.begin || key + ATTEND_TILE > r->inner.end) scores_mask(*r, key + warp * 16 + lane % 4 * 2, score);
  highest_meet(m.meet, r, score);
  weights_store<T>(m.meet, *r, score);
#pragma unroll
  for (int i = 0; i < shape<T, D>::eights * 4; i++)
    piece->sum[i / 4][i % 4] = __fmul_rn(piece->sum[i / 4][i % 4], r->shrink[i % 4 / 2]);
  barrier_wait(&m.full[values.slot], values.phase);
  if (key < seen.begin || key + ATTEND_TILE > seen.end) values_clear<T, D>(seen, stage, key);
  if (own) fresh_put<T, D>(m.own->value, stage, seen.end - 1 - key);
  warps_meet();
  if constexpr (T::coded)
    codes_add<T, D>(&m.meet->weight[lane % 16][lane / 16 * 8], stage, piece->sum);
  else
    values_multiply<T, D>(m.meet, shared_address(stage), piece->sum);
  barrier_arrive(&m.empty[values.slot]);
  if (warp == 0) totals_add(m.meet, *r, piece->total);
}

template <typename T, int D> __device__ void sums_join(sums<T, D> *all, const sums<T, D> &piece) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float2 factor = join_factors(&all->highest[i], piece.highest[i]);
    all->total[i] = join(all->total[i], piece.total[i], factor);
#pragma unroll
    for (int p = 0; p < shape<T, D>::eights * 2; p++)
      all->sum[p / 2][2 * i + p % 2] = join(all->sum[p / 2][2 * i + p % 2], piece.sum[p / 2][2 * i + p % 2], factor);
  }
}

/* A cut unit's piece to its rows of parts. */
template <typename T, int D>
__device__ void piece_put(const cuda_attend &a, const segment &s, float *parts, const sums<T, D> &piece) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n = packed_rows(a, s);
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int row = lane / 4 + i * 8;
    if (row >= n) continue;
    float *to = parts + (size_t)row * (D + PART_TAIL);
#pragma unroll
    for (int p = 0; p < shape<T, D>::eights; p++)
      if (eight_of<T>(p) < D)
        *(float2 *)(to + eight_of<T>(p) + lane % 4 * 2) = make_float2(piece.sum[p][2 * i], piece.sum[p][2 * i + 1]);
    if (warp == 0) to[D + 4 + lane % 4] = piece.total[i];
    if (warp == 0 && lane % 4 == 0) to[D] = piece.highest[i];
  }
}

template <typename T, int D>
__device__ void sums_put(const cuda_attend &a, const segment &s, exchange *meet, const sums<T, D> &all) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n = packed_rows(a, s);
  if (warp == 0)
    meet->total[0][lane / 4][lane % 4] = all.total[0], meet->total[0][lane / 4 + 8][lane % 4] = all.total[1];
  warps_meet();
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int row = lane / 4 + i * 8, head;
    if (row >= n) continue;
    float4 t = *(const float4 *)meet->total[0][row];
    float total = (t.x + t.y) + (t.z + t.w);
    float *to = result_of(a, s, row, &head), factor = row_factor(a, head, all.highest[i], total);
#pragma unroll
    for (int p = 0; p < shape<T, D>::eights; p++)
      if (eight_of<T>(p) < D) {
        int d = eight_of<T>(p) + lane % 4 * 2;
        float2 x = make_float2(__fmul_rn(all.sum[p][2 * i], factor), __fmul_rn(all.sum[p][2 * i + 1], factor));
        *(float2 *)(to + d) = x;
        next_put(a, s, row, d, x.x);
        next_put(a, s, row, d + 1, x.y);
      }
  }
}

/* --- the kernel --------------------------------------------------------------------------------------------------- */

/* Rows that there are not see everything: what becomes of them nobody asks. */
__device__ void rows_fill(const cuda_attend &a, const cuda_batch &batch, const segment &s, rows *r) {
  int begin = 0, end = INT_MAX;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int token = (s.chunk * ATTEND_PACKED + threadIdx.x % 32 / 4 + i * 8) / queries_of(a);
    r->seen[i] = token < s.r.count ? token_span(a, batch, s.r, token) : span{0, INT_MAX};
    begin = max(begin, r->seen[i].begin);
    end = min(end, r->seen[i].end);
  }
  r->inner = span{__reduce_max_sync(0xffffffffu, begin), __reduce_min_sync(0xffffffffu, end)};
}

/* Of a whole unit the results; otherwise its pieces' sums. */
template <typename T, int D>
__device__ void segment_run(const cuda_attend &a, const cuda_batch &batch, const shared<T, D> &m, const segment &s,
                            const cuda_cut &cut, turn *at) {
  constexpr int per_piece = ATTEND_PIECE / ATTEND_TILE;
  bool whole = s.begin == 0 && s.end == s.pieces;
  int n = packed_rows(a, s), tile = s.first_tile, last = tile + s.tiles, pieces = s.end, first_piece = s.first_piece;
  span seen = s.seen;
  float *parts = a.parts + (size_t)cut.part * (D + PART_TAIL);
  sums<T, D> all, piece;
  rows r;
  rows_fill(a, batch, s, &r);
  dependencies_wait();
  if (a.fresh)
    queries_make<T, D>(a, batch, s, m);
  else
    queries_load<T, D>(a, s, m);
  warps_meet();
  sums_clear(&all);
  for (int p = s.begin; p < pieces; p++) {
    sums_clear(&piece);
    r.highest[0] = r.highest[1] = -INFINITY;
    for (int end = min(last, (first_piece + p + 1) * per_piece); tile < end; tile++) {
      tile_add<T, D>(a, m, s, seen, tile, *at, &r, &piece);
      *at = turn_next<T, D>(turn_next<T, D>(*at));
    }
    piece.highest[0] = r.highest[0], piece.highest[1] = r.highest[1];
    if (whole)
      sums_join(&all, piece);
    else
      piece_put<T, D>(a, s, parts + (size_t)p * n * (D + PART_TAIL), piece);
  }
  if (whole) sums_put<T, D>(a, s, m.meet, all);
}

template <typename T, int D>
__global__ void __launch_bounds__(THREADS, shape<T, D>::blocks) decode(cuda_attend a, cuda_batch batch) {
  extern __shared__ __align__(1024) uint8_t base[];
  shared<T, D> m = shared_lay<T, D>(base);
  if (threadIdx.x == 0) {
    for (int i = 0; i < shape<T, D>::stages; i++)
      barrier_init(&m.full[i], COPIERS), barrier_init(&m.empty[i], WARPS * 32);
    barriers_publish();
  }
  __syncthreads();
  dependents_launch();
  norms_bring<D>(a), rows_bring(batch);
  walk w = {a.cut[blockIdx.x], a.cut[blockIdx.x + 1]};
  if (threadIdx.x >= WARPS * 32) {
    keys_stream<T, D>(a, batch, m, w);
    return;
  }
  turn at = {0, 0};
  share_run<D>(a, batch, w, m.now, m.ring,
               [&](const segment &s, const cuda_cut &cut) { segment_run<T, D>(a, batch, m, s, cut, &at); });
}

template <typename T, int D> void decode_launch(const cuda_attend &a, const cuda_batch &batch, cuda_stream stream) {
  static bool once = cudaFuncSetAttribute(decode<T, D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          shared<T, D>::bytes) == cudaSuccess;
  (void)once;
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = a.n_share;
  config.blockDim = THREADS;
  config.dynamicSmemBytes = shared<T, D>::bytes;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, decode<T, D>, a, batch);
}

template <typename T> void decode_of(const cuda_attend &a, const cuda_batch &batch, cuda_stream stream) {
  switch (a.dim_k) {
  case 64: decode_launch<T, 64>(a, batch, stream); break;
  case 80: decode_launch<T, 80>(a, batch, stream); break;
  case 96: decode_launch<T, 96>(a, batch, stream); break;
  case 128: decode_launch<T, 128>(a, batch, stream); break;
  default: decode_launch<T, 256>(a, batch, stream); break;
  }
}

} // namespace

void cuda_attend_decode(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
  switch (attend->kv) {
  case CACHE_BF16: decode_of<cache_bf16>(*attend, *batch, stream); break;
  case CACHE_E4M3: decode_of<cache_e4m3>(*attend, *batch, stream); break;
  case CACHE_INT8: decode_of<cache_int8>(*attend, *batch, stream); break;
  default: decode_of<cache_f16>(*attend, *batch, stream); break;
  }
}
