/* A row of logits in the shared memory of a cluster of blocks: each holds a run of whole chunks, padded with −∞. Sums
 * and maxima over the row are made in a fixed order, and every thread of the cluster gets them. Where there are no
 * clusters (ROW_BLOCKS 1) one block holds the row in device memory. */
#ifndef SPATE_BACKEND_CUDA_ROW_CLUSTER_CUH
#define SPATE_BACKEND_CUDA_ROW_CLUSTER_CUH

#ifndef ROW_BLOCKS
#define ROW_BLOCKS 8
#endif

#include "backend/cuda/row_order.cuh"

#include <cooperative_groups.h>
#include <math_constants.h>
#include <stdint.h>

namespace row_cluster {

using namespace row_order;

enum {
  CLUSTER = ROW_BLOCKS, /* blocks of a row */
  THREADS = CLUSTER > 1 ? 512 : 1024,
  WARPS = THREADS / 32,
  CHUNK = 1024,                     /* as ROW_CHUNK of row_passes.h: its sums are made again here, bit for bit */
  LANES = 16,                       /* partial sums of a chunk */
  MOST_CHUNKS = 54 * (8 / CLUSTER), /* of a block: what the shared memory of one of 8 has room for */
  MOST_VALUES = 8,
  MOST_LISTED = 1024, /* of a row, in a list of each block */
};

/* What the blocks of a cluster tell each other; by turns, so that one synchronization a reduction is enough. */
struct exchange {
  unsigned long long warp[WARPS][MOST_VALUES], part[2][CLUSTER][MOST_VALUES], total[MOST_VALUES];
  double chunk[MOST_CHUNKS]; /* sums of this block's chunks */
  int found, last;           /* places in a chunk */
  float list[MOST_LISTED];
};

struct row_share {
  float *x;           /* [n] of this block */
  int n, first, rank; /* entries, the token of the first */
  int turn;
  struct exchange *exchange;
};

struct sum_of {
  template <typename T> __device__ T operator()(T a, T b) const { return a + b; }
};
struct most_of {
  template <typename T> __device__ T operator()(T a, T b) const { return a > b ? a : b; }
};

/* All threads of the cluster; and the place in another of its blocks that has this one's name. */
#if ROW_BLOCKS > 1
__device__ inline void blocks_arrive() { cooperative_groups::this_cluster().barrier_arrive(); }
__device__ inline void blocks_wait() { cooperative_groups::this_cluster().barrier_wait(); }
template <typename T> __device__ T *place_in(T *here, int rank) {
  return cooperative_groups::this_cluster().map_shared_rank(here, rank);
}
#else
__device__ inline void blocks_arrive() {}
__device__ inline void blocks_wait() { __syncthreads(); }
template <typename T> __device__ T *place_in(T *here, int) { return here; }
#endif

__device__ inline void blocks_meet() {
  blocks_arrive();
  blocks_wait();
}

/* All threads of the cluster; T has 8 bytes. */
template <int N, typename T, typename F> __device__ void reduce(struct row_share &row, T (&value)[N], F combine) {
  static_assert(N <= MOST_VALUES && sizeof(T) == 8, "there is room for a few numbers of 8 bytes");
  struct exchange *e = row.exchange;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int i = 0; i < N; i++) {
    for (int step = 16; step > 0; step /= 2) value[i] = combine(value[i], __shfl_xor_sync(0xffffffffu, value[i], step));
    if (lane == 0) ((T *)e->warp[warp])[i] = value[i];
  }
  __syncthreads();
  if (threadIdx.x < N) {
    T part = ((T *)e->warp[0])[threadIdx.x];
    for (int w = 1; w < WARPS; w++) part = combine(part, ((T *)e->warp[w])[threadIdx.x]);
    T *mine = (T *)e->part[row.turn][row.rank] + threadIdx.x;
    for (int r = 0; r < CLUSTER; r++) *place_in(mine, r) = part;
  }
  blocks_meet();
  if (threadIdx.x < N) {
    T total = ((T *)e->part[row.turn][0])[threadIdx.x];
    for (int r = 1; r < CLUSTER; r++) total = combine(total, ((T *)e->part[row.turn][r])[threadIdx.x]);
    ((T *)e->total)[threadIdx.x] = total;
  }
  __syncthreads();
  for (int i = 0; i < N; i++) value[i] = ((T *)e->total)[i];
  row.turn ^= 1;
}

/* What the blocks before this one gave to the last reduction's first number. */
__device__ inline double sum_before(const struct row_share &row) {
  double sum = 0;
  for (int r = 0; r < row.rank; r++) sum += ((double *)row.exchange->part[row.turn ^ 1][r])[0];
  return sum;
}

/* --- weights ------------------------------------------------------------------------------------------------------ */

/* 2^((x − max) × scale), the bits of block_exp2 (row_passes_template.h): no operation may be fused. */
__device__ inline float weigh(float x, float max, float scale) {
  float f = __fmul_rn(__fsub_rn(x, max), scale);
  f = f > -127.0f ? f : -127.0f;
  float magic = __fadd_rn(f, 12582912.0f);
  f = __fsub_rn(f, __fsub_rn(magic, 12582912.0f));
  float series = __fadd_rn(__fmul_rn(0.00132647273f, f), 0.00967151299f);
  series = __fadd_rn(__fmul_rn(series, f), 0.0555073358f);
  series = __fadd_rn(__fmul_rn(series, f), 0.240222424f);
  series = __fadd_rn(__fmul_rn(series, f), 0.693147004f);
  series = __fadd_rn(__fmul_rn(series, f), 1.0f);
  return __fmul_rn(series, __uint_as_float((__float_as_uint(magic) + 127) << 23));
}

} // namespace row_cluster

#endif
