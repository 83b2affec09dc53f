/* Products of a warpgroup (4 warps) by Hopper's asynchronous matrix units, fp16 or bf16 in (T::bfloat), float sums.
 * Register order of sums: [column / 8][4], of a warp's rows lane / 4 and + 8, columns lane % 4 × 2 and + 1 (PTX ISA,
 * wgmma.mma_async). */
#ifndef SPATE_BACKEND_CUDA_WARPGROUP_CUH
#define SPATE_BACKEND_CUDA_WARPGROUP_CUH

#include "backend/cuda/instructions.cuh"

/* Computed by here, and not before: products and waits are in the compiler's eyes no use of the registers. */
template <int N> static __device__ __forceinline__ void registers_settle(float (&x)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(x[i])::"memory");
}

#define SUMS_4(d, i)  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SUMS_8(d, i)  SUMS_4(d, i), SUMS_4(d, i + 4)
#define SUMS_16(d, i) SUMS_8(d, i), SUMS_8(d, i + 8)
#define SUMS_32(d, i) SUMS_16(d, i), SUMS_16(d, i + 16)
#define SUMS_64(d, i) SUMS_32(d, i), SUMS_32(d, i + 32)

/* d[64 × 128] (+)= a[64 × 16] · b[128 × 16]ᵀ, both in shared memory. */
template <typename T>
static __device__ __forceinline__ void product_scores(float (&d)[64], uint64_t a, uint64_t b, int add) {
#define PRODUCT(NUMBERS)                                                                                               \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"                                                            \
               "wgmma.mma_async.sync.aligned.m64n128k16.f32." NUMBERS "." NUMBERS " {"                                 \
               "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                \
               "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                      \
               "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                      \
               "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"                        \
               "}, %64, %65, p, 1, 1, 0, 0;\n}"                                                                        \
               : SUMS_64(d, 0)                                                                                         \
               : "l"(a), "l"(b), "r"(add))
  if constexpr (T::bfloat)
    PRODUCT("bf16");
  else
    PRODUCT("f16");
#undef PRODUCT
}

/* d[64 × 128] (+)= a[64 × 16] · b[16 × 128], a in registers, b's rows the depth. */
template <typename T>
static __device__ __forceinline__ void product_values(float (&d)[64], const uint32_t a[4], uint64_t b, int add) {
#define PRODUCT(NUMBERS)                                                                                               \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"                                                            \
               "wgmma.mma_async.sync.aligned.m64n128k16.f32." NUMBERS "." NUMBERS " {"                                 \
               "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                \
               "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                      \
               "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                      \
               "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"                        \
               "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}"                                                          \
               : SUMS_64(d, 0)                                                                                         \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add))
  if constexpr (T::bfloat)
    PRODUCT("bf16");
  else
    PRODUCT("f16");
#undef PRODUCT
}

/* d[64 × 64] (+)= a[64 × 16] · b[16 × 64], a in registers, b's rows the depth. */
template <typename T>
static __device__ __forceinline__ void product_values(float (&d)[32], const uint32_t a[4], uint64_t b, int add) {
#define PRODUCT(NUMBERS)                                                                                               \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"                                                            \
               "wgmma.mma_async.sync.aligned.m64n64k16.f32." NUMBERS "." NUMBERS " {"                                  \
               "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                \
               "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"                        \
               "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"                                                          \
               : SUMS_32(d, 0)                                                                                         \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add))
  if constexpr (T::bfloat)
    PRODUCT("bf16");
  else
    PRODUCT("f16");
#undef PRODUCT
}

/* d[64 × 32] (+)= a[64 × 16] · b[16 × 32], a in registers, b's rows the depth. */
template <typename T>
static __device__ __forceinline__ void product_values(float (&d)[16], const uint32_t a[4], uint64_t b, int add) {
#define PRODUCT(NUMBERS)                                                                                               \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"                                                            \
               "wgmma.mma_async.sync.aligned.m64n32k16.f32." NUMBERS "." NUMBERS " {"                                  \
               "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"                                  \
               "}, {%16, %17, %18, %19}, %20, p, 1, 1, 1;\n}"                                                          \
               : SUMS_16(d, 0)                                                                                         \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add))
  if constexpr (T::bfloat)
    PRODUCT("bf16");
  else
    PRODUCT("f16");
#undef PRODUCT
}

/* d[64 × 16] (+)= a[64 × 16] · b[16 × 16], a in registers, b's rows the depth. */
template <typename T>
static __device__ __forceinline__ void product_values(float (&d)[8], const uint32_t a[4], uint64_t b, int add) {
#define PRODUCT(NUMBERS)                                                                                               \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %13, 0;\n"                                                            \
               "wgmma.mma_async.sync.aligned.m64n16k16.f32." NUMBERS "." NUMBERS " {"                                  \
               "%0, %1, %2, %3, %4, %5, %6, %7"                                                                        \
               "}, {%8, %9, %10, %11}, %12, p, 1, 1, 1;\n}"                                                            \
               : SUMS_8(d, 0)                                                                                          \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add))
  if constexpr (T::bfloat)
    PRODUCT("bf16");
  else
    PRODUCT("f16");
#undef PRODUCT
}

#endif
