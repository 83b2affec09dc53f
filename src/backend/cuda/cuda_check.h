/* The CUDA runtime's answers as sentences. */
#ifndef SPATE_BACKEND_CUDA_CHECK_H
#define SPATE_BACKEND_CUDA_CHECK_H

#include "base/error.h"

#include <stddef.h>

#include <cuda_runtime_api.h>

/* True on success. what: "copying weights to the GPU". */
bool cuda_check(cudaError_t status, const char *what, struct error *error);

/* Memory of the host that stays where it is, which the copy engine reads and writes; its address into a place. */
bool cuda_pin(void *place, size_t bytes, struct error *error);

#endif
