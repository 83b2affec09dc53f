/* Linears of few tokens over bf16 weights (linear_few.cuh). */
#include "backend/cuda/few_bf16.cuh"

void cuda_linear_few(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                     cuda_stream stream) {
  plain_chains<sixteen_bits>::launch(linear, n, nullptr, between, multiprocessors, stream);
}
