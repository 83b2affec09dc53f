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
  if (w->n_expert > 0 && w->rows % STRIP_ROWS)
    return error_set(error, ERROR_UNSUPPORTED, "Random experts on a GPU have multiples of %d rows, and %s has %d.",
                     STRIP_ROWS, plan_name(p->plan, w->name), w->rows);
  if (!layout.pieces && !layout.bytes && !layout.nibbles)
    return error_set(
        error, ERROR_UNSUPPORTED,
        "Random weights on a GPU are BF16, FP16, bytes with one scale a row or a minimum for 128 columns, E4M3 or "
        "four bits in groups, "
        "and %s is none of them.",
        plan_name(p->plan, w->name));
  struct random_matrix matrix = {.data = p->hosted.data[weight] ? p->hosted.data[weight] : p->weight[weight],
                                 .rows = weight_rows(w),
                                 .cols = w->cols,
                                 .strip_bytes = layout.strip_bytes,
                                 .piece_bytes = layout.piece_bytes,
                                 .head_bytes = layout.head_bytes,
                                 .bytes = backend_packed_bytes(&backend_cuda, w),
                                 .stream = (uint64_t)weight,
                                 .spread = RANDOM_WEIGHT_SPREAD,
                                 .type = (uint8_t)type_of((enum scheme_kind)w->scheme.kind, layout.nibbles),
                                 .has_min = w->scheme.has_min,
                                 .e2m1 = w->scheme.codebook == CODEBOOK_E2M1};
  random_weight_make(&matrix, p->device->stream);
  return cuda_check(cudaGetLastError(), "making random weights", error) && cuda_loaded(p, weight, error);
}

/* Codes of the matrix units' kernels have their scales after each 16 tokens of a head, those of plain ones after a
 * block.
 */
static void codes_fill(struct program *p, int group, enum random_type type, size_t bytes) {
  const struct kv_group *g = plan_groups(p->plan) + group;
  bool fast = p->attention.fast[group];
  size_t codes =
      fast ? (size_t)CODE_TOKENS * (size_t)g->dim_k : (size_t)p->limits.block_size * (size_t)kv_group_numbers(g);
  size_t scales = fast ? CODE_TOKENS : (g->value_in_key ? 1 : 2) * (size_t)p->limits.block_size;
  random_codes_fill(p->cache[group].base, bytes, codes, codes + scales * sizeof(float), type, (uint64_t)group,
                    p->device->stream);
}

bool cuda_fill_cache(struct program *p, struct error *error) {
  static const enum random_type types[] = {[KV_F32] = RANDOM_F32,
                                           [KV_F16] = RANDOM_F16,
                                           [KV_BF16] = RANDOM_BF16,
                                           [KV_E4M3] = RANDOM_E4M3,
                                           [KV_INT8] = RANDOM_INT8};
  enum random_type type = types[p->limits.kv_dtype];
  for (int g = 0; g < p->plan->n_group; g++) {
    size_t bytes = p->block_bytes[g] * p->limits.n_block[g];
    if (type >= RANDOM_E4M3)
      codes_fill(p, g, type, bytes);
    else
      random_cache_fill(p->cache[g].base, bytes / (type == RANDOM_F32 ? 4 : 2), type, (uint64_t)g, p->device->stream);
  }
  return cuda_check(cudaGetLastError(), "filling the KV cache", error);
}
