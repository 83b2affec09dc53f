/* Random numbers, each from its place alone (a function of a counter): any thread makes any of them, and host and
 * device make the same. Uniform ones are what sampling draws with, normal ones the weights of networks without files.
 */
#ifndef SPATE_BACKEND_RANDOM_NUMBER_H
#define SPATE_BACKEND_RANDOM_NUMBER_H

#include <stdint.h>

#ifdef __CUDACC__
#define RANDOM_FUNCTION static __host__ __device__ __forceinline__
#else
#define RANDOM_FUNCTION static inline
#endif

/* Philox 4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A bijection of
 * the counter under a key: any draw is found without the draws before it. */
RANDOM_FUNCTION double random_uniform(uint64_t seed, uint64_t index) {
  uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  uint32_t word[4] = {(uint32_t)index, (uint32_t)(index >> 32), 0, 0};
  for (int round = 0; round < 10; round++) {
    uint64_t a = (uint64_t)0xD2511F53u * word[0], b = (uint64_t)0xCD9E8D57u * word[2];
    word[0] = (uint32_t)(b >> 32) ^ word[1] ^ key[0];
    word[1] = (uint32_t)b;
    word[2] = (uint32_t)(a >> 32) ^ word[3] ^ key[1];
    word[3] = (uint32_t)a;
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return (double)(((uint64_t)word[0] << 32 | word[1]) >> 11) * 0x1p-53;
}

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
