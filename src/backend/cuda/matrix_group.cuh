/* Matrix products of a warpgroup (four warps): wgmma, PTX ISA 9.0. Both operands lie in shared memory as rows of 64
 * bf16 columns in the 128-byte swizzle of cuda_layout.h; the sums are in registers: lane l of warp w has, of each 8
 * columns j, rows w × 16 + l / 4 (d[4j], d[4j + 1]) and 8 further (d[4j + 2], d[4j + 3]), columns l % 4 × 2 and + 1. */
#ifndef SPATE_BACKEND_CUDA_MATRIX_GROUP_CUH
#define SPATE_BACKEND_CUDA_MATRIX_GROUP_CUH

#include "backend/cuda/instructions.cuh"

#define TEN(t)   "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9, "
#define FIRST_60 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " TEN(1) TEN(2) TEN(3) TEN(4) TEN(5)
#define EIGHT(i)                                                                                                       \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]),          \
      "+f"(d[i + 7])
#define THIRTY_TWO(i) EIGHT(i), EIGHT(i + 8), EIGHT(i + 16), EIGHT(i + 24)
/* The numbers of the operands after the sums: a, b, and whether d is added to. */
#define MULTIPLY(n, sums, a, b, add, ...)                                                                              \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " add ", 0;\nwgmma.mma_async.sync.aligned.m64n" n                     \
               "k16.f32.bf16.bf16 {" sums "}, " a ", " b ", p, 1, 1, 0, 0;\n}"                                         \
               : __VA_ARGS__                                                                                           \
               : "l"(x), "l"(w), "r"(more))

/* d[64 × COLS] (+)= x[64 × 16] · w[COLS × 16]ᵀ; more: 0 for the first. */
template <int COLS>
static __device__ __forceinline__ void group_multiply(float (&d)[COLS / 2], uint64_t x, uint64_t w, int more);

template <> __device__ __forceinline__ void group_multiply<64>(float (&d)[32], uint64_t x, uint64_t w, int more) {
  MULTIPLY("64", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " TEN(1) TEN(2) "%30, %31", "%32", "%33", "%34",
           THIRTY_TWO(0));
}

template <> __device__ __forceinline__ void group_multiply<96>(float (&d)[48], uint64_t x, uint64_t w, int more) {
  MULTIPLY("96",
           "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " TEN(1) TEN(2) TEN(3) "%40, %41, %42, %43, %44, %45, %46, %47",
           "%48", "%49", "%50", THIRTY_TWO(0), EIGHT(32), EIGHT(40));
}

template <> __device__ __forceinline__ void group_multiply<128>(float (&d)[64], uint64_t x, uint64_t w, int more) {
  MULTIPLY("128", FIRST_60 "%60, %61, %62, %63", "%64", "%65", "%66", THIRTY_TWO(0), THIRTY_TWO(32));
}

template <> __device__ __forceinline__ void group_multiply<144>(float (&d)[72], uint64_t x, uint64_t w, int more) {
  MULTIPLY("144", FIRST_60 TEN(6) "%70, %71", "%72", "%73", "%74", THIRTY_TWO(0), THIRTY_TWO(32), EIGHT(64));
}

template <> __device__ __forceinline__ void group_multiply<192>(float (&d)[96], uint64_t x, uint64_t w, int more) {
  MULTIPLY("192", FIRST_60 TEN(6) TEN(7) TEN(8) "%90, %91, %92, %93, %94, %95", "%96", "%97", "%98", THIRTY_TWO(0),
           THIRTY_TWO(32), THIRTY_TWO(64));
}

template <> __device__ __forceinline__ void group_multiply<208>(float (&d)[104], uint64_t x, uint64_t w, int more) {
  MULTIPLY("208", FIRST_60 TEN(6) TEN(7) TEN(8) TEN(9) "%100, %101, %102, %103", "%104", "%105", "%106", THIRTY_TWO(0),
           THIRTY_TWO(32), THIRTY_TWO(64), EIGHT(96));
}

template <> __device__ __forceinline__ void group_multiply<224>(float (&d)[112], uint64_t x, uint64_t w, int more) {
  MULTIPLY("224", FIRST_60 TEN(6) TEN(7) TEN(8) TEN(9) TEN(10) "%110, %111", "%112", "%113", "%114", THIRTY_TWO(0),
           THIRTY_TWO(32), THIRTY_TWO(64), EIGHT(96), EIGHT(104));
}

template <> __device__ __forceinline__ void group_multiply<256>(float (&d)[128], uint64_t x, uint64_t w, int more) {
  MULTIPLY("256", FIRST_60 TEN(6) TEN(7) TEN(8) TEN(9) TEN(10) TEN(11) "%120, %121, %122, %123, %124, %125, %126, %127",
           "%128", "%129", "%130", THIRTY_TWO(0), THIRTY_TWO(32), THIRTY_TWO(64), THIRTY_TWO(96));
}

/* The same with x in registers: of its rows w × 16 + l / 4 (x[0], x[2]) and 8 further (x[1], x[3]), columns l % 4 × 2
 * and + 1, and 8 further. d has something. */
#define ADD(n, sums, x0, x1, x2, x3, w_, ...)                                                                          \
  asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"                                                              \
               "wgmma.mma_async.sync.aligned.m64n" n "k16.f32.bf16.bf16 {" sums "}, {" x0 ", " x1 ", " x2 ", " x3      \
               "}, " w_ ", p, 1, 1, 0;\n}"                                                                             \
               : __VA_ARGS__                                                                                           \
               : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "l"(w))

template <int COLS>
static __device__ __forceinline__ void group_add(float (&d)[COLS / 2], const uint32_t *x, uint64_t w);

template <> __device__ __forceinline__ void group_add<32>(float (&d)[16], const uint32_t *x, uint64_t w) {
  ADD("32", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15", "%16", "%17", "%18", "%19", "%20",
      EIGHT(0), EIGHT(8));
}

template <> __device__ __forceinline__ void group_add<64>(float (&d)[32], const uint32_t *x, uint64_t w) {
  ADD("64", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " TEN(1) TEN(2) "%30, %31", "%32", "%33", "%34", "%35", "%36",
      THIRTY_TWO(0));
}

template <> __device__ __forceinline__ void group_add<128>(float (&d)[64], const uint32_t *x, uint64_t w) {
  ADD("128", FIRST_60 "%60, %61, %62, %63", "%64", "%65", "%66", "%67", "%68", THIRTY_TWO(0), THIRTY_TWO(32));
}

#undef ADD
#undef MULTIPLY
#undef THIRTY_TWO
#undef EIGHT
#undef FIRST_60
#undef TEN

#endif
