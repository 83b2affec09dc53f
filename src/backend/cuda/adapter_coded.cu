/* Linears of 1 to 16 tokens over weights of 4 and 8 bits, in steps with adapters (adapter_few.cuh). */
#include "backend/cuda/few_coded.cuh"

void cuda_adapter_coded(const struct cuda_linear *linear, int n, const struct cuda_adapted *adapted,
                        const struct cuda_between *between, int multiprocessors, cuda_stream stream) {
  coded_run<adapted_chains>(linear, n, adapted, between, multiprocessors, stream);
}
