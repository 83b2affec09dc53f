/* Experts from the host's memory, which the device reads over the bus as if it were its own. */
#include "backend/cuda/expert_kernels.h"

namespace {

/* The bus is full with a quarter of the multiprocessors (bench/lab/host_experts.cu). */
enum { THREADS = 512, LOADS = 4, BLOCKS = 64, UNIT = THREADS * LOADS * 16 };

/* Units of all experts that are wanted, in turn; all loads of one are out before its first store. */
__global__ void __launch_bounds__(THREADS)
    experts_fetch(const int32_t *active, const int32_t *count, const uint8_t *from, uint8_t *to, uint64_t bytes) {
  uint64_t units = (bytes + UNIT - 1) / UNIT, all = units * *count;
  for (uint64_t i = blockIdx.x; i < all; i += gridDim.x) {
    uint64_t base = active[i / units] * bytes, first = i % units * UNIT + threadIdx.x * 16;
    uint4 part[LOADS];
#pragma unroll
    for (int k = 0; k < LOADS; k++) {
      uint64_t at = first + k * THREADS * 16;
      if (at < bytes) part[k] = __ldcs((const uint4 *)(from + base + at));
    }
#pragma unroll
    for (int k = 0; k < LOADS; k++) {
      uint64_t at = first + k * THREADS * 16;
      if (at < bytes) *(uint4 *)(to + base + at) = part[k];
    }
  }
}

} // namespace

void cuda_experts_fetch(const struct cuda_expert_lists *lists, const uint8_t *host, uint8_t *to, uint64_t expert_bytes,
                        cuda_stream stream) {
  experts_fetch<<<BLOCKS, THREADS, 0, stream>>>(lists->active, lists->counts, host, to, expert_bytes);
}
