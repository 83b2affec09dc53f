/* The greatest magnitude of numbers that are to be rounded with one scale. */
#ifndef SPATE_BACKEND_CUDA_PEAK_CUH
#define SPATE_BACKEND_CUDA_PEAK_CUH

/* Of two; NaN where either is. */
static __device__ __forceinline__ float peak_of(float x, float y) {
#if __CUDA_ARCH__ >= 800
  float peak;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(peak) : "f"(x), "f"(y));
  return peak;
#else
  return x >= y || x != x ? x : y;
#endif
}

#endif
