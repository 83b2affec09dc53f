/* What kernels ask of the compiler. */
#ifndef SPATE_BACKEND_CPU_KERNEL_MACROS_H
#define SPATE_BACKEND_CPU_KERNEL_MACROS_H

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* What is rarely called, beside loops that want the registers and the instruction cache for themselves. */
#define NEVER_INLINE __attribute__((noinline))

/* Before a loop of constant length whose body indexes an array of vectors: unrolled, the array is registers. */
#define KERNEL_PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define UNROLL(n) KERNEL_PRAGMA(unroll n)
#else
#define UNROLL(n) KERNEL_PRAGMA(GCC unroll n)
#endif

/* A pointer of which the compiler forgets how it was computed, so that what is near it is addressed from it. */
#define FORGET_ORIGIN(pointer) __asm__("" : "+r"(pointer))

#endif
