/* The portable attention kernels over an fp16 cache in panels: keys and values come through a ring of stages in shared
 * memory, tile after tile; the arithmetic is attend_tile.cuh's.
 *
 * Decode: rows of the batch with few tokens, one group of 16 packed queries; as many blocks as run at once take equal
 * shares of the work list, and units that several share are joined at the end (attend_parts.cuh). Bound by the read of
 * keys and values where the ring is deep enough. Prefill: a block for 64 packed queries of a row (heads of 256: 32),
 * long ones first. Bound by what lies between products: a meeting of the block for each stage. */
#ifndef SPATE_BACKEND_CUDA_PORTABLE_ATTEND_CUH
#define SPATE_BACKEND_CUDA_PORTABLE_ATTEND_CUH

#include "backend/cuda/portable/attend_tile.cuh"

namespace portable {

/* A segment's sums so far, as the matrix units have them: rows lane / 4 and + 8. */
template <int EIGHTS> struct sums { float highest[2], total[2], sum[EIGHTS][4]; };

template <int EIGHTS> static __device__ __forceinline__ void sums_clear(sums<EIGHTS> *s) {
  s->highest[0] = s->highest[1] = -INFINITY;
  s->total[0] = s->total[1] = 0;
#pragma unroll
  for (int i = 0; i < EIGHTS * 4; i++) s->sum[i / 4][i % 4] = 0;
}

template <int EIGHTS> static __device__ __forceinline__ void sums_join(sums<EIGHTS> *all, const sums<EIGHTS> &piece) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float2 factor = join_factors(&all->highest[i], piece.highest[i]);
    all->total[i] = join(all->total[i], piece.total[i], factor);
#pragma unroll
    for (int e = 0; e < EIGHTS * 2; e++)
      all->sum[e / 2][2 * i + e % 2] = join(all->sum[e / 2][2 * i + e % 2], piece.sum[e / 2][2 * i + e % 2], factor);
  }
}

static __device__ __forceinline__ int rows_there(const cuda_attend &a, const segment &s) {
  return s.r.count * queries_of(a) - s.chunk * ATTEND_PACKED;
}

/* A cut unit's piece to its rows of parts. */
template <typename ISA, int D>
static __device__ void piece_put(const cuda_attend &a, const segment &s, float *parts,
                                 const sums<shape<ISA, D, 1>::eights> &piece) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n = packed_rows(a, s);
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int row = lane / 4 + i * 8;
    if (row >= n) continue;
    float *to = parts + (size_t)row * (D + PART_TAIL);
#pragma unroll
    for (int e = 0; e < shape<ISA, D, 1>::eights; e++)
      if (e * WARPS + warp < D / 8)
        *(float2 *)(to + (e * WARPS + warp) * 8 + lane % 4 * 2) =
            make_float2(piece.sum[e][2 * i], piece.sum[e][2 * i + 1]);
    if (warp == 0) to[D + 4 + lane % 4] = piece.total[i];
    if (warp == 0 && lane % 4 == 0) to[D] = piece.highest[i];
  }
}

/* A whole unit's results. */
template <typename ISA, int D, int GROUPS>
static __device__ void sums_put(const cuda_attend &a, const segment &s, const shared<ISA, D, GROUPS> &m,
                                const sums<shape<ISA, D, GROUPS>::eights> &all) {
  using S = shape<ISA, D, GROUPS>;
  int lane = threadIdx.x % 32, column = threadIdx.x / 32 % S::columns, head;
  int first = threadIdx.x / 32 / S::columns * ATTEND_PACKED + lane / 4;
  if (column == 0) m.total[first][lane % 4] = all.total[0], m.total[first + 8][lane % 4] = all.total[1];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int row = first + i * 8;
    if (row >= rows_there(a, s)) continue;
    float4 t = *(const float4 *)m.total[row];
    float *to = result_of(a, s, row, &head);
    float factor = row_factor(a, head, all.highest[i], (t.x + t.y) + (t.z + t.w));
#pragma unroll
    for (int e = 0; e < S::eights; e++)
      if (e * S::columns + column < D / 8)
        *(float2 *)(to + (e * S::columns + column) * 8 + lane % 4 * 2) =
            make_float2(__fmul_rn(all.sum[e][2 * i], factor), __fmul_rn(all.sum[e][2 * i + 1], factor));
  }
}

