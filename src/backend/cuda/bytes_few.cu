/* Linears of few tokens over eight-bit weights, tokens rounded to eight bits: int8 (linear_few.cuh); FP8 is
 * coded_few.cu's.
 */
#include "backend/cuda/few_int8.cuh"

void cuda_bytes_few(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                    cuda_stream stream) {
  if (linear->matrix.kind == KIND_F8)
    cuda_coded_few(linear, n, between, multiprocessors, stream);
  else
    plain_chains<int8_tokens>::launch(linear, n, nullptr, between, multiprocessors, stream);
}
