/* Launches of kernels that may start before the one before them in the stream has ended (programmatic dependent
 * launch): they call dependencies_wait() before they touch what others write. */
#ifndef SPATE_BACKEND_CUDA_LAUNCH_CUH
#define SPATE_BACKEND_CUDA_LAUNCH_CUH

#include "backend/cuda/cuda_kernels.h"

#include <pthread.h>

struct launch_shape {
  int blocks, threads, shared_bytes, cluster; /* blocks: whole clusters */
  int rows = 1;                               /* of so many blocks */
};

/* Lets a kernel have so much shared memory, which the runtime takes 0.35 µs to be told: once each. Any thread: engines
 * open, and launch, beside one another. */
template <typename... Args> static void shared_allow(void (*kernel)(Args...), int bytes) {
  static void (*allowed[32])(Args...);
  static int n_allowed;
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&lock);
  bool known = false;
  for (int i = 0; i < n_allowed; i++) known = known || allowed[i] == kernel;
  if (!known) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (n_allowed < 32) allowed[n_allowed++] = kernel;
  }
  pthread_mutex_unlock(&lock);
}

template <typename... Args>
static void early_launch(void (*kernel)(Args...), const launch_shape &shape, cuda_stream stream, const Args &...args) {
  if (shape.shared_bytes > 48 * 1024) shared_allow(kernel, shape.shared_bytes);
  cudaLaunchAttribute attribute[2] = {};
  attribute[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute[0].val.programmaticStreamSerializationAllowed = 1;
  attribute[1].id = cudaLaunchAttributeClusterDimension;
  attribute[1].val.clusterDim.x = shape.cluster;
  attribute[1].val.clusterDim.y = attribute[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(shape.blocks, shape.rows);
  config.blockDim = shape.threads;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = attribute;
  config.numAttrs = shape.cluster > 1 ? 2 : 1;
  cudaLaunchKernelEx(&config, kernel, args...);
}

/* Clusters of so many blocks that run on the device at once. */
template <typename Args> static int clusters_resident(void (*kernel)(Args), const launch_shape &shape) {
  int count = 0;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = shape.cluster;
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.blocks;
  config.blockDim = shape.threads;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.attrs = &attribute;
  config.numAttrs = 1;
  if (shape.shared_bytes > 48 * 1024) shared_allow(kernel, shape.shared_bytes);
  return cudaOccupancyMaxActiveClusters(&count, kernel, &config) == cudaSuccess && count > 0 ? count : 1;
}

#endif
