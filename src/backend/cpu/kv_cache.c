/* KV memory: reserved once, never committed by us; the step thread's team reads and writes it. */
#include "backend/cpu/kv_cache.h"

#include "base/checked.h"
#include "base/lazy_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, CACHE_LINE = 64 };

static size_t line_align(size_t bytes) { return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE; }

static int32_t round_up(int32_t n, int32_t unit) { return (n + unit - 1) / unit * unit; }

struct kv_layout kv_layout_of(const struct kv_group *group, const struct limits *limits, bool quads) {
  struct kv_layout l = {.n_layer = group->n_layer,
                        .n_head = group->n_head,
                        .dim_k = group->dim_k,
                        .dim_v = group->dim_v,
                        .block_size = limits->block_size,
                        .dtype = limits->kv_dtype};
  bool paired = l.dtype == KV_BF16, coded = kv_is_coded(l.dtype);
  l.tile = l.block_size < KEY_TILE ? l.block_size : KEY_TILE;
  l.element = coded ? 1 : l.dtype == KV_F32 ? 4 : 2;
  l.stored_k = paired ? round_up(l.dim_k, KV_PAIRED_DIMS) : coded ? round_up(l.dim_k, KV_CODED_DIMS) : l.dim_k;
  l.stored_v = paired || coded ? round_up(l.dim_v, KV_PAIRED_COLS) : l.dim_v;
  l.together = paired ? 2 : quads && coded ? 4 : 1;
  l.keys_bytes = line_align((size_t)l.block_size * (size_t)l.stored_k * l.element);
  l.scales_at = l.keys_bytes + line_align((size_t)l.block_size * (size_t)l.stored_v * l.element);
  l.head_bytes = l.scales_at + (coded ? line_align(2 * (size_t)l.block_size * sizeof(float)) : 0);
  l.block_bytes = l.head_bytes * (size_t)l.n_layer * (size_t)l.n_head;
  return l;
}

bool kv_cache_open(struct kv_cache *cache, const struct kv_layout *layout, uint32_t n_block, struct error *error) {
  *cache = (struct kv_cache){.layout = *layout};
  size_t bytes;
  if (!size_mul(layout->block_bytes, n_block, &bytes) || !size_add(bytes, HUGE_PAGE, &cache->map_bytes))
    return error_set(error, ERROR_MEMORY, "%u KV blocks of %zu bytes are more than an address can name.", n_block,
                     layout->block_bytes);
  void *map = lazy_memory_map(cache->map_bytes);
  if (!map)
    return error_set(error, ERROR_MEMORY, "%zu bytes for %u KV blocks could not be mapped (%s): allow less KV memory.",
                     bytes, n_block, strerror(errno));
  cache->map = map;
  cache->data = (uint8_t *)(((uintptr_t)map + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
  madvise(cache->data, bytes, MADV_HUGEPAGE); /* a wish: fewer faults while a prompt is stored */
  return true;
}

void kv_cache_close(struct kv_cache *cache) {
  lazy_memory_unmap(cache->map);
  *cache = (struct kv_cache){0};
}

void kv_cache_forget(struct kv_cache *cache) {
  if (cache->map) lazy_memory_forget(cache->map);
}

struct kv_head kv_cache_head(const struct kv_cache *cache, int layer, int head, const uint32_t *block) {
  size_t index = (size_t)layer * (size_t)cache->layout.n_head + (size_t)head;
  return (struct kv_head){&cache->layout, cache->data + index * cache->layout.head_bytes, block};
}

static void pairs_store(const struct kv_layout *l, size_t column, const uint16_t *key, const uint16_t *value,
                        uint16_t *keys, uint16_t *values) {
  size_t tile = (size_t)l->tile;
  for (size_t d = 0; d < (size_t)l->dim_k; d++) keys[(d / 2 * tile + column) * 2 + d % 2] = key[d];
  for (size_t d = 0; d < (size_t)l->dim_v; d++) values[d * 2 + column % 2] = value[d];
}

static void codes_store(const struct kv_head *head, int token, struct kv_numbers key, struct kv_numbers value) {
  const struct kv_layout *l = head->layout;
  uint8_t *keys = kv_head_keys(head, token), *values = kv_head_value(head, token);
  const uint8_t *key_code = key.number, *value_code = value.number;
  float *scales = kv_head_scales(head, token);
  int n = l->together;
  for (int d = 0; d < l->dim_k; d++) keys[(d / n * l->tile + token % l->tile) * n + d % n] = key_code[d];
  for (int d = 0; d < l->dim_v; d++) values[d * n + token % n] = value_code[d];
  scales[0] = key.scale;
  scales[l->block_size] = value.scale;
}

void kv_head_store(const struct kv_head *head, int token, struct kv_numbers key, struct kv_numbers value) {
  const struct kv_layout *l = head->layout;
  if (kv_is_coded(l->dtype)) {
    codes_store(head, token, key, value);
    return;
  }
  uint8_t *keys = kv_head_keys(head, token), *values = kv_head_value(head, token);
  size_t tile = (size_t)l->tile, column = (size_t)(token % l->tile), dim_k = (size_t)l->dim_k;
  if (l->dtype == KV_BF16) {
    pairs_store(l, column, key.number, value.number, (uint16_t *)keys, (uint16_t *)values);
    return;
  }
  if (l->dtype == KV_F16) {
    const uint16_t *half = key.number;
    for (size_t d = 0; d < dim_k; d++) ((uint16_t *)keys)[d * tile + column] = half[d];
  } else {
    const float *full = key.number;
    for (size_t d = 0; d < dim_k; d++) ((float *)keys)[d * tile + column] = full[d];
  }
  memcpy(values, value.number, (size_t)l->dim_v * l->element);
}
