/* Random weights and caches, made on the device. Launches fail by the runtime's last error. */
#ifndef SPATE_BACKEND_CUDA_RANDOM_KERNELS_H
#define SPATE_BACKEND_CUDA_RANDOM_KERNELS_H

#include "backend/cuda/cuda_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum random_type { RANDOM_F32, RANDOM_F16, RANDOM_BF16, RANDOM_E4M3, RANDOM_INT8, RANDOM_INT4 };

/* A matrix in strips of pieces (cuda_layout.h). */
struct random_matrix {
  uint8_t *data;
  int32_t rows, cols;
  uint64_t strip_bytes, bytes, piece_bytes, head_bytes; /* piece, head: of bytes and of four bits */
  uint64_t stream;                                      /* of random_number.h */
  float spread;
  uint8_t type;    /* enum random_type */
  uint8_t has_min; /* of four bits, which have a scale for each 128 columns, */
  uint8_t e2m1;    /* or are E2M1, with bf16 scales */
};

void random_weight_make(const struct random_matrix *matrix, cuda_stream stream);
void random_cache_fill(void *cache, size_t count, enum random_type type, uint64_t numbers, cuda_stream stream);
/* Codes, and after `codes` bytes of each `period` floats that are a scale. */
void random_codes_fill(void *cache, size_t bytes, size_t codes, size_t period, enum random_type type, uint64_t numbers,
                       cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
