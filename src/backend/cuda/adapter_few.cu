/* Linears of few tokens over bf16 weights, in steps with adapters (adapter_few.cuh). */
#include "backend/cuda/adapter_few.cuh"
#include "backend/cuda/few_bf16.cuh"

namespace {

struct adapted_bits;

} // namespace

namespace linear_ring {

template <> struct has_adapters<adapted_bits> { static constexpr bool value = true; };

} // namespace linear_ring

namespace {

struct adapted_bits : sixteen_bits {
  template <int TILES> using expansion = linear_chain::expansion<strips_of<sixteen_bits>(TILES), TILES>;

  static __device__ __forceinline__ void part_shrink(const chain &c, const uint4 *tokens, int part) {
    linear_chain::part_shrink(c, tokens, part);
  }

  static __device__ __forceinline__ void parts_join(const chain &c, const uint4 *set) {
    linear_chain::parts_join(c, set);
  }
};

} // namespace

void cuda_adapter_few(const struct cuda_linear *linear, int n, const struct cuda_adapted *adapted,
                      const struct cuda_between *between, int multiprocessors, cuda_stream stream) {
  chains_run<adapted_bits>(linear, n, between, multiprocessors, stream, adapted, 0);
}
