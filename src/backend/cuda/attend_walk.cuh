/* The way of a block of decode attention through its share of the work list (attend_split.h). */
#ifndef SPATE_BACKEND_CUDA_ATTEND_WALK_CUH
#define SPATE_BACKEND_CUDA_ATTEND_WALK_CUH

#include "backend/cuda/attend.cuh"
#include "backend/cuda/linear_fragments.cuh"

#include <cuda_bf16.h>

/* Units are PACKED packed rows: here, where nothing else is said, of decode attention. Latent attention has other
 * numbers (attend_split.h), and its units of rows that are not split are segments, too. */

/* A run of pieces of a unit. */
struct segment {
  int row, chunk, head;
  int begin, end, pieces; /* of the unit's pieces */
  int first_tile, tiles;  /* tiles of the run that hold keys in sight */
  int first_piece;
  cuda_row r;
  span seen; /* by any of the unit's tokens */
};

struct walk {
  cuda_cut at, to;
};

/* All of it is asked for at once: what is looked at first would else be waited for alone. */
static __device__ __forceinline__ cuda_row row_load(const cuda_row *from) {
  static_assert(sizeof(cuda_row) == 6 * 4, "six words");
  cuda_row r;
  asm volatile("ld.global.s32 %0, [%6];\nld.global.s32 %1, [%6 + 4];\nld.global.s32 %2, [%6 + 8];\n"
               "ld.global.s32 %3, [%6 + 12];\nld.global.u32 %4, [%6 + 16];\nld.global.u32 %5, [%6 + 20];"
               : "=&r"(r.first), "=&r"(r.count), "=&r"(r.length), "=&r"(r.seat), "=&r"(r.table), "=&r"(r.table_size)
               : "l"(from)
               : "memory");
  return r;
}

/* Rows nearer, while it is not known yet which of them is wanted. */
static __device__ __forceinline__ void rows_bring(const cuda_batch &batch) {
  if (threadIdx.x < batch.n_row) asm volatile("prefetch.global.L1 [%0];" ::"l"(batch.row + threadIdx.x));
}

template <int PACKED = ATTEND_PACKED>
static __device__ __forceinline__ void segment_fill(const cuda_attend &a, const cuda_batch &batch, segment *s) {
  int g = queries_of(a), last = s->r.count - 1;
  span row = {token_span(a, batch, s->r, 0).begin, s->r.length + s->r.count};
  s->first_piece = row.begin / ATTEND_PIECE;
  s->pieces = (row.end + ATTEND_PIECE - 1) / ATTEND_PIECE - s->first_piece;
  s->seen = tokens_span(a, batch, s->r, s->chunk * PACKED / g, min(last, (s->chunk * PACKED + PACKED - 1) / g));
}

static __device__ __forceinline__ void tiles_fill(segment *s) {
  constexpr int per_piece = ATTEND_PIECE / ATTEND_TILE;
  s->first_tile = max(s->seen.begin / ATTEND_TILE, (s->first_piece + s->begin) * per_piece);
  s->tiles = min((s->seen.end + ATTEND_TILE - 1) / ATTEND_TILE, (s->first_piece + s->end) * per_piece) - s->first_tile;
}

/* The next segment of a share; false at its end. All roles of a block go the same way. */
template <int PACKED = ATTEND_PACKED, int FEW = ATTEND_FEW>
static __device__ bool segment_next(const cuda_attend &a, const cuda_batch &batch, walk *w, segment *s) {
  if (w->at.row == w->to.row && w->at.chunk == w->to.chunk && w->at.head == w->to.head && w->at.piece == w->to.piece)
    return false;
  *s = segment{w->at.row, w->at.chunk, w->at.head, w->at.piece};
  s->r = row_load(batch.row + s->row);
  segment_fill<PACKED>(a, batch, s);
  bool last = s->row == w->to.row && s->chunk == w->to.chunk && s->head == w->to.head;
  s->end = last ? w->to.piece : s->pieces;
  tiles_fill(s);
  if (last) {
    w->at = w->to;
    return true;
  }
  int g = queries_of(a);
  w->at.piece = 0;
  if (++w->at.head < a.n_kv_head) return true;
  w->at.head = 0;
  if (++w->at.chunk * PACKED < s->r.count * g) return true;
  w->at.chunk = 0;
  do w->at.row++;
  while (w->at.row < w->to.row && batch.row[w->at.row].count * g > FEW);
  return true;
}

template <int PACKED = ATTEND_PACKED>
static __device__ __forceinline__ int packed_rows(const cuda_attend &a, const segment &s) {
  return min(PACKED, s.r.count * queries_of(a) - s.chunk * PACKED);
}

template <int PACKED = ATTEND_PACKED>
static __device__ __forceinline__ float *result_of(const cuda_attend &a, const segment &s, int row, int *head) {
  int g = queries_of(a), packed = s.chunk * PACKED + row;
  *head = s.head * g + packed % g;
  return a.out + ((size_t)(s.r.first + packed / g) * a.n_head + *head) * a.dim_v;
}

/* A result to where the next linear reads it. */
static __device__ __forceinline__ void next_put(const cuda_attend &a, const segment &s, int row, int d, float x) {
  if (!a.next_fragments) return;
  int g = queries_of(a), packed = s.chunk * ATTEND_PACKED + row, col = (s.head * g + packed % g) * a.dim_v + d;
  size_t at = a.next_tiles ? tile_index(s.r.first + packed / g, col, a.n_head * a.dim_v / 64)
                           : fragment_index(s.r.first + packed / g, col, a.n_head * a.dim_v / 64);
  ((__nv_bfloat16 *)a.next_fragments)[at] = __float2bfloat16_rn(x);
}

#endif
