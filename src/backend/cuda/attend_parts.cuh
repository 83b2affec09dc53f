/* A block's share of decode attention, and units that several blocks have parts of: each leaves its pieces' sums in
 * rows of parts, and when all are there each joins some of the dimensions or, of latent attention, some of the rows. A
 * row of parts has a row's sums of a piece, their maximum, 3 numbers unused, and the totals of 4 lanes (of latent
 * attention the whole total, and 3 more unused). */
#ifndef SPATE_BACKEND_CUDA_ATTEND_PARTS_CUH
#define SPATE_BACKEND_CUDA_ATTEND_PARTS_CUH

#include "backend/cuda/attend_walk.cuh"

enum { WARPS = 8, PART_TAIL = 8, JOIN_PIECES = 128 }; /* warps that calculate; pieces joined at a time */

template <int COUNT = WARPS> static __device__ __forceinline__ void warps_meet() {
  asm volatile("bar.sync 1, %0;" ::"n"(COUNT * 32) : "memory");
}

/* A cut unit of which this block holds pieces: the share's first or its last. */
struct held {
  segment s;
  cuda_cut cut;
  uint32_t rank; /* among its holders */
};

/* This block's pieces of a cut unit are among the parts. */
template <int COUNT = WARPS>
static __device__ void unit_arrive(const cuda_attend &a, const segment &s, const cuda_cut &cut, held *to) {
  warps_meet<COUNT>();
  if (threadIdx.x > 0) return;
  *to = held{s, cut, ordered_add(&a.arrived[2 * cut.owner], 1)}; /* after what all of them have written */
}

/* Until all holders' pieces are there. All blocks run at once. */
template <int COUNT = WARPS> static __device__ void unit_await(const cuda_attend &a, const held &h) {
  const uint32_t *arrived = a.arrived + 2 * h.cut.owner;
  if (threadIdx.x == 0 && h.rank + 1 < (uint32_t)h.cut.holders)
    while (acquire_load(arrived) < (uint32_t)h.cut.holders) {
    }
  warps_meet<COUNT>();
}

/* Nobody waits for the unit any more when all have left: who does so last clears its counts. */
static __device__ __forceinline__ void unit_leave(const cuda_attend &a, const cuda_cut &cut) {
  uint32_t *arrived = a.arrived + 2 * cut.owner;
  if (threadIdx.x == 0 && atomicAdd(arrived + 1, 1) == (uint32_t)cut.holders - 1) arrived[0] = arrived[1] = 0;
}

/* Of 32 dimensions of a row of a unit (a slice): sums of each piece, and the row's maximum and totals. */
struct staged {
  float sum[JOIN_PIECES][32], tail[JOIN_PIECES][PART_TAIL];
};

/* Slices that a block joins at a time, of so many pieces: together they fit a staged. */
static __device__ __forceinline__ int slices_together(int pieces) {
  return pieces <= JOIN_PIECES / 8 ? 8 : pieces <= JOIN_PIECES / 4 ? 4 : pieces <= JOIN_PIECES / 2 ? 2 : 1;
}

enum { AT_ONCE = 8 }; /* pieces that a warp asks for before it waits for any */

/* Fetches a slice's pieces [first, first + count) to rows `at` on: by every `step`-th warp from `turn` on. */
template <int D>
static __device__ void slice_fetch(const float *parts, int n, int slice, int first, int count, int at, int turn,
                                   int step, staged *to) {
  constexpr int per_row = (D + 31) / 32;
  int lane = threadIdx.x % 32, d = slice % per_row * 32 + lane;
  const float *row = parts + ((size_t)first * n + slice / per_row) * (D + PART_TAIL);
  size_t piece = (size_t)n * (D + PART_TAIL);
#pragma unroll 1
  for (int begin = turn; begin < count; begin += AT_ONCE * step) {
    constexpr int tails = AT_ONCE * PART_TAIL / 32;
    float sum[AT_ONCE], tail[tails];
    int own = begin + lane / PART_TAIL * step, next = 32 / PART_TAIL * step;
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++)
      sum[k] = begin + k * step < count && d < D ? __ldcg(row + (begin + k * step) * piece + d) : 0;
#pragma unroll
    for (int k = 0; k < tails; k++)
      tail[k] = own + k * next < count ? __ldcg(row + (own + k * next) * piece + D + lane % PART_TAIL) : 0;
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++)
      if (begin + k * step < count) to->sum[at + begin + k * step][lane] = sum[k];
#pragma unroll
    for (int k = 0; k < tails; k++)
      if (own + k * next < count) to->tail[at + own + k * next][lane % PART_TAIL] = tail[k];
  }
}

/* A slice's sums, maximum and totals of a lane become results. */
template <int D>
static __device__ __forceinline__ void slice_end(const cuda_attend &a, const segment &s, int slice, float sum,
                                                 float highest, float total) {
  constexpr int per_row = (D + 31) / 32;
  int d = slice % per_row * 32 + threadIdx.x % 32, head;
  total += __shfl_xor_sync(0xffffffffu, total, 1);
  total += __shfl_xor_sync(0xffffffffu, total, 2);
  if (d >= D) return;
  float *to = result_of(a, s, slice / per_row, &head);
  float x = __fmul_rn(sum, row_factor(a, head, highest, total));
  to[d] = x;
  next_put(a, s, slice / per_row, d, x);
}

