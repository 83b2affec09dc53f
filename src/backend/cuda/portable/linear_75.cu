/* The linears of compute capability 7.5. */
#include "backend/cuda/cuda_paths.h"
#include "backend/cuda/portable/linear_few.cuh"
#include "backend/cuda/portable/linear_many.cuh"

using portable::sm75;

void sm75_linear_few(const struct cuda_linear *linear, int, const struct cuda_between *, int multiprocessors,
                     cuda_stream stream) {
  (void)multiprocessors;
  if (linear->matrix.kind == KIND_BF16)
    portable::few_run<sm75, KIND_BF16>(linear, stream);
  else
    portable::few_run<sm75, KIND_F16>(linear, stream);
}

void sm75_linear_many(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream) {
  if (linear->matrix.kind == KIND_BF16)
    portable::many_run<sm75, KIND_BF16>(linear, multiprocessors, stream);
  else
    portable::many_run<sm75, KIND_F16>(linear, multiprocessors, stream);
}

void sm75_exponents(const struct cuda_matrix *matrix, int32_t *exponent, cuda_stream stream) {
  int n_strip = (matrix->rows + portable::STRIP - 1) / portable::STRIP;
  portable::exponents_find<<<(n_strip + 7) / 8, 256, 0, stream>>>(*matrix, n_strip, exponent);
}
