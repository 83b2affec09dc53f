/* Numbers that are normally distributed, or nearly, each from its place alone (a hash of a counter): any thread makes
 * any of them, and host and device make the same. For weights of networks without files. */
#ifndef SPATE_BACKEND_RANDOM_NUMBER_H
#define SPATE_BACKEND_RANDOM_NUMBER_H

#include <stdint.h>

#ifdef __CUDACC__
#define RANDOM_FUNCTION static __host__ __device__ __forceinline__
#else
#define RANDOM_FUNCTION static inline
#endif

/* The spread of weights: that of networks before they are trained. */
#define RANDOM_WEIGHT_SPREAD 0.02f

/* The sum of four uniform numbers of 16 bits, brought to mean 0 and deviation 1: at most 3.5 from it. stream: which
 * weight; index: which of its elements. */
RANDOM_FUNCTION float random_normal(uint64_t stream, uint64_t index) {
  uint64_t h = (stream << 40 ^ index) * 0x9E3779B97F4A7C15u + 0x632BE59BD9B4E019u;
  h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
  h = (h ^ h >> 27) * 0x94D049BB133111EBu;
  h ^= h >> 31;
  int sum = (int)(h & 0xFFFF) + (int)(h >> 16 & 0xFFFF) + (int)(h >> 32 & 0xFFFF) + (int)(h >> 48);
  return ((float)sum - 131070.0f) * (1 / 37837.2f);
}

#endif
