/* What the linears of a chain (linear_few.cu) leave each other: words of device memory that are all ones until they are
 * written, so that who waits for a word reads it until it is another. No result is all ones: floats and pairs of bf16
 * that are no numbers have one form.
 *
 * There are two sets of such words. A launch uses one and makes the other, which the launch before has used, all ones;
 * the end of a launch is what puts them in order. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_BETWEEN_CUH
#define SPATE_BACKEND_CUDA_LINEAR_BETWEEN_CUH

#include "backend/cuda/instructions.cuh"

#include <cuda_bf16.h>

namespace linear_between {

enum { LEFT, SET, USED }; /* of the state: blocks that have left; which set is next; units of 16 bytes used of each */

__device__ __forceinline__ bool there(uint32_t word) { return word != ~0u; }
__device__ __forceinline__ bool there(uint4 v) { return there(v.x) && there(v.y) && there(v.z) && there(v.w); }

__device__ __forceinline__ uint4 *set_at(uint4 *sets, uint32_t units, uint32_t which) {
  return sets + (size_t)which * units;
}

/* A block's share of the set that is not used, by so many threads of it. */
__device__ __forceinline__ void set_clear(const uint32_t *state, uint4 *sets, uint32_t units, int thread, int threads) {
  uint32_t other = strong_load(state + SET) ^ 1, used = strong_load(state + USED + other);
  uint4 *from = set_at(sets, units, other);
  for (uint32_t i = blockIdx.x * threads + thread; i < used; i += gridDim.x * threads) from[i] = {~0u, ~0u, ~0u, ~0u};
}

/* A thread of each block: who leaves last turns to the other set. */
__device__ __forceinline__ void set_leave(uint32_t *state, uint32_t used) {
  if (atomicAdd(&state[LEFT], 1) < gridDim.x - 1) return;
  uint32_t which = state[SET];
  state[LEFT] = 0, state[USED + which] = used, state[SET] = which ^ 1;
}

} // namespace linear_between

#endif
