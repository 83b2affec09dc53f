/* The KV cache of a group: addresses for as many blocks as its sequences could ever want, memory for those that the
 * budget holds, all of it taken at start (docs/adr/0009-kv-pool.md). What lies beyond has no memory, so a block number
 * that is none faults and overwrites nothing. The driver's functions are asked of the runtime: the binary starts where
 * there is no driver. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

#include <cuda.h>
#include <inttypes.h>

/* What the driver hands out is a multiple of the first; of a handle; addresses of a group at most, of 2^47 of a GPU. */
static const uint64_t granule = 2 << 20, handle_bytes = 256 << 20, addresses_most = 1ull << 42;

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

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t granules(uint64_t bytes) { return (bytes + granule - 1) / granule * granule; }

/* Another process has taken what was free when the engine was planned. */
static bool pool_refuse(uint64_t bytes, uint64_t backed, struct error *error) {
  size_t rest = 0, total = 0;
  cudaMemGetInfo(&rest, &total);
  return error_set(error, ERROR_MEMORY,
                   "The KV cache takes %" PRIu64 " MiB on the GPU, where %" PRIu64
                   " MiB are left for it, as another process has taken some since; end that, or ask for so much "
                   "(kv_cache_memory).",
                   bytes >> 20, (backed + rest) >> 20);
}

/* Memory for the next addresses. The mapping keeps it, so the handle is not kept. */
static bool pool_extend(struct cuda_pool *pool, const CUmemAllocationProp *kind, uint64_t all, struct error *error) {
  uint64_t bytes = least(handle_bytes, all - pool->backed);
  CUmemGenericAllocationHandle memory;
  CUresult created = driver.create(&memory, bytes, kind, 0);
  if (created == CUDA_ERROR_OUT_OF_MEMORY) return pool_refuse(all, pool->backed, error);
  if (!driver_check(created, "backing the KV cache", error)) return false;
  CUresult mapped = driver.map((CUdeviceptr)pool->base + pool->backed, bytes, 0, memory, 0);
  driver.discard(memory);
  if (mapped == CUDA_SUCCESS) pool->backed += bytes;
  return driver_check(mapped, "mapping the KV cache", error);
}

static bool pool_back(struct cuda_pool *pool, int ordinal, uint64_t bytes, struct error *error) {
  CUmemAllocationProp kind = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                              .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = ordinal}};
  CUmemAccessDesc access = {.location = kind.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  while (pool->backed < bytes)
    if (!pool_extend(pool, &kind, bytes, error)) return false;
  return bytes == 0 ||
         driver_check(driver.permit((CUdeviceptr)pool->base, bytes, &access, 1), "opening the KV cache", error);
}

bool cuda_pool_open(struct cuda_pool *pool, int ordinal, uint64_t bytes, uint64_t wanted, struct error *error) {
  CUdeviceptr base = 0;
  uint64_t beyond = least(wanted, addresses_most);
  *pool = (struct cuda_pool){.reserved = granules(beyond > bytes ? beyond : bytes) + granule};
  if (!driver_find(error) ||
      !driver_check(driver.reserve(&base, pool->reserved, 0, 0, 0), "reserving addresses for the KV cache", error))
    return false;
  pool->base = (uint8_t *)base;
  return pool_back(pool, ordinal, granules(bytes), error);
}

void cuda_pool_close(struct cuda_pool *pool) {
  for (uint64_t at = 0; at < pool->backed; at += handle_bytes)
    driver.unmap((CUdeviceptr)pool->base + at, least(handle_bytes, pool->backed - at));
  if (pool->base) driver.unreserve((CUdeviceptr)pool->base, pool->reserved);
  *pool = (struct cuda_pool){0};
}
