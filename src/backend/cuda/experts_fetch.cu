/* Experts from the host's memory, which the device reads over the bus as if it were its own. */
#include "backend/cuda/expert_kernels.h"

namespace {

enum { THREADS = 512, LOADS = 4, BLOCKS = 132, UNIT = THREADS * LOADS * 16 };

struct fetch {
  const int32_t *active, *count; /* NULL: all n_expert */
  int n_expert;
  const uint8_t *from;
  uint8_t *to;
  uint64_t bytes; /* of an expert */
};

/* Units of all experts that are wanted, in turn; all loads of one are out before its first store. */
__global__ void __launch_bounds__(THREADS) experts_fetch(const __grid_constant__ fetch f) {
  uint64_t units = (f.bytes + UNIT - 1) / UNIT, all = units * (f.count ? *f.count : f.n_expert);
  for (uint64_t i = blockIdx.x; i < all; i += gridDim.x) {
    uint64_t expert = f.active ? f.active[i / units] : i / units, base = expert * f.bytes;
    uint64_t first = i % units * UNIT + threadIdx.x * 16;
    uint4 part[LOADS];
#pragma unroll
    for (int k = 0; k < LOADS; k++) {
      uint64_t at = first + k * THREADS * 16;
      if (at < f.bytes) part[k] = __ldcs((const uint4 *)(f.from + base + at));
    }
#pragma unroll
    for (int k = 0; k < LOADS; k++) {
      uint64_t at = first + k * THREADS * 16;
      if (at < f.bytes) *(uint4 *)(f.to + base + at) = part[k];
    }
  }
}

} // namespace

void cuda_experts_fetch(const struct cuda_expert_lists *lists, int n_expert, const uint8_t *host, uint8_t *to,
                        uint64_t expert_bytes, cuda_stream stream) {
  fetch f = {lists ? lists->active : nullptr, lists ? lists->counts : nullptr, n_expert, host, to, expert_bytes};
  experts_fetch<<<BLOCKS, THREADS, 0, stream>>>(f);
}
