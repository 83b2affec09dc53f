/* A program whose weights and cache are random numbers. */
#include "backend/backends.h"
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"
#include "backend/cuda/random_kernels.h"
#include "backend/random_number.h"

static enum random_type type_of(enum scheme_kind kind, bool nibbles) {
  if (kind == SCHEME_F8) return RANDOM_E4M3;
  if (kind == SCHEME_INT) return nibbles ? RANDOM_INT4 : RANDOM_INT8;
  return kind == SCHEME_BF16 ? RANDOM_BF16 : RANDOM_F16;
}

bool cuda_load_random(struct program *p, int weight, struct error *error) {
  const struct weight *w = plan_weights(p->plan) + weight;
  struct cuda_layout layout = cuda_layout_of(w);
  if (!layout.pieces && !layout.bytes && !layout.nibbles)
    return error_set(error, ERROR_UNSUPPORTED,
                     "Random weights on a GPU are BF16, FP16, bytes with one scale a row or four bits in groups, and %s "
                     "is none of them.",
                     plan_name(p->plan, w->name));
  struct random_matrix matrix = {.data = p->weight[weight],
                                 .rows = w->rows,
                                 .cols = w->cols,
                                 .strip_bytes = layout.strip_bytes,
                                 .bytes = backend_packed_bytes(&backend_cuda, w),
                                 .stream = (uint64_t)weight,
                                 .spread = RANDOM_WEIGHT_SPREAD,
                                 .type = (uint8_t)type_of((enum scheme_kind)w->scheme.kind, layout.nibbles),
                                 .has_min = w->scheme.has_min};
  random_weight_make(&matrix, p->device->stream);
  return cuda_check(cudaGetLastError(), "making random weights", error) && cuda_loaded(p, weight, error);
}

bool cuda_fill_cache(struct program *p, struct error *error) {
  enum random_type type = p->limits.kv_dtype == KV_F32 ? RANDOM_F32 : RANDOM_F16; /* cuda_measure refuses others */
  for (int g = 0; g < p->plan->n_group; g++) {
    size_t bytes = p->block_bytes[g] * p->limits.n_block[g];
    random_cache_fill(p->cache[g].base, bytes / (type == RANDOM_F32 ? 4 : 2), type, (uint64_t)g, p->device->stream);
  }
  return cuda_check(cudaGetLastError(), "filling the KV cache", error);
}
