/* Kernels that do one thing as fast as the device can: what cuda_rates.c times. Launches fail by the runtime's last
 * error. */
#ifndef SPATE_BACKEND_CUDA_RATE_KERNELS_H
#define SPATE_BACKEND_CUDA_RATE_KERNELS_H

#include "backend/cuda/cuda_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum rate_unit { RATE_BF16, RATE_FP16, RATE_INT8, RATE_FP32, RATE_UNITS };

/* Reads all bytes once (a multiple of 1 MiB), by loads into registers or by bulk copies into shared memory. `sink` has
 * room for a word that is never written. Bulk copies, and the matrix units below: Hopper's. */
void rate_read_loads(const void *from, size_t bytes, uint32_t *sink, cuda_stream stream);
void rate_read_bulk(const void *from, size_t bytes, int blocks, cuda_stream stream);
void rate_copy(void *to, const void *from, size_t bytes, cuda_stream stream);

/* Fills bytes (a multiple of 4) with numbers that look random: zeros would cost the units less power. */
void rate_fill(void *to, size_t bytes, cuda_stream stream);

/* A block on each multiprocessor multiplies `rounds` times; the operations of one round of one block are
 * rate_operations. */
void rate_multiply(enum rate_unit unit, int blocks, int rounds, uint32_t *sink, cuda_stream stream);
double rate_operations(enum rate_unit unit);

/* What rate_multiply and rate_operations come to for RATE_FP32, on any device. */
void rate_multiply_fp32(int blocks, int rounds, uint32_t *sink, cuda_stream stream);
double rate_operations_fp32(void);

/* Every block waits for so many cycles. */
void rate_wait(int blocks, long long cycles, cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
