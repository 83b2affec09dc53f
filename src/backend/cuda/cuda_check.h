/* The CUDA runtime's answers as sentences. */
#ifndef SPATE_BACKEND_CUDA_CHECK_H
#define SPATE_BACKEND_CUDA_CHECK_H

#include "base/error.h"

#include <cuda_runtime_api.h>

/* True on success. what: "copying weights to the GPU". */
bool cuda_check(cudaError_t status, const char *what, struct error *error);

#endif