/* The tile whose first stage is i. */
template <typename ISA, int D, int GROUPS, typename F>
static __device__ __forceinline__ void tile_add(const cuda_attend &a, const shared<ISA, D, GROUPS> &m, const segment &s,
                                                int tile, int i, F &&ask, rows *r,
                                                sums<shape<ISA, D, GROUPS>::eights> *piece) {
  using S = shape<ISA, D, GROUPS>;
  using R = ring<ISA, S::stages>;
  float score[S::steps][2][4] = {};
#pragma unroll 1
  for (int part = 0; part < S::parts; part++) {
    int slot = R::next(i + part, ask);
    keys_multiply<ISA, D, GROUPS>(score, shared_address(m.query), shared_address(m.ring + slot * S::stage_bytes), part);
  }
  scores_settle<S>(a, s, *r, tile * ATTEND_TILE, score);
  highest_meet<S>(m.highest, r, score);
  weights_store(m, *r, score);
#pragma unroll
  for (int e = 0; e < S::eights * 4; e++)
    piece->sum[e / 4][e % 4] = __fmul_rn(piece->sum[e / 4][e % 4], r->shrink[e % 4 / 2]);
#pragma unroll 1
  for (int part = 0; part < S::parts; part++) {
    int slot = R::next(i + S::parts + part, ask);
    values_multiply(m, shared_address(m.ring + slot * S::stage_bytes), part, piece->sum);
  }
  if (threadIdx.x / 32 % S::columns == 0) totals_add(m, *r, piece->total);
}

/* Of a whole unit the results; otherwise its pieces' sums to `parts`. */
template <typename ISA, int D, int GROUPS>
static __device__ void segment_run(const cuda_attend &a, const cuda_batch &batch, const shared<ISA, D, GROUPS> &m,
                                   const segment &s, float *parts) {
  using S = shape<ISA, D, GROUPS>;
  constexpr int per_piece = ATTEND_PIECE / ATTEND_TILE;
  bool whole = s.begin == 0 && s.end == s.pieces;
  int tile = s.first_tile, last = tile + s.tiles, shift = 31 - __clz(a.block_size);
  const uint32_t *table = table_of(a, batch, batch.row[s.row]);
  auto ask = [&](int i, int slot) {
    if (i < s.tiles * 2 * S::parts) stage_copy<ISA, D, GROUPS>(a, s, table, shift, i, m.ring + slot * S::stage_bytes);
  };
  sums<S::eights> all, piece;
  rows r;
  ring<ISA, S::stages>::begin(ask);
  rows_fill(a, batch, s, threadIdx.x / 32 / S::columns, &r);
  queries_load<ISA, D, GROUPS>(a, s, m.query); /* the first stage's meeting publishes them */
  sums_clear(&all);
#pragma unroll 1
  for (int p = s.begin; p < s.end; p++) {
    sums_clear(&piece);
    r.highest[0] = r.highest[1] = -INFINITY;
#pragma unroll 1
    for (int end = min(last, (s.first_piece + p + 1) * per_piece); tile < end; tile++)
      tile_add(a, m, s, tile, (tile - s.first_tile) * 2 * S::parts, ask, &r, &piece);
    piece.highest[0] = r.highest[0], piece.highest[1] = r.highest[1];
    if (whole)
      sums_join(&all, piece);
    else if constexpr (GROUPS == 1)
      piece_put<ISA, D>(a, s, parts + (size_t)p * packed_rows(a, s) * (D + PART_TAIL), piece);
  }
  if (whole) __syncthreads(), sums_put<ISA, D, GROUPS>(a, s, m, all);
}

/* --- decode ------------------------------------------------------------------------------------------------------- */

