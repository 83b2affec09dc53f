/* The instructions in which compute capabilities 8.0 and 7.5 differ, under one name each (PTX ISA 9.0): kernels of this
 * folder are templates over one of these sets, and each set's kernels are compiled for its capability alone. What later
 * devices run of them is compiled from PTX by the driver. */
#ifndef SPATE_BACKEND_CUDA_PORTABLE_INSTRUCTIONS_CUH
#define SPATE_BACKEND_CUDA_PORTABLE_INSTRUCTIONS_CUH

#include "backend/cuda/attend_type.cuh"
#include "backend/cuda/cuda_kernels.h"

namespace portable {

/* Copies go from memory to shared memory by themselves; bf16 is multiplied as it is. */
struct sm80 {
  static constexpr int shared_most = 99 * 1024; /* of a block: what 8.6 and 8.9 have */
  static constexpr bool bfloat = true;
  typedef cache_f16 cache;

  /* 16 bytes, or zeros. */
  static __device__ __forceinline__ void copy(void *to, const void *from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
  }
  static __device__ __forceinline__ void copies_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
  /* Until at most N of this thread's groups are on their way. */
  template <int N> static __device__ __forceinline__ void copies_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
  }

  static __device__ __forceinline__ void multiply(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    multiply_f16(d, a, b0, b1);
  }
  /* d[16 × 8] += a[16 × 32] · b[32 × 8] of 8 bits. */
  static __device__ __forceinline__ void multiply_int8(int32_t d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
};

/* The same where what is multiplied is bf16. */
struct sm80_bf16 : sm80 {
  typedef cache_bf16 cache;

  static __device__ __forceinline__ void multiply(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    multiply_bf16(d, a, b0, b1);
  }
};

/* Copies go through registers, so a thread waits for its own; the depth of a product is 8; there is no bf16. */
struct sm75 {
  static constexpr int shared_most = 64 * 1024;
  static constexpr bool bfloat = false;
  typedef cache_f16 cache;

  static __device__ __forceinline__ void copy(void *to, const void *from, bool there) {
    uint4 x = make_uint4(0, 0, 0, 0);
    if (there) x = *(const uint4 *)from;
    *(uint4 *)to = x;
  }
  static __device__ __forceinline__ void copies_group() {}
  template <int N> static __device__ __forceinline__ void copies_wait() {}

  static __device__ __forceinline__ void multiply(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    multiply_8(d, a[0], a[1], b0);
    multiply_8(d, a[2], a[3], b1);
  }
  static __device__ __forceinline__ void multiply_int8(int32_t d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
#pragma unroll
    for (int i = 0; i < 4; i++) /* 8 rows × 8 columns × 16 */
      asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
                   : "+r"(d[i % 2 * 2]), "+r"(d[i % 2 * 2 + 1])
                   : "r"(a[i]), "r"(i / 2 ? b1 : b0));
  }

private:
  /* d[16 × 8] += a[16 × 8] · b[8 × 8], fp16 in, float sums. */
  static __device__ __forceinline__ void multiply_8(float d[4], uint32_t a0, uint32_t a1, uint32_t b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(b));
  }
};

/* A ring of stages in shared memory: a stage is asked for STAGES − 1 ahead, and its place is free when every thread has
 * come to the stage after the one that it held. */
template <typename ISA, int STAGES> struct ring {
  static_assert(STAGES >= 2, "one stage is read while another comes");

  template <typename F> static __device__ __forceinline__ void begin(F &&ask) {
#pragma unroll 1
    for (int i = 0; i < STAGES - 1; i++) ask(i, i), ISA::copies_group();
  }
  /* Stage i is there; the place where it is. All threads of the block; `ask` leaves out what is beyond the end. */
  template <typename F> static __device__ __forceinline__ int next(int i, F &&ask) {
    ISA::template copies_wait<STAGES - 2>();
    __syncthreads();
    ask(i + STAGES - 1, (i + STAGES - 1) % STAGES);
    ISA::copies_group();
    return i % STAGES;
  }
};

} // namespace portable

#endif
