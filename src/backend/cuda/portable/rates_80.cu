/* The limits of compute capability 8.0 and later. */
#include "backend/cuda/cuda_paths.h"
#include "backend/cuda/portable/rates.cuh"

void sm80_rate_multiply(enum rate_unit unit, int blocks, int rounds, uint32_t *sink, cuda_stream stream) {
  portable::rate_run<portable::sm80>(unit, blocks, rounds, sink, stream);
}

double sm80_rate_operations(enum rate_unit unit) { return portable::rate_operations_of(unit); }
