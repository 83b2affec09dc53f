/* Opening a GPU. The CUDA runtime is linked in; the driver is found by it when the first device is asked for, so that
 * the binary starts where there is none. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

#include <stdio.h>
#include <stdlib.h>

/* The runtime remembers an error until it is asked for: told here, it must not be told again for the next launch. */
bool cuda_check(cudaError_t status, const char *what, struct error *error) {
  if (status == cudaSuccess) return true;
  cudaGetLastError();
  bool memory = status == cudaErrorMemoryAllocation;
  return error_set(error, memory ? ERROR_MEMORY : ERROR_DEVICE, "The GPU failed at %s: %s (%s)%s.", what,
                   cudaGetErrorString(status), cudaGetErrorName(status),
                   memory ? ": allow less KV memory or fewer tokens a step" : "");
}

bool cuda_pin(void *place, size_t bytes, struct error *error) {
  cudaError_t status = cudaMallocHost(place, bytes);
  if (status != cudaErrorMemoryAllocation) return cuda_check(status, "pinning memory of the host", error);
  cudaGetLastError();
  return error_set(error, ERROR_MEMORY,
                   "The host has no %zu KiB that can be pinned for the GPU's copies: free some of its memory, or build "
                   "the engine with fewer sequences and tokens a step.",
                   (bytes + 1023) >> 10);
}

/* The runtime says the same of no driver and of one that is too old; only where there is none is its version 0. */
static bool driver_missing(cudaError_t status) {
  int version = 0;
  return status == cudaErrorInsufficientDriver && cudaDriverGetVersion(&version) == cudaSuccess && version == 0;
}

/* Only kernels that are asked for (cuda_graph.c): all would be those of other paths, too, which the driver compiles
 * from PTX, ten seconds on a machine that is new to them. The runtime reads this when it is first called. */
static void kernels_load_late(void) { setenv("CUDA_MODULE_LOADING", "LAZY", 0); }

static const struct cuda_path *device_find(int ordinal, const char *isa, struct cudaDeviceProp *p,
                                           struct error *error) {
  int count = 0;
  kernels_load_late();
  cudaError_t status = cudaGetDeviceCount(&count);
  bool undriven = driver_missing(status);
  if (undriven || status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    error_set(error, ERROR_NOT_FOUND, "There is no GPU here (%s): use --device cpu, or look at nvidia-smi.",
              undriven ? "no driver" : "the driver counts none");
    return NULL;
  }
  if (!cuda_check(status, "looking for GPUs", error) ||
      !cuda_check(cudaGetDeviceProperties(p, ordinal), "reading the device's properties", error))
    return NULL;
  if (p->mpsEnabled) {
    error_set(error, ERROR_UNSUPPORTED,
              "The GPU (%s) is shared by MPS, where kernels whose blocks wait for one another may wait for ever beside "
              "another process's: end MPS (echo quit | nvidia-cuda-mps-control), or give Spate a GPU or a MIG instance "
              "of its own without it.",
              p->name);
    return NULL;
  }
  return cuda_path_choose(isa, p->major * 10 + p->minor, p->name, error);
}

bool cuda_present(struct error *error) {
  struct cudaDeviceProp p;
  return device_find(0, NULL, &p, error) != NULL;
}

static bool device_init(struct device *device, const char *isa, struct error *error) {
  struct cudaDeviceProp p;
  device->path = device_find(device->ordinal, isa, &p, error);
  if (!device->path || !cuda_check(cudaSetDevice(device->ordinal), "choosing the device", error) ||
      !cuda_check(cudaStreamCreateWithFlags(&device->stream, cudaStreamNonBlocking), "making a stream", error))
    return false;
  device->multiprocessors = p.multiProcessorCount;
  snprintf(device->description, sizeof device->description, "cuda: %s (%s), %d multiprocessors, %.0f GiB", p.name,
           device->path->name, p.multiProcessorCount, (double)p.totalGlobalMem / (1 << 30));
  return true;
}

struct device *cuda_open(const struct device_options *options, struct error *error) {
  struct device *device = calloc(1, sizeof *device);
  if (!device) {
    error_set(error, ERROR_MEMORY, "There is no memory for a device.");
    return NULL;
  }
  if (device_init(device, options ? options->isa : NULL, error)) return device;
  free(device);
  return NULL;
}

void cuda_close(struct device *device) {
  if (!device) return;
  cudaStreamDestroy(device->stream);
  free(device);
}

/* What the runtime takes for itself while kernels are loaded is left over: their code, all of which is 16 MiB, and the
 * stack of the one with the largest, 176 bytes of each thread that may run. */
bool cuda_memory(const struct device *device, uint64_t *bytes, struct error *error) {
  enum { KERNELS_BYTES = 64 << 20 };
  size_t available = 0, total = 0;
  (void)device;
  if (!cuda_check(cudaMemGetInfo(&available, &total), "asking how much memory it has", error)) return false;
  *bytes = available > KERNELS_BYTES ? available - KERNELS_BYTES : 0;
  return true;
}