/* Of so few pieces a warp asks for all at once, and needs no other. */
enum { FEW_PIECES = 4 };

template <int D> static __device__ void unit_join_few(const cuda_attend &a, const held &h) {
  constexpr int per_row = (D + 31) / 32;
  int n = packed_rows(a, h.s), lane = threadIdx.x % 32;
  const float *parts = a.parts + (size_t)h.cut.part * (D + PART_TAIL);
#pragma unroll 1
  for (int own = h.rank + threadIdx.x / 32 * h.cut.holders; own < n * per_row; own += WARPS * h.cut.holders) {
    int d = own % per_row * 32 + lane;
    const float *row = parts + own / per_row * (D + PART_TAIL);
    float sums[FEW_PIECES], most[FEW_PIECES], totals[FEW_PIECES], highest = -INFINITY, total = 0, sum = 0;
#pragma unroll
    for (int p = 0; p < FEW_PIECES; p++) {
      const float *from = row + (size_t)p * n * (D + PART_TAIL);
      bool has = p < h.s.pieces;
      sums[p] = has && d < D ? __ldcg(from + d) : 0;
      most[p] = has ? __ldcg(from + D) : 0, totals[p] = has ? __ldcg(from + D + 4 + lane % 4) : 0;
    }
#pragma unroll
    for (int p = 0; p < FEW_PIECES; p++) {
      if (p >= h.s.pieces) break;
      float2 factor = join_factors(&highest, most[p]);
      sum = join(sum, sums[p], factor), total = join(total, totals[p], factor);
    }
    slice_end<D>(a, h.s, own, sum, highest, total);
  }
}

/* The holder's slices of the unit: every holders-th from its rank on. All threads fetch; a warp joins a slice, piece by
 * piece. */
template <int D> static __device__ void unit_join(const cuda_attend &a, uint8_t *ring, const held &h) {
  constexpr int per_row = (D + 31) / 32;
  const segment &s = h.s;
  staged *stage = (staged *)ring;
  int n = packed_rows(a, s), warp = threadIdx.x / 32, lane = threadIdx.x % 32, together = slices_together(s.pieces);
  const float *parts = a.parts + (size_t)h.cut.part * (D + PART_TAIL);
  for (int base = h.rank; base < n * per_row; base += together * h.cut.holders) {
    int fetched = base + warp % together * h.cut.holders, own = base + warp * h.cut.holders;
    bool mine = warp < together && own < n * per_row;
    float highest = -INFINITY, total = 0, sum = 0;
    for (int p = 0; p < s.pieces; p += JOIN_PIECES) {
      int count = min((int)JOIN_PIECES, s.pieces - p), room = JOIN_PIECES / together;
      warps_meet();
      if (fetched < n * per_row)
        slice_fetch<D>(parts, n, fetched, p, count, warp % together * room, warp / together, WARPS / together, stage);
      warps_meet();
#pragma unroll 8
      for (int i = warp * room; mine && i < warp * room + count; i++) {
        float2 factor = join_factors(&highest, stage->tail[i][0]);
        sum = join(sum, stage->sum[i][lane], factor);
        total = join(total, stage->tail[i][4 + lane % 4], factor);
      }
    }
    if (mine) slice_end<D>(a, s, own, sum, highest, total);
  }
}

/* What the warps work on; thread 0 writes it. */
struct work {
  segment s;
  bool more;
  int n_cut;
  held cut[2];
  cuda_cut first, last; /* where the share begins, and where the next one does */
};

/* The way of COUNT warps through the share: run(segment, its unit's cut) of each, then join(held) of the units that
 * others have parts of. */
template <int PACKED, int FEW, int COUNT, typename RUN, typename JOIN>
static __device__ __forceinline__ void share_walk(const cuda_attend &a, const cuda_batch &batch, walk w, work *now,
                                                  RUN &&run, JOIN &&join) {
  if (threadIdx.x == 0) now->n_cut = 0, now->first = w.at, now->last = w.to;
  for (;;) {
    if (threadIdx.x == 0) now->more = segment_next<PACKED, FEW>(a, batch, &w, &now->s);
    warps_meet<COUNT>();
    if (!now->more) break;
    const cuda_cut &cut = now->s.begin == 0 ? now->last : now->first;
    run(now->s, cut);
    if (now->s.begin > 0 || now->s.end < now->s.pieces) {
      unit_arrive<COUNT>(a, now->s, cut, now->cut + now->n_cut);
      if (threadIdx.x == 0) now->n_cut++;
    }
    warps_meet<COUNT>();
  }
  for (int i = 0; i < now->n_cut; i++) {
    unit_await<COUNT>(a, now->cut[i]);
    join(now->cut[i]);
    unit_leave(a, now->cut[i].cut);
    warps_meet<COUNT>();
  }
}

template <int D, typename RUN>
static __device__ __forceinline__ void share_run(const cuda_attend &a, const cuda_batch &batch, walk w, work *now,
                                                 uint8_t *ring, RUN &&run) {
  share_walk<ATTEND_PACKED, ATTEND_FEW, WARPS>(a, batch, w, now, run, [&](const held &h) {
    if (h.s.pieces <= FEW_PIECES)
      unit_join_few<D>(a, h);
    else
      unit_join<D>(a, ring, h);
  });
}

#endif
