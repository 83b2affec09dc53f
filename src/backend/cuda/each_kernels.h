/* Linears of which each matrix has a part of the input and of the result, of bf16 weights. */
#ifndef SPATE_BACKEND_CUDA_EACH_KERNELS_H
#define SPATE_BACKEND_CUDA_EACH_KERNELS_H

#include "backend/cuda/cuda_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { EACH_FEW = 32 }; /* tokens whose weights stream */

struct cuda_each {
  const uint8_t *weights; /* of the first matrix: bf16 in pieces of whole 64 columns */
  uint64_t head_bytes;    /* from one to the next */
  const float *in;        /* [n_token][in_cols], of which n_head × cols are taken */
  float *out;             /* [n_token][out_cols], of which n_head × rows are made */
  int32_t n_head, rows, cols, n_token, in_cols, out_cols;
  int32_t multiprocessors;
  bool early; /* the launch of few may overlap the one before it */
};
void cuda_each_few(const struct cuda_each *each, cuda_stream stream);
void cuda_each_many(const struct cuda_each *each, cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
