/* Opening a GPU. The CUDA runtime is linked in; the driver is found by it when the first device is asked for, so that
 * the binary starts where there is none. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

#include <stdio.h>
#include <stdlib.h>

enum { LEAST_MAJOR = 9 }; /* compute capability that kernels are built for */

bool cuda_check(cudaError_t status, const char *what, struct error *error) {
  if (status == cudaSuccess) return true;
  bool memory = status == cudaErrorMemoryAllocation;
  return error_set(error, memory ? ERROR_MEMORY : ERROR_DEVICE, "The GPU failed at %s: %s (%s)%s.", what,
                   cudaGetErrorString(status), cudaGetErrorName(status),
                   memory ? ": allow less KV memory or fewer tokens a step" : "");
}

static bool device_describe(struct device *device, struct error *error) {
  struct cudaDeviceProp p;
  if (!cuda_check(cudaGetDeviceProperties(&p, device->ordinal), "reading the device's properties", error)) return false;
  if (p.major != LEAST_MAJOR)
    return error_set(
        error, ERROR_UNSUPPORTED,
        "The GPU %s has compute capability %d.%d, and kernels are built for 9.0 (H100, H200): use the CPU.", p.name,
        p.major, p.minor);
  device->multiprocessors = p.multiProcessorCount;
  snprintf(device->description, sizeof device->description, "cuda: %s, %d multiprocessors, %.0f GiB", p.name,
           p.multiProcessorCount, (double)p.totalGlobalMem / (1 << 30));
  return true;
}

static bool device_init(struct device *device, struct error *error) {
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0)
    return error_set(error, ERROR_NOT_FOUND, "There is no GPU here (%s): use the CPU, or look at nvidia-smi.",
                     status == cudaSuccess ? "the driver counts 0" : cudaGetErrorString(status));
  return cuda_check(cudaSetDevice(device->ordinal), "choosing the device", error) && device_describe(device, error) &&
         cuda_check(cudaStreamCreateWithFlags(&device->stream, cudaStreamNonBlocking), "making a stream", error);
}

struct device *cuda_open(const struct device_options *options, struct error *error) {
  (void)options;
  struct device *device = calloc(1, sizeof *device);
  if (!device) {
    error_set(error, ERROR_MEMORY, "There is no memory for a device.");
    return NULL;
  }
  if (device_init(device, error)) return device;
  free(device);
  return NULL;
}

void cuda_close(struct device *device) {
  if (!device) return;
  cudaStreamDestroy(device->stream);
  free(device);
}
