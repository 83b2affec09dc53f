/* Single instructions of Hopper under names of their own (PTX ISA 9.0). */
#ifndef SPATE_BACKEND_CUDA_INSTRUCTIONS_CUH
#define SPATE_BACKEND_CUDA_INSTRUCTIONS_CUH

#include <cstdint>

static __device__ __forceinline__ uint32_t shared_address(const void *p) {
  return (uint32_t)__cvta_generic_to_shared(p);
}

/* --- barriers in shared memory: phases of arrivals and of bytes that have come -------------------------------------
 */

static __device__ __forceinline__ void barrier_init(uint64_t *bar, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(bar)), "r"(arrivals));
}

/* Makes initialised barriers visible to the copy engine. */
static __device__ __forceinline__ void barriers_publish() { asm volatile("fence.mbarrier_init.release.cluster;"); }

/* Arrives, and lets the phase wait for so many bytes. */
static __device__ __forceinline__ void barrier_expect(uint64_t *bar, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(bar)), "r"(bytes)
               : "memory");
}

/* Each lane arrives for itself, after what it has read or written. One for its warp would do after __syncwarp(), but
 * where the compiler knows the warp to be together that leaves no instruction, and racecheck sees lanes that nothing
 * orders; 32 arrivals cost as much as one. */
static __device__ __forceinline__ void barrier_arrive(uint64_t *bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(bar)) : "memory");
}

static __device__ __forceinline__ void barrier_wait(uint64_t *bar, uint32_t phase) {
  asm volatile("{\n.reg .pred p;\nAGAIN: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\nbra "
               "AGAIN;\nDONE:\n}" ::"r"(shared_address(bar)),
               "r"(phase)
               : "memory");
}

static __device__ __forceinline__ bool barrier_passed(uint64_t *bar, uint32_t phase) {
  uint32_t passed;
  asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
               : "=r"(passed)
               : "r"(shared_address(bar)), "r"(phase)
               : "memory");
  return passed;
}

/* --- copies ------------------------------------------------------------------------------------------------------- */

/* What is read once leaves the second-level cache first. */
static __device__ __forceinline__ uint64_t policy_evict_first() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

static __device__ __forceinline__ uint64_t policy_evict_normal() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

/* What is read again and again leaves it last. */
static __device__ __forceinline__ uint64_t policy_evict_last() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

/* Contiguous bytes, a multiple of 16, by the copy engine; the barrier counts them when they are there. */
static __device__ __forceinline__ void bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *bar,
                                                 uint64_t policy) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], "
               "%4;" ::"r"(shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(bar)), "l"(policy)
               : "memory");
}

/* The same of what is read again. */
static __device__ __forceinline__ void bulk_copy_kept(void *to, const void *from, uint32_t bytes, uint64_t *bar) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(bar))
               : "memory");
}

/* The same into that place of each block of the cluster that the mask names, each block's barrier counting its own. */
static __device__ __forceinline__ void bulk_copy_cluster(void *to, const void *from, uint32_t bytes, uint64_t *bar,
                                                         uint16_t blocks) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, "
               "[%3], %4;" ::"r"(shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(bar)), "h"(blocks)
               : "memory");
}

/* Contiguous bytes, a multiple of 16, nearer: to the second-level cache. */
static __device__ __forceinline__ void bulk_bring(const void *from, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}

/* --- words of device memory that others write meanwhile, each for itself -------------------------------------------
 */

static __device__ __forceinline__ uint32_t strong_load(const uint32_t *from) {
  uint32_t value;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

/* What was written before is there before it, what is read after is not older. Returns what there was. */
static __device__ __forceinline__ uint32_t ordered_add(uint32_t *to, uint32_t n) {
  uint32_t before;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(before) : "l"(to), "r"(n) : "memory");
  return before;
}

/* What is read after it is not older. */
static __device__ __forceinline__ uint32_t acquire_load(const uint32_t *from) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

static __device__ __forceinline__ uint4 strong_load(const uint4 *from) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from)
               : "memory");
  return v;
}

/* Zeros where there is nothing. */
static __device__ __forceinline__ uint4 strong_load_if(const uint4 *from, bool has) {
  uint4 v;
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %5, 0;\nmov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n"
      "@p ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];\n}"
      : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
      : "l"(from), "r"((int)has));
  return v;
}

