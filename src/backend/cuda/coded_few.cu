/* Linears of 1 to 16 tokens over weights of 4 and 8 bits (linear_few.cuh). */
#include "backend/cuda/few_coded.cuh"

void cuda_coded_few(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                    cuda_stream stream) {
  coded_run<plain_chains>(linear, n, nullptr, between, multiprocessors, stream);
}
