/* Launches of kernels that may start before the one before them in the stream has ended (programmatic dependent
 * launch): they call dependencies_wait() before they touch what others write. */
#ifndef SPATE_BACKEND_CUDA_LAUNCH_CUH
#define SPATE_BACKEND_CUDA_LAUNCH_CUH

#include "backend/cuda/cuda_kernels.h"

struct launch_shape {
  int blocks, threads, shared_bytes, cluster; /* blocks: whole clusters */
};

template <typename Args>
static void early_launch(void (*kernel)(Args), const launch_shape &shape, cuda_stream stream, const Args &args) {
  if (shape.shared_bytes > 48 * 1024)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shape.shared_bytes);
  cudaLaunchAttribute attribute[2] = {};
  attribute[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute[0].val.programmaticStreamSerializationAllowed = 1;
  attribute[1].id = cudaLaunchAttributeClusterDimension;
  attribute[1].val.clusterDim.x = shape.cluster;
  attribute[1].val.clusterDim.y = attribute[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.blocks;
  config.blockDim = shape.threads;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = attribute;
  config.numAttrs = shape.cluster > 1 ? 2 : 1;
  cudaLaunchKernelEx(&config, kernel, args);
}

#endif