template <typename ISA, int D>
__global__ void __launch_bounds__(THREADS, D <= 128 ? 2 : 1) attend_decode(cuda_attend a, cuda_batch batch) {
  extern __shared__ __align__(128) uint8_t base[];
  shared<ISA, D, 1> m = shared_lay<shape<ISA, D, 1>, ISA, D, 1>(base);
  walk w = {a.cut[blockIdx.x], a.cut[blockIdx.x + 1]};
  share_run<D>(a, batch, w, m.now, m.ring, [&](const segment &s, const cuda_cut &cut) {
    segment_run<ISA, D, 1>(a, batch, m, s, a.parts + (size_t)cut.part * (D + PART_TAIL));
  });
}

template <typename ISA, int D> static int decode_blocks() {
  int blocks = 0, bytes = shape<ISA, D, 1>::shared_bytes;
  cudaFuncSetAttribute(attend_decode<ISA, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, attend_decode<ISA, D>, THREADS, bytes);
  return blocks;
}

template <typename ISA, int D>
static void decode_launch(const cuda_attend &a, const cuda_batch &b, cuda_stream stream) {
  attend_decode<ISA, D><<<a.n_share, THREADS, shape<ISA, D, 1>::shared_bytes, stream>>>(a, b);
}

/* --- prefill ------------------------------------------------------------------------------------------------------ */

template <int D> constexpr int prefill_groups = D <= 128 ? 4 : 2;

/* The block's unit; false: there is none. */
template <int ROWS> static __device__ bool unit_find(const cuda_attend &a, const cuda_batch &batch, segment *s) {
  constexpr int per_chunk = ATTEND_CHUNK / ROWS;
  int index = blockIdx.x / a.n_kv_head, g = queries_of(a);
  cuda_chunk chunk = a.chunk[index / per_chunk];
  int first = chunk.chunk * ATTEND_CHUNK + (per_chunk - 1 - index % per_chunk) * ROWS;
  *s = segment{.row = chunk.row, .chunk = first / ATTEND_PACKED, .head = (int)blockIdx.x % a.n_kv_head};
  s->r = batch.row[s->row];
  if (first >= s->r.count * g) return false;
  s->seen = tokens_span(a, batch, s->r, first / g, min(s->r.count - 1, (first + ROWS - 1) / g));
  s->first_tile = s->seen.begin / ATTEND_TILE;
  s->tiles = (s->seen.end + ATTEND_TILE - 1) / ATTEND_TILE - s->first_tile;
  s->first_piece = s->seen.begin / ATTEND_PIECE;
  s->end = s->pieces = (s->seen.end + ATTEND_PIECE - 1) / ATTEND_PIECE - s->first_piece;
  return true;
}

template <typename ISA, int D>
__global__ void __launch_bounds__(THREADS, 1) attend_prefill(cuda_attend a, cuda_batch batch) {
  constexpr int groups = prefill_groups<D>;
  extern __shared__ __align__(128) uint8_t base[];
  shared<ISA, D, groups> m = shared_lay<shape<ISA, D, groups>, ISA, D, groups>(base);
  if (threadIdx.x == 0) m.now->more = unit_find<groups * ATTEND_PACKED>(a, batch, &m.now->s);
  __syncthreads();
  if (m.now->more) segment_run<ISA, D, groups>(a, batch, m, m.now->s, nullptr);
}

template <typename ISA, int D>
static void prefill_launch(const cuda_attend &a, const cuda_batch &b, cuda_stream stream) {
  using S = shape<ISA, D, prefill_groups<D>>;
  int blocks = a.n_chunk * (ATTEND_CHUNK / S::rows) * a.n_kv_head;
  cudaFuncSetAttribute(attend_prefill<ISA, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::shared_bytes);
  attend_prefill<ISA, D><<<blocks, THREADS, S::shared_bytes, stream>>>(a, b);
}

} // namespace portable

/* For each size of heads. */
#define PORTABLE_BY_DIM(dim, run)                                                                                      \
  switch (dim) {                                                                                                       \
  case 64: run(64); break;                                                                                             \
  case 80: run(80); break;                                                                                             \
  case 96: run(96); break;                                                                                             \
  case 128: run(128); break;                                                                                           \
  default: run(256); break;                                                                                            \
  }

#endif
