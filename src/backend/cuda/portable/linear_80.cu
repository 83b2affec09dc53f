/* The linears of compute capability 8.0 and later. */
#include "backend/cuda/cuda_paths.h"
#include "backend/cuda/portable/linear_few.cuh"
#include "backend/cuda/portable/linear_many.cuh"

using portable::sm80;

void sm80_linear_few(const struct cuda_linear *linear, int, const struct cuda_between *, int multiprocessors,
                     cuda_stream stream) {
  (void)multiprocessors;
  if (linear->matrix.kind == KIND_BF16)
    portable::few_run<sm80, KIND_BF16>(linear, stream);
  else
    portable::few_run<sm80, KIND_F16>(linear, stream);
}

void sm80_linear_many(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream) {
  if (linear->matrix.kind == KIND_BF16)
    portable::many_run<sm80, KIND_BF16>(linear, multiprocessors, stream);
  else
    portable::many_run<sm80, KIND_F16>(linear, multiprocessors, stream);
}
