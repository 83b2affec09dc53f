/* Matrix products of a warpgroup over bytes: wgmma, PTX ISA 9.0. Both operands lie in shared memory as rows of 128
 * bytes in the 128-byte swizzle of cuda_layout.h, as those of matrix_group.cuh do; a product takes 32 of them. E4M3
 * adds into floats of which Hopper keeps some 14 bits while it adds, so callers add few products before they take the
 * sums; int8 is exact. Sums lie as matrix_group.cuh has it. */
#ifndef SPATE_BACKEND_CUDA_BYTES_GROUP_CUH
#define SPATE_BACKEND_CUDA_BYTES_GROUP_CUH

#include "backend/cuda/instructions.cuh"

#define TEN(t)           "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9, "
#define FIRST_60         "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " TEN(1) TEN(2) TEN(3) TEN(4) TEN(5)
#define EIGHT(c, i)      c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3]), c(d[i + 4]), c(d[i + 5]), c(d[i + 6]), c(d[i + 7])
#define THIRTY_TWO(c, i) EIGHT(c, i), EIGHT(c, i + 8), EIGHT(c, i + 16), EIGHT(c, i + 24)
#define A_FLOAT(x)       "+f"(x)
#define AN_INT(x)        "+r"(x)
/* x, w, add: the numbers of the operands after the sums; types and ones are the instruction's. */
#define MULTIPLY(n, types, ones, sums, a, b, add, ...)                                                                 \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " add ", 0;\nwgmma.mma_async.sync.aligned.m64n" n "k32." types        \
               " {" sums "}, " a ", " b ", p" ones ";\n}"                                                              \
               : __VA_ARGS__                                                                                           \
               : "l"(x), "l"(w), "r"(more))
#define SUMS_32 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15", "%16", "%17", "%18"
#define SUMS_64 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " TEN(1) TEN(2) "%30, %31", "%32", "%33", "%34"
#define SUMS_96                                                                                                        \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " TEN(1) TEN(2) TEN(3) "%40, %41, %42, %43, %44, %45, %46, %47", "%48",     \
      "%49", "%50"
#define SUMS_112                                                                                                       \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " TEN(1) TEN(2) TEN(3) TEN(4) "%50, %51, %52, %53, %54, %55", "%56", "%57", \
      "%58"
#define SUMS_144 FIRST_60 TEN(6) "%70, %71", "%72", "%73", "%74"
#define SUMS_224 FIRST_60 TEN(6) TEN(7) TEN(8) TEN(9) TEN(10) "%110, %111", "%112", "%113", "%114"
#define SUMS_128 FIRST_60 "%60, %61, %62, %63", "%64", "%65", "%66"
#define SUMS_256                                                                                                       \
  FIRST_60 TEN(6) TEN(7) TEN(8) TEN(9) TEN(10) TEN(11) "%120, %121, %122, %123, %124, %125, %126, %127", "%128",       \
      "%129", "%130"

/* d[64 × COLS] (+)= x[64 × 32] · w[COLS × 32]ᵀ; more: 0 for the first. */
template <int COLS>
static __device__ __forceinline__ void bytes_multiply(float (&d)[COLS / 2], uint64_t x, uint64_t w, int more);
template <int COLS>
static __device__ __forceinline__ void bytes_multiply(int (&d)[COLS / 2], uint64_t x, uint64_t w, int more);

#define MULTIPLY_WITH(...) MULTIPLY(__VA_ARGS__)
#define BYTES_MULTIPLY(cols, ...)                                                                                      \
  template <>                                                                                                          \
  __device__ __forceinline__ void bytes_multiply<cols>(float(&d)[cols / 2], uint64_t x, uint64_t w, int more) {        \
    MULTIPLY_WITH(#cols, "f32.e4m3.e4m3", ", 1, 1", SUMS_##cols, __VA_ARGS__(A_FLOAT));                                \
  }                                                                                                                    \
  template <>                                                                                                          \
  __device__ __forceinline__ void bytes_multiply<cols>(int(&d)[cols / 2], uint64_t x, uint64_t w, int more) {          \
    MULTIPLY_WITH(#cols, "s32.s8.s8", "", SUMS_##cols, __VA_ARGS__(AN_INT));                                           \
  }
#define ALL_32(c)  EIGHT(c, 0), EIGHT(c, 8)
#define ALL_64(c)  THIRTY_TWO(c, 0)
#define ALL_96(c)  THIRTY_TWO(c, 0), EIGHT(c, 32), EIGHT(c, 40)
#define ALL_112(c) ALL_96(c), EIGHT(c, 48)
#define ALL_128(c) ALL_64(c), THIRTY_TWO(c, 32)
#define ALL_144(c) ALL_128(c), EIGHT(c, 64)
#define ALL_224(c) ALL_128(c), THIRTY_TWO(c, 64), EIGHT(c, 96), EIGHT(c, 104)
#define ALL_256(c) ALL_128(c), THIRTY_TWO(c, 64), THIRTY_TWO(c, 96)
BYTES_MULTIPLY(32, ALL_32)
BYTES_MULTIPLY(64, ALL_64)
BYTES_MULTIPLY(96, ALL_96)
BYTES_MULTIPLY(112, ALL_112)
BYTES_MULTIPLY(128, ALL_128)
BYTES_MULTIPLY(144, ALL_144)
BYTES_MULTIPLY(224, ALL_224)
BYTES_MULTIPLY(256, ALL_256)

#undef ALL_256
#undef ALL_224
#undef ALL_144
#undef ALL_128
#undef ALL_112
#undef ALL_96
#undef ALL_64
#undef ALL_32
#undef BYTES_MULTIPLY
#undef MULTIPLY_WITH
#undef SUMS_256
#undef SUMS_224
#undef SUMS_144
#undef SUMS_128
#undef SUMS_112
#undef SUMS_96
#undef SUMS_64
#undef SUMS_32
#undef MULTIPLY
#undef AN_INT
#undef A_FLOAT
#undef THIRTY_TWO
#undef EIGHT
#undef FIRST_60
#undef TEN

#endif
