/* The greatest result of each token in place of all (cuda_linear.greatest), where a step's tokens are drawn so: logits
 * do not go by way of device memory. What blocks raise is one number, so who comes first does not matter. */
#ifndef SPATE_BACKEND_CUDA_LINEAR_GREATEST_CUH
#define SPATE_BACKEND_CUDA_LINEAR_GREATEST_CUH

#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/row_order.cuh"

#include <math.h>

/* The greatest of results that come in the order of their columns. */
struct greatest_result {
  float most = -INFINITY;
  int col = -1;
  bool bad = false;

  __device__ __forceinline__ void add(float x, int at) {
    bad |= !(x < CUDART_INF_F);
    if (x > most) most = x, col = at;
  }

  /* Over so many lanes, which are neighbours and have results of one token; all of a warp. */
  template <int LANES> __device__ __forceinline__ unsigned long long place() const {
    unsigned long long place = bad ? row_order::PLACE_BAD : col < 0 ? 0 : row_order::place_of(most, col);
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) {
      unsigned long long other = __shfl_xor_sync(~0u, place, step);
      place = place > other ? place : other;
    }
    return place;
  }
};

static __device__ __forceinline__ void greatest_raise(const struct cuda_linear &a, int token,
                                                      unsigned long long place) {
  if (place) atomicMax(a.greatest + token, place);
}

#endif
