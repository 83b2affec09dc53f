/* Numbers that look random: zeros would cost the units less power, so the clock would stay higher. */
#ifndef SPATE_BACKEND_CUDA_RATE_NUMBERS_CUH
#define SPATE_BACKEND_CUDA_RATE_NUMBERS_CUH

#include "backend/cuda/rate_kernels.h"

/* Sixteen-bit floats between ±2⁻⁷ and ±2, in either format not far from 1. */
static __device__ uint32_t numbers(uint32_t i) {
  uint32_t h = i * 0x9E3779B9u;
  h = (h ^ h >> 16) * 0x85EBCA6Bu;
  h ^= h >> 13;
  return (h & 0x83FF83FFu) | 0x3C003C00u;
}

#endif
