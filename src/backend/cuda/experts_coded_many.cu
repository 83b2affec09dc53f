/* Linears over experts of weights of 4 and 8 bits, of many tokens: experts_coded.cuh. */
#include "backend/cuda/experts_coded.cuh"

using namespace experts_coded;

void cuda_experts_coded_many(const struct cuda_experts *e, cuda_stream stream) {
  auto run = [=](auto coding) { many_launch<decltype(coding)>(*e, stream); };
  if (e->linear.matrix.bytes)
    bytes_choose(e->linear.matrix, run);
  else
    nibbles_choose(e->linear.matrix, run);
}
