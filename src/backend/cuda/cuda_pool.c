/* The KV cache of a group: addresses for all of its blocks, memory for those that have been used so far. A block taken
 * from a pool is the lowest that nobody ever used, or one that has been (schedule/kv_blocks.c), so memory grows from
 * the start of the addresses, in runs that take the driver some tens of microseconds each. The driver's functions are
 * asked of the runtime: the binary starts where there is no driver. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

#include <cuda.h>
#include <stdlib.h>

enum { GRANULE = 2 << 20, RUN_BYTES = 64 << 20 }; /* what the driver hands out is a multiple of the first */

static struct {
  CUresult (*reserve)(CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long);
  CUresult (*unreserve)(CUdeviceptr, size_t);
  CUresult (*create)(CUmemGenericAllocationHandle *, size_t, const CUmemAllocationProp *, unsigned long long);
  CUresult (*discard)(CUmemGenericAllocationHandle);
  CUresult (*map)(CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long);
  CUresult (*unmap)(CUdeviceptr, size_t);
  CUresult (*permit)(CUdeviceptr, size_t, const CUmemAccessDesc *, size_t);
} driver;

static bool function_find(const char *name, void *place, struct error *error) {
  enum cudaDriverEntryPointQueryResult found;
  return cuda_check(cudaGetDriverEntryPointByVersion(name, place, 12000, cudaEnableDefault, &found),
                    "looking for the driver's functions", error) &&
         (found == cudaDriverEntryPointSuccess ||
          error_set(error, ERROR_DEVICE, "The GPU's driver lacks %s: it must be of CUDA 12 or newer.", name));
}

static bool driver_find(struct error *error) {
  return driver.permit ||
         (function_find("cuMemAddressReserve", &driver.reserve, error) &&
          function_find("cuMemAddressFree", &driver.unreserve, error) &&
          function_find("cuMemCreate", &driver.create, error) &&
          function_find("cuMemRelease", &driver.discard, error) && function_find("cuMemMap", &driver.map, error) &&
          function_find("cuMemUnmap", &driver.unmap, error) && function_find("cuMemSetAccess", &driver.permit, error));
}

static bool driver_check(CUresult result, const char *what, struct error *error) {
  return result == CUDA_SUCCESS ||
         error_set(error, ERROR_DEVICE, "The GPU failed at %s: error %d of the driver.", what, (int)result);
}

bool cuda_pool_reserve(struct cuda_pool *pool, int ordinal, size_t bytes, struct error *error) {
  CUdeviceptr base = 0;
  size_t all = bytes / GRANULE * GRANULE + GRANULE;
  *pool = (struct cuda_pool){.ordinal = ordinal, .bytes = all, .run = calloc(all / RUN_BYTES + 1, sizeof *pool->run)};
  if (!pool->run) return error_set(error, ERROR_MEMORY, "There is no memory for the list of the KV cache's parts.");
  if (!driver_find(error) ||
      !driver_check(driver.reserve(&base, all, 0, 0, 0), "reserving addresses for the KV cache", error))
    return false;
  pool->base = (uint8_t *)base;
  return true;
}

/* The last is shorter. */
static size_t run_bytes(const struct cuda_pool *pool, int run) {
  size_t rest = pool->bytes - (size_t)run * RUN_BYTES;
  return rest < RUN_BYTES ? rest : RUN_BYTES;
}

static bool run_back(struct cuda_pool *pool, struct error *error) {
  CUmemAllocationProp kind = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                              .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = pool->ordinal}};
  CUmemAccessDesc access = {.location = kind.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  CUdeviceptr at = (CUdeviceptr)pool->base + pool->backed;
  size_t bytes = run_bytes(pool, pool->n_run);
  CUmemGenericAllocationHandle memory;
  CUresult created = driver.create(&memory, bytes, &kind, 0);
  if (created == CUDA_ERROR_OUT_OF_MEMORY)
    return error_set(error, ERROR_MEMORY,
                     "The GPU has no memory left for the KV cache, of which %zu of %zu MiB are in use: another process "
                     "has taken what was free when the engine was opened; end it, or give this one less "
                     "(free_gpu_memory_fraction, kv_cache_memory).",
                     pool->backed >> 20, pool->bytes >> 20);
  if (!driver_check(created, "backing the KV cache", error)) return false;
  if (driver_check(driver.map(at, bytes, 0, memory, 0), "mapping the KV cache", error)) {
    pool->run[pool->n_run++] = memory;
    pool->backed += bytes;
    return driver_check(driver.permit(at, bytes, &access, 1), "opening the KV cache", error);
  }
  driver.discard(memory);
  return false;
}

bool cuda_pool_back(struct cuda_pool *pool, size_t bytes, struct error *error) {
  while (pool->backed < bytes)
    if (!run_back(pool, error)) return false;
  return true;
}

void cuda_pool_release(struct cuda_pool *pool) {
  for (int i = 0; i < pool->n_run; i++) {
    driver.unmap((CUdeviceptr)pool->base + (size_t)i * RUN_BYTES, run_bytes(pool, i));
    driver.discard(pool->run[i]);
  }
  if (pool->base) driver.unreserve((CUdeviceptr)pool->base, pool->bytes);
  free(pool->run);
  *pool = (struct cuda_pool){0};
}
