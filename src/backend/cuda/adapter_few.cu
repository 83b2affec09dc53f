/* Linears of few tokens in steps with adapters (adapter_few.cuh). */
#include "backend/cuda/few_bf16.cuh"
#include "backend/cuda/few_int8.cuh"

void cuda_adapter_few(const struct cuda_linear *linear, int n, const struct cuda_adapted *adapted,
                      const struct cuda_between *between, int multiprocessors, cuda_stream stream) {
  const struct cuda_matrix &m = linear->matrix;
  if (m.bytes && m.kind != KIND_F8 && m.activation == ROUND_INT8_TOKEN)
    adapted_chains<int8_tokens>::launch(linear, n, adapted, between, multiprocessors, stream);
  else if (m.bytes || m.nibbles)
    cuda_adapter_coded(linear, n, adapted, between, multiprocessors, stream);
  else
    adapted_chains<sixteen_bits>::launch(linear, n, adapted, between, multiprocessors, stream);
}