static __device__ __forceinline__ void strong_store(uint32_t *to, uint32_t value) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}

static __device__ __forceinline__ void strong_store(uint4 *to, uint4 v) {
  asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
}

/* --- clusters of blocks ------------------------------------------------------------------------------------------- */

static __device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/* All threads of all blocks of the cluster. */
static __device__ __forceinline__ void cluster_meet() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* The same in two steps. */
static __device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}

static __device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* A shared address of this block as that of another block of the cluster. */
static __device__ __forceinline__ uint32_t address_in(uint32_t address, uint32_t rank) {
  uint32_t there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}

/* Orders nothing beyond the block: for who has only read, by matrix units. (A release for the cluster would wait for
 * all that the thread has in flight.) */
static __device__ __forceinline__ void barrier_arrive_in(uint64_t *bar, uint32_t rank) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(address_in(shared_address(bar), rank)) : "memory");
}

static __device__ __forceinline__ void store_in(uint32_t address, float4 value) {
  asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(address), "f"(value.x), "f"(value.y),
               "f"(value.z), "f"(value.w)
               : "memory");
}

/* Nothing waits for it but that block's barrier, which counts the bytes when they are there. */
static __device__ __forceinline__ void store_async_in(uint32_t address, float4 value, uint32_t bar) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(address),
      "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w), "r"(bar)
      : "memory");
}

/* --- matrices ----------------------------------------------------------------------------------------------------- */

/* Four 8 × 8 matrices of 16 bits, each lane giving the address of a row: the A operand of 16 × 16. */
static __device__ __forceinline__ void matrices_load(uint32_t a[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address));
}

/* The way back, of a lane's pairs as the A operand has them. */
static __device__ __forceinline__ void matrices_store(uint32_t address, const uint32_t a[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(a[0]), "r"(a[1]),
               "r"(a[2]), "r"(a[3])
               : "memory");
}

/* d[16 × 8] += a[16 × 16] · b[16 × 8], bf16 in, float sums. */
static __device__ __forceinline__ void multiply_bf16(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* The same four, each transposed. */
static __device__ __forceinline__ void matrices_load_turned(uint32_t a[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address)
               : "memory");
}

/* d[16 × 8] += a[16 × 16] · b[16 × 8], fp16 in, float sums. */
static __device__ __forceinline__ void multiply_f16(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* d[16 × 8] += a[16 × 32] · b[32 × 8], int8 in, int32 sums. */
static __device__ __forceinline__ void multiply_int8(int d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* 2 to the x; 0 for −∞. */
static __device__ __forceinline__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/* What threads have written to shared memory comes before what the copy engine writes there, or matrix units read. */
static __device__ __forceinline__ void shared_writes_publish() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* --- matrices of a warpgroup --------------------------------------------------------------------------------------
 */

/* An operand in shared memory, in rows of 128, 64 or 32 bytes under the swizzle of that width. groups: bytes from 8
 * rows to the next 8; panels: from a row's panel to the next (of operands whose rows are the sum's depth). */
static __device__ __forceinline__ uint64_t operand(uint32_t address, int width, int groups, int panels) {
  uint64_t mode = width == 64 ? 1 : width == 32 ? 2 : 3;
  return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(panels >> 4) << 16 | (uint64_t)(groups >> 4) << 32 |
         mode << 62;
}

/* One whose rows, of 64 columns, are the sum's rows or columns. */
static __device__ __forceinline__ uint64_t rows_operand(uint32_t address) { return operand(address, 64, 1024, 16); }

/* Registers written before may be read. */
static __device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/* All products since the last one are a group. */
static __device__ __forceinline__ void products_group() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* Until at most N groups are on their way. */
template <int N> static __device__ __forceinline__ void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* --- registers: warpgroups that copy leave theirs to those that multiply ------------------------------------------ */

template <int COUNT> static __device__ __forceinline__ void registers_release() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

template <int COUNT> static __device__ __forceinline__ void registers_claim() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

/* --- dependent launches: before 9.0 there are none ---------------------------------------------------------------- */

/* The next kernel in the stream may start, and do what needs nothing of this one. */
static __device__ __forceinline__ void dependents_launch() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* All that the kernels before have written is there. */
static __device__ __forceinline__ void dependencies_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

#endif
