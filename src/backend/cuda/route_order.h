/* The order in which a route prefers experts, as one number: the greater is first. Of equals the lower id comes first,
 * what is no number last. For kernels and for the host. */
#ifndef SPATE_BACKEND_CUDA_ROUTE_ORDER_H
#define SPATE_BACKEND_CUDA_ROUTE_ORDER_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define ROUTE_ORDER static __host__ __device__ __forceinline__
#else
#define ROUTE_ORDER static inline
#endif

ROUTE_ORDER uint64_t route_key(float by, int id) {
  uint32_t bits, order = 0;
  by += 0.0f; /* −0 is 0 */
  memcpy(&bits, &by, sizeof bits);
  if (by == by) order = bits >> 31 ? ~bits : bits | 0x80000000u;
  return (uint64_t)order << 32 | (0xffffffffu - (uint32_t)id);
}

ROUTE_ORDER int route_id(uint64_t key) { return (int)(0xffffffffu - (uint32_t)key); }

#endif
