/* How the sums of linear_few.cu's warps, and of the two blocks of a team, come together in shared memory. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_SUMS_CUH
#define SPATE_BACKEND_CUDA_LINEAR_SUMS_CUH

#include "backend/cuda/linear_ring.cuh"

namespace linear_ring {

__device__ __forceinline__ void warps_meet() { asm volatile("bar.sync 1, %0;" ::"n"(WARPS * 32) : "memory"); }

/* Where a lane's four sums of 2 rows × 2 tokens lie among 32: this way neither who leaves them nor who takes those of a
 * token meets another on its banks. */
__device__ __forceinline__ int four_at(int row, int pair) { return pair * 8 + (row ^ pair * 2); }

/* A product's sum: of the warps in order, of the columns' halves in each. row and token: among the block's own. */
template <typename S, int TILES>
__device__ __forceinline__ typename S::sum total_of(const ring<S, TILES> &r, int token, int row) {
  const typename S::sum *from =
      (const typename S::sum *)(r.sums + (row / 16 * own_of(TILES) + token / 8) * 32 + four_at(row % 8, token % 8 / 2));
  typename S::sum total = 0;
  from += row % 16 / 8 * 2 + token % 2;
#pragma unroll
  for (int w = 0; w < WARPS; w++, from += sums_of<S>(TILES) * 4)
    total += team_of(TILES) == 1 ? *from : *from + from[WARPS * sums_of<S>(TILES) * 4];
  return total;
}

__device__ __forceinline__ float4 four_of(const float *x) { return make_float4(x[0], x[1], x[2], x[3]); }
__device__ __forceinline__ float4 four_of(const int *x) {
  return make_float4(__int_as_float(x[0]), __int_as_float(x[1]), __int_as_float(x[2]), __int_as_float(x[3]));
}

/* A warp's sums of n strips to where the block takes them, and those of the other half of the tokens to the other. */
template <typename S, int TILES>
__device__ __forceinline__ void sums_leave(const ring<S, TILES> &r, int n, const typename S::sum (*sum)[TILES][4]) {
  constexpr int own = own_of(TILES);
  int lane = threadIdx.x % 32, rank = team_rank<TILES>(), warp = threadIdx.x / 32;
  float4 *mine = r.sums + warp * sums_of<S>(TILES) + four_at(lane / 4, lane % 4);
  uint32_t there = 0, came = 0;
  if (team_of(TILES) == 2) {
    there = address_in(shared_address(mine + WARPS * sums_of<S>(TILES)), rank ^ 1);
    came = address_in(shared_address(r.came), rank ^ 1);
  }
#pragma unroll
  for (int i = 0; i < strips_of<S>(TILES); i++)
#pragma unroll
    for (int t = 0; t < own && i < n; t++) {
      float4 low = four_of(sum[i][t]), high = four_of(sum[i][TILES - own + t]);
      mine[(i * own + t) * 32] = rank ? high : low;
      if (team_of(TILES) == 2) store_async_in(there + (i * own + t) * 512, rank ? low : high, came);
    }
}

/* Of n strips, until all are there. turn: how many groups there were, modulo 2; meanwhile: what is done while others
 * are waited for. */
template <typename S, int TILES, typename WORK>
__device__ __forceinline__ void sums_meet(const ring<S, TILES> &r, int n, const typename S::sum (*sum)[TILES][4],
                                          uint32_t turn, WORK meanwhile) {
  if (team_of(TILES) == 2) barrier_wait(r.taken, turn ^ 1);
  sums_leave<S, TILES>(r, n, sum);
  if (team_of(TILES) == 2 && threadIdx.x == 0) barrier_expect(r.came, WARPS * n * own_of(TILES) * 512);
  meanwhile();
  warps_meet();
  if (team_of(TILES) == 2) barrier_wait(r.came, turn);
}

/* All have taken them. */
template <typename S, int TILES> __device__ __forceinline__ void sums_free(const ring<S, TILES> &r) {
  warps_meet();
  if (team_of(TILES) == 2 && threadIdx.x == 0) barrier_arrive_in(r.taken, team_rank<TILES>() ^ 1);
}

} // namespace linear_ring

#endif
