/* The paths and the choice among them: Hopper's own kernels, and portable ones for what came before, which later GPUs
 * run too. */
#include "backend/cuda/cuda_paths.h"
#include "backend/cuda/expert_kernels.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static int hopper_attend_blocks(int dim, uint8_t kv) {
  (void)kv;
  return dim <= 128 ? 2 : 1;
}

static const struct cuda_path paths[] = {
    {.name = "sm90",
     .least = 90,
     .most = 90,
     .chained = true,
     .fresh = true,
     .greatest = true,
     .few = LINEAR_FEW,
     .kv_most = CACHE_INT8,
     .linear_few = cuda_linear_few,
     .adapter_few = cuda_adapter_few,
     .linear_many = cuda_linear_many,
     .bytes_few = cuda_bytes_few,
     .linear_bytes = cuda_linear_bytes,
     .coded_few = cuda_coded_few,
     .linear_coded = cuda_linear_coded,
     .coded_many = cuda_coded_many,
     .coded_wide = cuda_linear_coded_wide,
     .coded_expand = cuda_coded_expand,
     .experts_tiles = cuda_experts_tiles,
     .attend_blocks = hopper_attend_blocks,
     .attend_store = cuda_attend_store,
     .attend_decode = cuda_attend_decode,
     .attend_prefill = cuda_attend_prefill,
     .sample_chunks = cuda_sample_chunks,
     .sample_rules = cuda_sample_rules,
     .sample_prepare = cuda_sample_prepare,
     .sample = cuda_sample,
     .rate_read_bulk = rate_read_bulk,
     .rate_multiply = rate_multiply,
     .rate_operations = rate_operations},
    {.name = "sm80",
     .least = 80,
     .most = 999,
     .half_weights = true,
     .few = PORTABLE_FEW,
     .kv_most = CACHE_BF16,
     .draws_in_room = true,
     .linear_few = sm80_linear_few,
     .linear_many = sm80_linear_many,
     .attend_blocks = sm80_attend_blocks,
     .attend_store = portable_attend_store,
     .attend_decode = sm80_attend_decode,
     .attend_prefill = sm80_attend_prefill,
     .sample_chunks = portable_sample_chunks,
     .sample_rules = portable_sample_rules,
     .sample_prepare = portable_sample_prepare,
     .sample = portable_sample,
     .rate_multiply = sm80_rate_multiply,
     .rate_operations = sm80_rate_operations},
    {.name = "sm75",
     .least = 75,
     .most = 999,
     .half_weights = true,
     .few = PORTABLE_FEW,
     .kv_most = CACHE_F16,
     .draws_in_room = true,
     .linear_few = sm75_linear_few,
     .linear_many = sm75_linear_many,
     .exponents = sm75_exponents,
     .attend_blocks = sm75_attend_blocks,
     .attend_store = portable_attend_store,
     .attend_decode = sm75_attend_decode,
     .attend_prefill = sm75_attend_prefill,
     .sample_chunks = portable_sample_chunks,
     .sample_rules = portable_sample_rules,
     .sample_prepare = portable_sample_prepare,
     .sample = portable_sample,
     .rate_multiply = sm75_rate_multiply,
     .rate_operations = sm75_rate_operations},
};

enum { PATHS = sizeof paths / sizeof *paths };

static bool path_fits(const struct cuda_path *path, int capability) {
  return capability >= path->least && capability <= path->most;
}

static const struct cuda_path *path_find(const char *isa) {
  for (int i = 0; i < PATHS; i++)
    if (strcmp(paths[i].name, isa) == 0) return &paths[i];
  return NULL;
}

/* Other names in the environment are the CPU's. */
static const struct cuda_path *path_forced(const char *isa) {
  const char *named = getenv("SPATE_ISA");
  const struct cuda_path *path = named ? path_find(named) : NULL;
  return path || !isa ? path : path_find(isa);
}

const struct cuda_path *cuda_path_choose(const char *isa, int capability, const char *device, struct error *error) {
  const struct cuda_path *forced = path_forced(isa);
  if (capability < paths[PATHS - 1].least) {
    error_set(error, ERROR_UNSUPPORTED,
              "The GPU %s has compute capability %d.%d, and there are kernels for 7.5 (Turing) and later: use "
              "--device cpu.",
              device, capability / 10, capability % 10);
    return NULL;
  }
  if (isa && !forced) {
    error_set(error, ERROR_INVALID, "Kernel set '%s' is none of a GPU's, which are: sm90, sm80, sm75.", isa);
    return NULL;
  }
  if (forced && !path_fits(forced, capability)) {
    error_set(error, ERROR_INVALID, "Kernel set '%s' cannot run on the GPU %s of compute capability %d.%d.",
              forced->name, device, capability / 10, capability % 10);
    return NULL;
  }
  for (int i = 0; !forced; i++)
    if (path_fits(&paths[i], capability)) forced = &paths[i];
  return forced;
}
